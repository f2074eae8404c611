"""Artifacts as they are published, and a server for them that can be slow, break off, and count."""

import hashlib
import json
import re
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import BinaryIO

from typing_extensions import override

from serving_runtime.plan import ServingPlan

__all__ = ["URI", "FileServer", "Files", "plan_of", "publish", "started"]

URI = "mlflow-artifacts:/1/run/artifacts/model"
PREFIX = "/api/2.0/mlflow-artifacts/artifacts/1/run/artifacts/model/"
_RANGE = re.compile(r"bytes=(\d+)-(\d+)")
_PIECE = 1 << 16
_CHECKOUT = Path(__file__).parents[2]


def publish(folder: Path, files: Mapping[str, bytes], *, with_sizes: bool = True) -> str:
    """Write a folder as training does; return its digest."""
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    listed = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    sizes = {"bytes": {name: len(content) for name, content in files.items()}} if with_sizes else {}
    manifest = json.dumps({**sizes, "files": listed}, indent=1, sort_keys=True).encode()
    (folder / "manifest.json").write_bytes(manifest)
    return f"sha256:{hashlib.sha256(manifest).hexdigest()}"


def plan_of(digest: str, port: int) -> ServingPlan:
    return ServingPlan(
        tracking_uri=f"http://127.0.0.1:{port}",
        uri=URI,
        digest=digest,
        served_name="m",
        dtype="Auto",
        max_model_length=64,
        engine_args=[],
    )


def started(files: "Files", folder: Path, digest: str, *more: str) -> "subprocess.Popen[str]":
    """Begin a download in a process of its own."""
    plan = plan_of(digest, files.port).model_dump_json()
    command = [sys.executable, "-m", "serving_runtime.weights", "--port", "0", "--folder", str(folder), "--plan", plan]
    return subprocess.Popen([*command, *more], cwd=_CHECKOUT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@dataclass
class Files:
    """What is served, how, and what came of it."""

    folder: Path
    prefix: str = PREFIX
    port: int = 0
    bytes_per_second: float = 0.0
    """Of each answer; unlimited where it is 0."""
    knows_ranges: bool = True
    breaks_after: int = 0
    """After so many bytes each answer breaks off; never where it is 0."""
    breaks_once_after: int = 0
    """After so many bytes the first answer that has them breaks off."""
    begins_after: float = 0.0
    """So many seconds after it was asked for a file it begins to answer."""
    tells_sizes: bool = True
    sends_from: int | None = None
    """Once, a partial answer begins there, whatever was asked for."""
    refuses: int = 0
    """With this status each request is answered."""
    asked: Counter[str] = field(default_factory=Counter)
    """How often each file was asked for."""
    addresses: list[str] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    sent: int = 0
    """The bytes of files but the manifest."""
    most_at_once: int = 0
    at_once: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


class FileServer(BaseHTTPRequestHandler):
    """Sends files of a folder."""

    protocol_version = "HTTP/1.1"
    state: Files

    def do_GET(self) -> None:
        state = self.state
        name = self.path.partition("?")[0].removeprefix(state.prefix)
        with state.lock:
            state.asked[name] += 1
            state.addresses.append(self.path)
            state.headers.append(dict(self.headers))
            state.at_once += name != "manifest.json"
            state.most_at_once = max(state.at_once, state.most_at_once)
        try:
            self._send_file(name)
        finally:
            with state.lock:
                state.at_once -= name != "manifest.json"

    def _send_file(self, name: str) -> None:
        state = self.state
        path = state.folder / name
        if state.refuses or not path.is_file() or not self.path.startswith(state.prefix):
            self.send_response(state.refuses or 404)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if name != "manifest.json":
            time.sleep(state.begins_after)
        size = path.stat().st_size
        asked = _RANGE.fullmatch(self.headers.get("Range", "")) if state.knows_ranges else None
        begin, end = (int(asked[1]), int(asked[2]) + 1) if asked else (0, size)
        if asked and state.sends_from is not None and state.sends_from < size:
            begin, state.sends_from = state.sends_from, None
        end, outside = min(end, size), asked and begin >= size
        self.send_response((416 if outside else 206) if asked else 200)
        if asked:
            named = "*" if outside else f"{begin}-{end - 1}"
            self.send_header("Content-Range", f"bytes {named}/{size if state.tells_sizes else '*'}")
        if state.tells_sizes or asked or name == "manifest.json":
            self.send_header("Content-Length", str(max(0, end - begin)))
        else:
            self.close_connection = True
        self.end_headers()
        with path.open("rb") as file:
            file.seek(begin)
            self._send(file, max(0, end - begin), is_counted=name != "manifest.json")

    def _send(self, body: BinaryIO, length: int, *, is_counted: bool) -> None:
        state = self.state
        with state.lock:
            longest = state.breaks_after or state.breaks_once_after
            breaks = is_counted and 0 < longest < length
            state.breaks_once_after = 0 if breaks else state.breaks_once_after
        if breaks:
            length, self.close_connection = longest, True
        for begin in range(0, length, _PIECE):
            piece = body.read(min(_PIECE, length - begin))
            self.wfile.write(piece)
            with state.lock:
                state.sent += len(piece) * is_counted
            if state.bytes_per_second and is_counted:
                time.sleep(len(piece) / state.bytes_per_second)

    @override
    def log_message(self, *_: object) -> None:
        """Nothing."""
