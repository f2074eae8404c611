"""A version without pods, which a request starts: it waits for that, or is told when to come again."""

import json
import socket
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from serving_runtime.plan import ModelRoute, RouteTable, Target
from toolbox.polling import poll

from .stand import Answer, Stand, endpoints, standing

MOST = 64
"""Requests that a worker holds."""
IMPATIENT = {"init_by_lua_block {": 'init_by_lua_block {\n    require("waking").longest = 1'}
CROWDED = {"init_by_lua_block {": 'init_by_lua_block {\n    require("registry").MOST_SERIES = 1'}
HASTY = {"init_by_lua_block {": 'init_by_lua_block {\n    require("waking").longest = 2'}
HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s"
BODY = json.dumps({"model": "soon", "scenario": "echo"}).encode()


@dataclass
class Sleepers:
    """A router with two versions that have no pods: `soon` has one within 20 s once it is asked, `late` in 300."""

    router: Stand
    clients: ThreadPoolExecutor

    def ask(self, model: str) -> "Future[Answer]":
        return self.clients.submit(self.router.chat, model)

    def held(self, version: str = "v-soon") -> int:
        """How many requests wait, as the operator hears of it."""
        return int(self.router.ask("/-/requests").json["under_way"].get(version, 0))

    def start(self) -> None:
        """A pod of each answers."""
        port = self.router.engine.port
        self.router.write_endpoints({"v-soon": [port], "v-late": [port], "v-slow": [port]})


def _table() -> RouteTable:
    targets = {
        f"v-{name}": Target(host="127.0.0.1", port=1, model=name, service=name, wakes_after=seconds)
        for name, seconds in {"brief": 1, "slow": 3, "soon": 20, "late": 300, "later": 300, "never": None}.items()
    }
    models = {name.removeprefix("v-"): ModelRoute(default=name, named={}) for name in targets}
    return RouteTable(targets=targets, models=models)


@contextmanager
def asleep(folder: Path, changes: Mapping[str, str] | None = None) -> Iterator[Sleepers]:
    """Without any pod."""
    (folder / "endpoints.json").write_text(endpoints({name: [] for name in _table().targets}))
    with standing(folder, {**(changes or {})}, 1, _table()) as router, ThreadPoolExecutor(8) as clients:
        yield Sleepers(router, clients)


def test_a_request_is_held_until_a_pod_answers_and_counts_as_under_way(tmp_path: Path) -> None:
    with asleep(tmp_path) as made:
        waiting = [made.ask("soon") for _ in range(3)]
        assert poll(lambda: made.held() == 3, 5, every=0.02)
        made.start()
        assert [one.result(10).status for one in waiting] == [200] * 3
        assert waiting[0].result().headers["x-anneal-version"] == "v-soon"
        assert poll(lambda: made.held() == 0, 5, every=0.02)


def test_where_that_takes_longer_the_client_is_told_when_to_come_again_and_the_operator_that_it_came(
    tmp_path: Path,
) -> None:
    with asleep(tmp_path) as made:
        assert made.router.ask("/-/requests").json["asked_seconds_ago"] == {}
        refused = made.router.chat("late")
        assert (refused.status, refused.headers["retry-after"]) == (503, "300")
        assert "try again in 300 s" in refused.error
        assert refused.json["error"]["param"] == "model"
        told = made.router.ask("/-/requests").json
        assert told["under_way"]["v-late"] == 0
        assert 0 <= told["asked_seconds_ago"]["v-late"] < 5
        made.start()
        assert poll(lambda: made.router.chat("late").status == 200, 5, every=0.05)


def test_the_operator_hears_of_it_though_metrics_have_no_place_for_the_version(tmp_path: Path) -> None:
    with asleep(tmp_path, CROWDED) as made:
        assert made.router.chat("late").status == 503
        assert made.router.chat("later").status == 503
        told = made.router.ask("/-/requests").json["asked_seconds_ago"]
        assert {"v-late", "v-later"} <= told.keys()
        assert 0 <= told["v-later"] < 5


def test_it_is_held_no_longer_than_clients_wait(tmp_path: Path) -> None:
    with asleep(tmp_path, IMPATIENT) as made:
        waiting = made.ask("brief")
        assert poll(lambda: made.held("v-brief") == 1, 5, every=0.02)
        refused = waiting.result(10)
        assert (refused.status, refused.headers["retry-after"]) == (503, "5")
        assert "v-brief" in refused.error


def test_a_clock_that_goes_back_holds_nobody_longer(tmp_path: Path) -> None:
    clock = f"""local now = ngx.now
    ngx.now = function() return io.open("{tmp_path}/back") and now() - 3600 or now() end"""
    with asleep(tmp_path, {name: f"{text}\n    {clock}" for name, text in IMPATIENT.items()}) as made:
        waiting = made.ask("brief")
        assert poll(lambda: made.held("v-brief") == 1, 5, every=0.02)
        (tmp_path / "back").touch()
        assert waiting.result(10).status == 503


def test_who_comes_again_when_told_to_is_held_though_it_takes_longer(tmp_path: Path) -> None:
    with asleep(tmp_path, HASTY) as made:
        assert made.router.chat("slow").status == 503
        again = time.monotonic() + 3.1
        assert poll(lambda: time.monotonic() > again, 5, every=0.02)
        waiting = made.ask("slow")
        assert poll(lambda: made.held("v-slow") == 1, 1, every=0.02)
        made.start()
        assert waiting.result(10).status == 200


def test_so_many_are_held_and_one_that_leaves_makes_room(tmp_path: Path) -> None:
    with asleep(tmp_path) as made, ExitStack() as stack:
        sockets = [stack.enter_context(made.router.connect()) for _ in range(MOST)]
        for one in sockets:
            one.sendall(HEAD % (len(BODY), BODY))
        assert poll(lambda: made.held() == MOST, 5, every=0.02)
        refused = made.router.chat("soon")
        assert (refused.status, int(refused.headers["retry-after"]) <= 20) == (503, True)
        sockets[0].shutdown(socket.SHUT_RDWR)
        assert poll(lambda: made.held() == MOST - 1, 5, every=0.02)
        last = made.ask("soon")
        assert poll(lambda: made.held() == MOST, 5, every=0.02)
        made.start()
        assert last.result(10).status == 200


def test_one_that_is_never_without_pods_by_intent_is_not_waited_for(tmp_path: Path) -> None:
    with asleep(tmp_path) as made:
        refused = made.router.chat("never")
        assert (refused.status, refused.headers["retry-after"]) == (503, "1")
        assert "no pod of `v-never` is ready" in refused.error
