"""A model's server, played, that speaks OpenAI's interface as vLLM does: it repeats what it is told.

What it is told may also be a status to fail with, or `silence`.
"""

import base64
import json
import struct
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

from typing_extensions import override

from tests.support.http_server import playing

__all__ = ["LOGPROB", "VECTOR", "Speaker", "speaker"]

VECTOR = [0.25, -1.5, 3.0]
LOGPROB = -0.25
"""Of each word of a stream, to who asks."""
_USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
_SILENT_SECONDS = 2.0


@dataclass
class Speaker:
    """`asked` counts what it was told; `bodies` are the requests."""

    port: int = 0
    asked: Counter[str] = field(default_factory=Counter)
    bodies: list[dict[str, Any]] = field(default_factory=list)


class _Handler(BaseHTTPRequestHandler):
    state: Speaker
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.state.bodies.append(body)
        told = _told(body)
        self.state.asked[told] += 1
        if told.partition(" ")[0].isdecimal():
            self._fail(told)
        elif told == "silence":
            time.sleep(_SILENT_SECONDS)
            self.close_connection = True
        else:
            self._speak(body, told)

    def _fail(self, told: str) -> None:
        """With this status; where `once` stands behind it, the first time only."""
        status, _, how_often = told.partition(" ")
        if how_often == "once" and self.state.asked[told] > 1:
            self._answer(_chat({"content": "again"}, "stop"))
        else:
            error = {"message": "no more", "type": "TooManyRequestsError", "param": None, "code": int(status)}
            self._answer({"error": error}, int(status))

    def _speak(self, body: dict[str, Any], told: str) -> None:
        if self.path == "/v1/embeddings":
            self._answer(_embeddings(body))
        elif self.path == "/v1/responses":
            self._respond(body, told)
        elif self.path == "/v1/completions":
            whole = {"id": "cmpl-1", "created": 1, "model": body["model"], "object": "text_completion"}
            pieces = [{**whole, "choices": [_text(word, None)]} for word in _words(told)]
            ended = {**whole, "choices": [_text("", "stop")]}
            self._say(body, {**whole, "choices": [_text(told, "stop")], "usage": _USAGE}, [*pieces, ended])
        else:
            message, reason = _message(body, told)
            deltas = [{"role": "assistant", "content": ""}, *_deltas(message)]
            chunks = [*map(_chunk, deltas), _chunk({}, reason)]
            if body.get("logprobs"):
                for chunk in chunks[1:-1]:
                    chunk["choices"][0]["logprobs"] = {"content": [{"token": "?", "logprob": LOGPROB}]}
            self._say(body, _chat(message, reason), chunks)

    def _say(self, body: dict[str, Any], whole: Mapping[str, Any], chunks: list[dict[str, Any]]) -> None:
        if not body.get("stream"):
            self._answer(whole)
            return
        if (body.get("stream_options") or {}).get("include_usage"):
            chunks.append({**chunks[0], "choices": [], "usage": _USAGE})
        self._stream([*(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks), "data: [DONE]\n\n"])

    def _respond(self, body: dict[str, Any], told: str) -> None:
        content = {"type": "output_text", "text": told, "annotations": []}
        output = {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": [content]}
        usage = {"input_tokens": 3, "output_tokens": 2, "total_tokens": 5}
        whole = {"id": "resp_1", "object": "response", "created_at": 1, "model": body["model"], "status": "completed"}
        whole |= {"output": [output], "usage": usage, "parallel_tool_calls": True, "tool_choice": "auto", "tools": []}
        if not body.get("stream"):
            self._answer(whole)
            return
        place = {"item_id": "msg_1", "output_index": 0, "content_index": 0, "logprobs": []}
        events = [{"type": "response.output_text.delta", "delta": word, **place} for word in _words(told)]
        events += [{"type": "response.completed", "response": whole}]
        self._stream([f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events])

    def _answer(self, content: Mapping[str, Any], status: int = 200) -> None:
        text = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def _stream(self, events: list[str]) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream; charset=utf-8")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for event in events:
            self.wfile.write(f"{len(event.encode()):x}\r\n{event}\r\n".encode())
        self.wfile.write(b"0\r\n\r\n")

    @override
    def log_message(self, format: str, *args: Any) -> None:
        pass


def _told(body: dict[str, Any]) -> str:
    said = body.get("prompt") or body.get("input") or body["messages"][-1]["content"]
    return str(said)


def _words(text: str) -> list[str]:
    return [f"{word} " for word in text.split()]


def _text(text: str, reason: str | None) -> dict[str, Any]:
    return {"index": 0, "text": text, "logprobs": None, "finish_reason": reason}


def _message(body: dict[str, Any], told: str) -> tuple[dict[str, Any], str]:
    """What it says: the schema's fields, each with what it was told, a call of the first tool, or that alone."""
    schema = (body.get("response_format") or {}).get("json_schema", {}).get("schema")
    if schema:
        return {"content": json.dumps(dict.fromkeys(schema["properties"], told))}, "stop"
    if tools := body.get("tools"):
        function = tools[0]["function"]
        arguments = json.dumps(dict.fromkeys(function["parameters"]["properties"], told))
        call = {"id": "call_1", "type": "function", "function": {"name": function["name"], "arguments": arguments}}
        return {"content": None, "tool_calls": [call]}, "tool_calls"
    return {"content": told}, "stop"


def _deltas(message: dict[str, Any]) -> list[dict[str, Any]]:
    if calls := message.get("tool_calls"):
        return [{"tool_calls": [{"index": 0, **calls[0]}]}]
    return [{"content": word} for word in _words(message["content"])]


def _chat(message: dict[str, Any], reason: str) -> dict[str, Any]:
    choice = {"index": 0, "message": {"role": "assistant", **message}, "logprobs": None, "finish_reason": reason}
    told = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "plain"}
    return {**told, "choices": [choice], "usage": _USAGE}


def _chunk(delta: dict[str, Any], reason: str | None = None) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
    told = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "plain"}
    return {**told, "choices": [choice]}


def _embeddings(body: dict[str, Any]) -> dict[str, Any]:
    encoded = base64.b64encode(struct.pack("<3f", *VECTOR)).decode()
    vector = encoded if body.get("encoding_format") == "base64" else VECTOR
    count = len(body["input"]) if isinstance(body["input"], list) else 1
    data = [{"object": "embedding", "index": index, "embedding": vector} for index in range(count)]
    return {"object": "list", "model": body["model"], "data": data, "usage": {"prompt_tokens": 3, "total_tokens": 3}}


@contextmanager
def speaker() -> Iterator[Speaker]:
    """Serve it."""
    with playing(Speaker(), _Handler) as state:
        yield state
