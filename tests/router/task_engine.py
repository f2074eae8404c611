"""A model's server for tasks, played: it renders a question in a form of its own, with a token for each character."""

import json
import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from itertools import cycle
from typing import Any

from typing_extensions import override

from tests.support.http_server import playing

__all__ = ["LONGEST", "SURE", "TaskEngine", "task_engine"]

LONGEST = 600
_THINKING = 0.01
SURE = 0.5
"""How likely it finds every token."""


@dataclass
class TaskEngine:
    """`asked` are the paths and bodies that arrived; `says` is what it answers, and `status` how."""

    port: int = 0
    says: str = '{"action":"BLOCK"}'
    reason: str = "stop"
    status: int = 200
    has_tokenizer: bool = True
    longest: int = LONGEST
    fails_at: str = ""
    """A text of a question that it does not answer."""
    log_probabilities: list[float] = field(default_factory=list)
    """Of an answer's tokens, over and over; all are as sure without."""
    most_at_once: int = 0
    asked: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    under_way: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def begin_anew(self) -> None:
        """Forget what was asked, and answer as at first."""
        self.says, self.reason, self.status, self.fails_at = '{"action":"BLOCK"}', "stop", 200, ""
        self.has_tokenizer, self.most_at_once, self.asked, self.log_probabilities = True, 0, [], []

    def bodies(self, path: str) -> list[dict[str, Any]]:
        """What was asked at a path."""
        return [body for at, body in self.asked if at == path]


def _prompt(body: dict[str, Any]) -> str:
    """The text that a chat comes to."""
    named = body.get("chat_template_kwargs", {})
    given = "".join(f"<{name}>{value}" for name, value in sorted(named.items()))
    return given + "".join(f"<{message['role']}>{message['content']}" for message in body["messages"]) + "<assistant>"


class _Handler(BaseHTTPRequestHandler):
    state: TaskEngine
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.state.asked.append((self.path, body))
        answers = {"/tokenize": self._tokenize, "/detokenize": self._detokenize}
        answers |= {"/v1/chat/completions": self._chat, "/v1/completions": self._completions}
        self._answer(*answers[self.path](body))

    def _tokenize(self, body: dict[str, Any]) -> tuple[dict[str, Any], int]:
        if not self.state.has_tokenizer:
            return {"error": {"message": "Not Found"}}, 404
        tokens = _ids(_prompt(body) if "messages" in body else body["prompt"])
        return {"tokens": tokens, "count": len(tokens), "max_model_len": self.state.longest}, 200

    def _detokenize(self, body: dict[str, Any]) -> tuple[dict[str, Any], int]:
        return {"prompt": "".join(map(chr, body["tokens"]))}, 200

    def _chat(self, body: dict[str, Any]) -> tuple[dict[str, Any], int]:
        with self.state.lock:
            self.state.under_way += 1
            self.state.most_at_once = max(self.state.most_at_once, self.state.under_way)
        time.sleep(_THINKING)
        with self.state.lock:
            self.state.under_way -= 1
        prompt = _prompt(body)
        fails = self.state.fails_at and self.state.fails_at in prompt
        if fails or self.state.status != 200:
            return {"error": {"message": "the engine says no", "param": None}}, 500 if fails else self.state.status
        if len(prompt) + body["max_tokens"] > self.state.longest and self.state.has_tokenizer:
            return {"error": {"message": "too long"}}, 400
        said: dict[str, Any] = {"message": {"content": self.state.says}, "finish_reason": self.state.reason}
        told: dict[str, Any] = {"id": "chatcmpl-1", "choices": [said], "usage": {"prompt_tokens": 1}}
        if body.get("return_token_ids"):
            said["token_ids"], told["prompt_token_ids"] = _ids(self.state.says), _ids(prompt)
        return told, 200

    def _completions(self, body: dict[str, Any]) -> tuple[dict[str, Any], int]:
        if len(body["prompt"]) + body["max_tokens"] > self.state.longest:
            return {"error": {"message": "too long"}}, 400
        each = [{str(token): {"logprob": math.log(SURE)}} for token in body["prompt"]]
        for place, log_probability in zip(range(-len(self.state.says), 0), cycle(self.state.log_probabilities)):
            each[place] = {str(body["prompt"][place]): {"logprob": log_probability}}
        return {"choices": [{"prompt_logprobs": [None, *each[1:]], "finish_reason": "length"}]}, 200

    def _answer(self, told: dict[str, Any], status: int) -> None:
        content = json.dumps(told).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    @override
    def log_message(self, format: str, *args: Any) -> None:
        pass


def _ids(text: str) -> list[int]:
    return list(map(ord, text))


@contextmanager
def task_engine() -> Iterator[TaskEngine]:
    """Serve it."""
    with playing(TaskEngine(), _Handler) as state:
        yield state
