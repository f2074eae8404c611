"""An engine, played: `python -m tests.serving_runtime.played_engine PORT`; wrapped, and ended, as vLLM's server is.

Once it is asked to end, it answers new requests with 500 for a while, as vLLM does until the last stream has ended.
"""

import asyncio
import http.client
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

import uvicorn
from typing_extensions import override

from serving_runtime.engine_key import EngineKey
from serving_runtime.keys import Message, Receive, Send
from serving_runtime.plan import ENGINE_KEY_VARIABLE, STARTED_PATH
from toolbox.polling import poll

__all__ = ["CHAT", "ENGINE_KEY", "TOKENS", "WHOLE", "Played", "begun", "played", "supervised"]

CHAT, ENGINE_KEY = "/v1/chat/completions", "engine-key"
_PIECES = 20
WHOLE = "".join(f"{piece} " for piece in range(_PIECES)) + "end"
"""What it answers at CHAT, in two seconds; elsewhere its first piece and its end."""
TOKENS = [1, 2, 3]
"""What it makes of every prompt."""
_OF_TOKENS = {"/tokenize": {"tokens": TOKENS, "max_model_len": 64}, "/detokenize": {"prompt": "a"}}
_PAUSE = 0.1
_DRAINING_SECONDS = 0.5


class PieceByPiece:
    """Answers in pieces, and to `/die` by ending as vLLM does whose engine died."""

    is_ending = False

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["path"] == "/die":
            os._exit(0)
        while (await receive()).get("more_body"):
            pass
        if scope["path"] in _OF_TOKENS:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": json.dumps(_OF_TOKENS[scope["path"]]).encode()})
            return
        await send({"type": "http.response.start", "status": 500 if self.is_ending else 200, "headers": []})
        for piece in range(_PIECES if scope["path"] == CHAT else 1):
            await send({"type": "http.response.body", "body": b"%d " % piece, "more_body": True})
            await asyncio.sleep(_PAUSE)
        await send({"type": "http.response.body", "body": b"end"})


class _Server(uvicorn.Server):
    @override
    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        _ENGINE.is_ending = True
        asyncio.get_running_loop().call_later(_DRAINING_SECONDS, super().handle_exit, sig, frame)


@dataclass(frozen=True)
class Played:
    """One that has started, under its container's first process."""

    process: "subprocess.Popen[str]"
    port: int

    def ask(self, path: str = CHAT) -> tuple[int, str]:
        """Return the status and the body; raise OSError where it is gone."""
        return self._asked("POST", path, {"Authorization": f"Bearer {ENGINE_KEY}"})

    def has_started(self) -> bool:
        """Whether the kubelet would say so."""
        try:
            return self._asked("GET", STARTED_PATH, {})[0] == 200
        except OSError:
            return False

    def _asked(self, method: str, path: str, headers: dict[str, str]) -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, b"{}", headers)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()


def supervised(*arguments: str) -> "subprocess.Popen[str]":
    """A container's first process, which runs Python with these arguments."""
    command = [sys.executable, "-m", "serving_runtime.supervise", *arguments]
    environment = {**os.environ, ENGINE_KEY_VARIABLE: ENGINE_KEY}
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)


def begun() -> "tuple[subprocess.Popen[str], int]":
    """Begin one, at a port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = int(listener.getsockname()[1])
    return supervised("-m", "tests.serving_runtime.played_engine", str(port)), port


@contextmanager
def played() -> Iterator[Played]:
    """Run one."""
    process, port = begun()
    with process:
        made = Played(process, port)
        try:
            assert poll(made.has_started, 30, every=0.05)
            yield made
        finally:
            process.terminate()
            process.communicate(timeout=30)


_ENGINE = PieceByPiece()

if __name__ == "__main__":
    _Server(uvicorn.Config(EngineKey(_ENGINE), port=int(sys.argv[1]), log_level="critical", lifespan="off")).run()
