"""What the router's benchmark measures is there to be measured: real processes, and none of them stays."""

import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from benchmarks.router.anneal import anneal_router
from benchmarks.router.messages import chats, connected, is_whole
from benchmarks.router.processes import Running
from benchmarks.router.references import Upstream, least_lua, plain, upstream
from benchmarks.router.streams import stream_chunks
from toolbox.commands import CommandError

Start = Callable[[Upstream, Path], AbstractContextManager[Running]]


def _answers(port: int, count: int) -> list[bytes]:
    found = []
    with connected(port) as client:
        for request, _ in zip(chats(), range(count), strict=False):
            client.sendall(request)
            found.append(b"")
            while not is_whole(found[-1]):
                found[-1] += client.recv(65536)
    return found


@pytest.mark.parametrize("start", [plain, least_lua, anneal_router])
def test_a_system_answers_and_streams_and_leaves_no_process(start: Start, tmp_path: Path) -> None:
    core = min(os.sched_getaffinity(0))
    with upstream(tmp_path / "engines", core, core) as engines, start(engines, tmp_path) as running:
        answers = _answers(running.port, 20)
        assert all(answer.startswith(b"HTTP/1.1 200") for answer in answers)
        clock = iter([0.0, 1.0])
        assert stream_chunks(running.port, 0.2, lambda: next(clock)) > 0
        pids = running.pids()
    assert len(pids) >= 2
    assert [pid for pid in pids if Path(f"/proc/{pid}").exists()] == []


def test_a_router_that_knows_no_experiment_is_not_measured(tmp_path: Path) -> None:
    """One user has asked: there are records of one arm."""
    core = min(os.sched_getaffinity(0))
    with (
        upstream(tmp_path / "engines", core, core) as engines,
        pytest.raises(CommandError, match="not of both arms"),
        anneal_router(engines, tmp_path),
    ):
        pass
