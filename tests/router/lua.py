"""The router's own Lua without nginx: one process that answers line by line."""

import json
import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.nginx import installed

__all__ = ["Reader", "reading"]

_FOLDER = Path(__file__).parent
_ROUTER = _FOLDER.parents[1] / "serving_runtime/router"


@dataclass
class Reader:
    """What passes of an answer, and what is read of it."""

    process: subprocess.Popen[bytes]

    def read(
        self, pieces: Sequence[bytes], kind: str = "chat", *, streams: bool = True, withholds: bool = True
    ) -> Mapping[str, Any]:
        asked = {"kind": kind, "streams": streams, "withholds": withholds, "pieces": [piece.hex() for piece in pieces]}
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(json.dumps(asked).encode() + b"\n")
        self.process.stdin.flush()
        told: dict[str, Any] = json.loads(self.process.stdout.readline())
        return told | {"passed": bytes.fromhex(told["passed"])}


@contextmanager
def reading() -> Iterator[Reader]:
    """Start it; no answer ends it."""
    nginx = installed()
    lua = {**nginx.environment, "LUA_PATH": f"{_ROUTER}/?.lua;{nginx.environment['LUA_PATH']}"}
    command = [*nginx.command("usr/bin/luajit"), str(_FOLDER / "read.lua")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ, **lua}) as process:
        yield Reader(process)
        assert process.stdin
        process.stdin.close()
        assert process.wait(timeout=10) == 0
