"""A pod is replaced under load, by a router that is never told: no client hears of it."""

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from serving_runtime.leave import leave
from serving_runtime.plan import ENGINE_KEY_VARIABLE, ModelRoute, RouteTable, Target
from tests.serving_runtime.played_engine import CHAT, ENGINE_KEY, WHOLE, played

from .stand import Stand, standing

CLIENTS, STREAMS = 2, 4


def _asks(router: Stand, path: str, is_over: threading.Event) -> Counter[tuple[int, str]]:
    """What a client hears that asks again and again."""
    heard: Counter[tuple[int, str]] = Counter()
    while not is_over.is_set():
        answer = router.ask(path, {"model": "m", "messages": []})
        heard[answer.status, answer.content.decode()] += 1
    return heard


def test_no_request_is_lost_when_a_pod_leaves_whatever_the_router_knows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ENGINE_KEY_VARIABLE, ENGINE_KEY)
    monkeypatch.setattr("serving_runtime.leave.LEFT_BY_ALL_SECONDS", 1)
    is_over = threading.Event()
    with played() as leaving, played() as staying, ThreadPoolExecutor(CLIENTS + STREAMS) as threads:
        target = Target(host="127.0.0.1", port=leaving.port, model="m", service="s")
        routes = RouteTable(targets={"one": target}, models={"m": ModelRoute(default="one", named={})})
        with standing(tmp_path, routes=routes) as router:
            router.write_endpoints({"one": [leaving.port, staying.port]})
            clients = [threads.submit(_asks, router, "/v1/completions", is_over) for _ in range(CLIENTS)]
            streams = [threads.submit(_asks, router, CHAT, is_over) for _ in range(STREAMS)]
            leave(leaving.port, 60)
            leaving.process.terminate()
            assert leaving.process.wait(30) == 0
            is_over.set()
            heard = sum((client.result() for client in clients), Counter[tuple[int, str]]())
            seen = sum((stream.result() for stream in streams), Counter[tuple[int, str]]())
    assert set(heard) == {(200, "0 end")}
    assert set(seen) == {(200, WHOLE)}
    assert sum(heard.values()) > 20
