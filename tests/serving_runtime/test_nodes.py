"""An engine on several nodes: one call for the leader, another for those that follow it, and these end last."""

import json
import socket
import threading
import time

import pytest

from serving_runtime.follow import follow
from serving_runtime.nodes import on_nodes

from .engine_options import GOLDEN

CALL = ["python", "-m", "vllm.entrypoints.openai.api_server", "--model", "/model", "--served-model-name", "m"]
SHARED = ["--distributed-executor-backend", "mp", "--pipeline-parallel-size", "4", "--nnodes", "4"]
LED = ["--node-rank", "0", "--master-addr", "m-group-0.m-group.team"]


def _called(rank: str) -> list[str]:
    return on_nodes(CALL, 4, {"LWS_WORKER_INDEX": rank, "LWS_LEADER_ADDRESS": "m-group-0.m-group.team"})


def test_the_leader_serves_and_the_others_follow_it() -> None:
    assert _called("0") == [*CALL, *SHARED, *LED]
    follower = [
        "python",
        "-m",
        "vllm.entrypoints.cli.main",
        "serve",
        "/model",
        "--headless",
        "--served-model-name",
        "m",
    ]
    assert _called("3") == [*follower, *SHARED, "--node-rank", "3", *LED[2:]]


@pytest.mark.parametrize("rank", ["0", "1"])
def test_the_pinned_engine_has_each_of_these_arguments(rank: str) -> None:
    known = set(json.loads(GOLDEN.read_bytes())["arguments"])
    assert {word for word in _called(rank) if word.startswith("--")} <= known


def test_a_follower_ends_once_its_leader_s_server_is_gone() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        following = threading.Thread(target=follow, args=("127.0.0.1", port, 60.0, 0.01))
        following.start()
        accepted, _ = server.accept()
        accepted.close()
        assert following.is_alive()
    following.join(10)
    assert not following.is_alive()


def test_a_follower_waits_no_longer_than_it_may() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        began = time.monotonic()
        follow("127.0.0.1", server.getsockname()[1], 0.1, 0.01)
        assert 0.1 <= time.monotonic() - began < 5


def test_a_leader_whose_name_is_gone_is_gone() -> None:
    follow("nowhere.invalid", 8000, 60.0, 0.01)


def test_a_name_that_cannot_be_asked_for_a_moment_leaves_the_leader_where_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As where a node is drained that name servers are on, too: the leader's answers need this one."""
    away = [socket.gaierror(socket.EAI_AGAIN, "try again")] * 3
    connect = socket.create_connection

    def asked(address: tuple[str, int], timeout: float) -> socket.socket:
        if away:
            raise away.pop()
        return connect(address, timeout)

    monkeypatch.setattr(socket, "create_connection", asked)
    with socket.create_server(("127.0.0.1", 0)) as server:
        following = threading.Thread(target=follow, args=("127.0.0.1", server.getsockname()[1], 60.0, 0.01))
        following.start()
        server.settimeout(10)
        server.accept()[0].close()
    following.join(10)
    assert not following.is_alive()
