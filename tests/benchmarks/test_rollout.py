"""The rollout's benchmark measures what it says, on a small scale: real curl and nginx, and a router that is played."""

import json
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from typing_extensions import override

from benchmarks.rollout import moving
from benchmarks.rollout.download import download_rounds
from benchmarks.rollout.moving import move_alias
from tests.support.http_server import playing

LATE_SECONDS = 0.6


def test_ours_and_curl_bring_the_same(tmp_path: Path) -> None:
    rounds = download_rounds(tmp_path, 1_000_000, 1, 8_000_000)
    assert all(0 < one.bare < one.same and one.ours > 0 for one in rounds)
    [ours] = (path for path in (tmp_path / "ours").iterdir() if path.is_dir())
    for path in ours.iterdir():
        assert path.read_bytes() == (tmp_path / "curl" / f"{path.name}.{0:012}").read_bytes()


@dataclass
class World:
    """A router, and MLflow at the same port: a while after the alias was moved the other version answers."""

    port: int = 0
    moved_at: float | None = None
    told: dict[str, str] = field(default_factory=dict)
    fails: int = 0
    """So many of the next requests."""
    lock: threading.Lock = field(default_factory=threading.Lock)


class WorldHandler(BaseHTTPRequestHandler):
    """Answers for both."""

    state: World

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.state.lock:
            if self.path.startswith("/api/"):
                self.state.moved_at, self.state.told = time.monotonic(), body
            fails = self.state.fails > 0 and self.path.startswith("/v1/")
            self.state.fails -= fails
        moved = self.state.moved_at
        has_followed = moved is not None and time.monotonic() - moved > LATE_SECONDS
        self.send_response(503 if fails else 200)
        self.send_header("X-Anneal-Version", "new" if has_followed else "old")
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    @override
    def log_message(self, *_: object) -> None:
        """Nothing."""


def test_the_last_answer_of_another_version_and_what_failed_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moving, "_BEFORE_SECONDS", 0.1)
    monkeypatch.setattr(moving, "_QUIET_SECONDS", 1.0)
    with playing(World(fails=2), WorldHandler) as world:
        url = f"http://127.0.0.1:{world.port}"
        found = move_alias(url, url, "spam", "2", "new", 2)
    assert world.told == {"name": "spam", "alias": "production", "version": "2"}
    assert LATE_SECONDS / 2 < found.seconds < LATE_SECONDS + 0.5
    assert (found.failed, found.requests > 10) == (2, True)


def test_a_version_that_never_answers_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moving, "_BEFORE_SECONDS", 0.0)
    monkeypatch.setattr(moving, "_PATIENCE_SECONDS", 0.3)
    with playing(World(), WorldHandler) as world:
        url = f"http://127.0.0.1:{world.port}"
        with pytest.raises(RuntimeError, match="other answered nothing: is it"):
            move_alias(url, url, "spam", "2", "other", 1)
