"""Which pods are asked, by the real nginx, with several model's servers behind it."""

import json
import os
import signal
import socket
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

import pytest

from serving_runtime.plan import (
    ExperimentRoute,
    KeyRoute,
    LayerRoute,
    ModelRoute,
    RouteTable,
    Target,
    VariantRoute,
    bucket,
)
from serving_runtime.router.endpoints import FORMAT
from toolbox.polling import poll

from .engine import Engine, engine
from .stand import SALT, Answer, Stand, endpoints, standing
from .test_metrics import value

HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\n%sContent-Length: %d\r\n\r\n%s"
TOLD = """content_by_lua_block {
  local told = {}
  for _, pod in ipairs(require("endpoints").of(ngx.var.arg_of, { host = "none", port = 0 })) do
    told[#told + 1] = {
      name = pod.name, here = pod.here, elsewhere = pod.elsewhere, is_out = pod.out_until > ngx.now(),
    }
  end
  ngx.say(require("cjson").encode({ told = told, worker = ngx.worker.pid() }))
}"""
BEGINNING = "init_worker_by_lua_block {"
SHORTER = """init_worker_by_lua_block {
  require("pick").pause = function() return 1 end"""
CHANGES = {"content_by_lua_block { router.list_models() }": TOLD}
STABLE, TUNED = (next(u for u in map(str, range(99)) if (bucket(SALT, u) < 5000) == low) for low in (True, False))
HELD = next(u for u in map(str, range(99)) if bucket(SALT, u) < 1000)
"""Who stays with `stable` while `tuned` bakes."""


@dataclass
class Scene:
    """A router before several engines. `GET /v1/models` tells what it knows of a version's pods."""

    router: Stand
    engines: list[Engine]
    closed: int

    def told(self, version: str = "one") -> list[dict[str, Any]]:
        """What a worker knows of each pod."""
        return list(self.router.ask(f"/v1/models?of={version}").json["told"] or [])

    def lead(self, version: str, *ports: int) -> None:
        """These pods answer for the version, as soon as the router knows."""
        path = self.router.folder / "endpoints.json"
        known = json.loads(path.read_text())["targets"] if path.exists() else {}
        mine = {name: [pod["port"] for pod in pods] for name, pods in known.items()}
        self.router.write_endpoints({**mine, version: ports})
        expected = [f"pod-{port}" for port in ports]
        assert poll(lambda: [pod.get("name") for pod in self.told(version)] == expected, 5, every=0.02)

    def chat(self, text: str = "", model: str = "m", scenario: str = "echo", **headers: str) -> Answer:
        """One user message."""
        messages = [{"role": "user", "content": text}]
        body = json.dumps({"model": model, "scenario": scenario, "messages": messages}, separators=(",", ":"))
        return self.router.ask(body=body, **headers)

    def who(self, messages: Sequence[Any] | str, path: str = "/v1/chat/completions", field: str = "messages") -> int:
        """The number of the engine that is asked."""
        before = [sum(one.asked.values()) for one in self.engines]
        assert self.router.ask(path, {"model": "m", field: messages}).status == 200
        after = [sum(one.asked.values()) for one in self.engines]
        (number,) = (i for i, (old, new) in enumerate(zip(before, after, strict=True)) if new > old)
        return number

    def open(self, stack: ExitStack, scenario: str, text: str = "") -> socket.socket:
        """A client whose answer has begun."""
        client = stack.enter_context(self.router.connect())
        messages = [{"role": "user", "content": text}]
        asked = json.dumps({"model": "m", "scenario": scenario, "messages": messages}, separators=(",", ":")).encode()
        client.sendall(HEAD % (b"", len(asked), asked))
        if scenario != "silent":
            assert client.recv(65536).startswith(b"HTTP/1.1 200")
        return client

    def is_at_rest(self, version: str = "one") -> bool:
        """Whether no pod answers anything, as this worker sees it."""
        return all(pod["here"] == pod["elsewhere"] == 0 for pod in self.told(version))


def _table(closed: int) -> RouteTable:
    arms = [
        VariantRoute(name="stable", target="one", up_to=5000),
        VariantRoute(name="tuned", target="two", up_to=10000),
    ]
    split = ExperimentRoute(
        name="x",
        uid="uid",
        salt=SALT,
        keys=[KeyRoute(kind="header", name="x-user-id")],
        control="stable",
        variants=arms,
    )
    targets = {name: Target(host="127.0.0.1", port=closed, model="m", service=name) for name in ("one", "two")}
    named = {"1": "one", "2": "two"}
    models = {
        "m": ModelRoute(default="one", named=named),
        "split": ModelRoute(default="one", named=named, experiments=[split]),
        "baking": ModelRoute(default="two", named=named, experiments=[_baking(split)]),
    }
    return RouteTable(targets=targets, models=models)


def _baking(split: ExperimentRoute, layer: LayerRoute | None = None) -> ExperimentRoute:
    """The same once `tuned` has won."""
    arms = [arm.model_copy(update={"up_to": end}) for arm, end in zip(split.variants, (1000, 10_000), strict=True)]
    return split.model_copy(update={"control": "tuned", "fallback": "stable", "variants": arms, "layer": layer})


@contextmanager
def scene(folder: Path, count: int, workers: int = 1, changes: Mapping[str, str] | None = None) -> Iterator[Scene]:
    """All of it, with `one` led to all engines."""
    closed = socket.socket()
    closed.bind(("127.0.0.1", 0))
    with closed, ExitStack() as stack:
        engines = [stack.enter_context(engine()) for _ in range(count)]
        port = int(closed.getsockname()[1])
        (folder / "endpoints.json").write_text(endpoints({"one": [one.port for one in engines]}))
        router = stack.enter_context(standing(folder, {**CHANGES, **(changes or {})}, workers, _table(port)))
        yield Scene(router, engines, port)
        for one in engines:
            one.go_on.set()


@pytest.fixture(scope="module")
def four(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """For tests that leave it as it was."""
    with scene(tmp_path_factory.mktemp("router"), 4) as made:
        yield made
        assert poll(made.is_at_rest, 5)


def _conversation(system: str, *said: str) -> list[dict[str, str]]:
    turns = [{"role": ("user", "assistant")[number % 2], "content": text} for number, text in enumerate(said)]
    return [{"role": "system", "content": system}, *turns]


@pytest.mark.parametrize("system", ["Be brief.", "Be brief. " * 300, "간결하게. " * 4000])
def test_a_conversation_s_next_turn_goes_where_its_first_went(four: Scene, system: str) -> None:
    asked = set()
    for number in range(12):
        first = four.who(_conversation(system, f"question {number}"))
        longer = _conversation(system, f"question {number}", "an answer", "and then? " * 500)
        assert four.who(longer) == first
        asked.add(first)
    assert len(asked) > 1, "one system prompt does not choose one pod"


@pytest.mark.parametrize(
    ("path", "field"), [("/v1/completions", "prompt"), ("/v1/responses", "input"), ("/v1/chat/completions", "messages")]
)
def test_the_same_text_goes_to_the_same_pod(four: Scene, path: str, field: str) -> None:
    texts = [f"text {number}" for number in range(16)]
    first, again = ([four.who(text, path, field) for text in texts] for _ in range(2))
    assert first == again
    assert len(set(first)) > 1


def test_what_no_pod_remembers_is_spread(four: Scene) -> None:
    asked = Counter(four.who("text", "/v1/embeddings", "input") for _ in range(60))
    assert len(asked) == 4


def test_connections_are_kept_for_each_pod(four: Scene) -> None:
    before = [one.connections for one in four.engines]
    for _ in range(60):
        four.who("text", "/v1/embeddings", "input")
    assert all(one.connections - old <= 1 for one, old in zip(four.engines, before, strict=True))


def test_no_pod_gets_much_more_than_its_share_of_one_text(tmp_path: Path) -> None:
    with scene(tmp_path, 4) as made, ExitStack() as clients:
        for _ in range(24):
            made.open(clients, "held", "the same")
        asked = [one.asked["held"] for one in made.engines]
        assert (sum(asked), max(asked)) == (24, ceil(1.25 * 24 / 4))
        assert sorted(pod["here"] for pod in made.told()) == sorted(asked)
        for one in made.engines:
            one.go_on.set()
        assert poll(made.is_at_rest, 5)


@pytest.mark.parametrize(("scenario", "status", "times"), [("503", 503, 3), ("502", 502, 3), ("500", 500, 1)])
def test_another_pod_is_asked_each_time_and_three_at_most(
    tmp_path: Path, scenario: str, status: int, times: int
) -> None:
    with scene(tmp_path, 4) as made:
        answer = made.chat(scenario=scenario)
        assert answer.status == status
        assert sorted(one.asked[scenario] for one in made.engines) == [0] * (4 - times) + [1] * times
        assert made.is_at_rest()


def test_a_pod_that_is_not_there_costs_no_client_an_answer_and_is_left_alone(tmp_path: Path) -> None:
    with scene(tmp_path, 2) as made:
        made.lead("one", made.closed, *(one.port for one in made.engines))
        assert {made.chat(f"question {number}").status for number in range(40)} == {200}
        assert [pod["is_out"] for pod in made.told()] == [True, False, False]
        assert f"the pod pod-{made.closed} fails" in (made.router.folder / "log").read_text()
        assert made.is_at_rest()


def test_a_pod_that_takes_no_connection_is_asked_no_more_after_two(tmp_path: Path) -> None:
    """As one on a node that is gone: nothing refuses, nothing answers."""
    quick = {"proxy_connect_timeout 2s;": "proxy_connect_timeout 200ms;"}
    with scene(tmp_path, 1, changes=quick) as made, _full_listener() as full:
        made.lead("two", full, made.engines[0].port)
        assert {made.chat(f"question {number}", model="m@2").status for number in range(12)} == {200}
        assert [pod["is_out"] for pod in made.told("two")] == [True, False]
        assert f"the pod pod-{full} fails" in (made.router.folder / "log").read_text()


@contextmanager
def _full_listener() -> Iterator[int]:
    """A port where connections that wait to be accepted have no room."""
    with socket.socket() as listener, ExitStack() as waiting:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            client = waiting.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(listener.getsockname())
        yield int(listener.getsockname()[1])


def test_a_pod_that_fails_is_left_alone_and_asked_again_later(tmp_path: Path) -> None:
    with scene(tmp_path, 2, changes={BEGINNING: SHORTER}) as made:
        number = made.who(_conversation("s", "q"))
        bad = '{"scenario":"500",' + json.dumps({"model": "m", "messages": _conversation("s", "q")})[1:]
        assert {made.router.ask(body=bad).status for _ in range(5)} == {500}
        assert [pod["is_out"] for pod in made.told()] == [number == 0, number == 1]
        assert made.who(_conversation("s", "q")) == 1 - number
        assert poll(lambda: made.who(_conversation("s", "q")) == number, 10, every=0.05)


def test_the_only_pod_is_never_left_alone(tmp_path: Path) -> None:
    with scene(tmp_path, 1) as made:
        assert {made.chat(scenario="500").status for _ in range(8)} == {500}
        assert (made.chat().status, [pod["is_out"] for pod in made.told()]) == (200, [False])


def test_a_pod_that_ends_gets_nothing_new_and_finishes_what_it_began(tmp_path: Path) -> None:
    with scene(tmp_path, 2) as made, ExitStack() as clients:
        number = made.who(_conversation("", "q"))
        going, staying = made.engines[number], made.engines[1 - number]
        texts = [f"question {number}" for number in range(20)]
        client = next(opened for opened in (made.open(clients, "held", text) for text in texts) if going.asked["held"])
        made.lead("one", staying.port)
        before = sum(going.asked.values())
        assert {made.chat(text).status for text in texts} == {200}
        assert sum(going.asked.values()) == before
        for one in made.engines:
            one.go_on.set()
        rest = b""
        while not rest.endswith(b"\r\n0\r\n\r\n"):
            rest += client.recv(65536)
        assert poll(made.is_at_rest, 5)


@pytest.mark.parametrize("content", ["", "[]", '{"format": 2, "targets": {}}', '{"format": 1, "targets": {"one": 1}}'])
def test_a_file_that_means_nothing_here_changes_nothing(four: Scene, content: str) -> None:
    log, good = four.router.folder / "log", (four.router.folder / "endpoints.json").read_text()
    known, told = four.told(), log.read_text().count("the file of endpoints")
    try:
        four.router.write_endpoints(content)
        assert poll(lambda: log.read_text().count("the file of endpoints") > told, 5, every=0.02)
        assert (four.told(), four.chat().status) == (known, 200)
    finally:
        four.router.write_endpoints(good)


def test_a_pod_that_cannot_be_read_takes_no_other_with_it(tmp_path: Path) -> None:
    with scene(tmp_path, 2) as made:
        good, other = ({"address": "127.0.0.1", "port": one.port} for one in made.engines)
        bad: list[Any] = [{}, 5, {"address": None, "port": 1}, {"address": "127.0.0.1", "port": "x"}]
        pods = {"one": [*bad, {**good, "pod": None, "uid": None}, other], "two": bad}
        made.router.write_endpoints(json.dumps({"format": FORMAT, "targets": pods}))
        assert poll(lambda: [pod.get("name") for pod in made.told()] == [None, None], 5, every=0.02)
        assert {made.who("text", "/v1/embeddings", "input") for _ in range(40)} == {0, 1}
        assert [pod.get("name") for pod in made.told("two")] == [None], "its Service is asked"
        assert (made.router.folder / "log").read_text().count("pods that cannot be read") == 1


@pytest.mark.parametrize("scenario", ["500", "503", "reset", "cut", "cut-at-once", "short", "stream", "nonsense"])
def test_nothing_is_counted_that_has_ended(four: Scene, scenario: str) -> None:
    body = json.dumps({"model": "m", "scenario": scenario, "messages": []}, separators=(",", ":")).encode()
    four.router.raw(HEAD % (b"Connection: close\r\n", len(body), body))
    assert poll(four.is_at_rest, 5)


@pytest.mark.parametrize("scenario", ["endless", "silent"])
def test_nothing_is_counted_whose_client_has_left(tmp_path: Path, scenario: str) -> None:
    with scene(tmp_path, 2) as made:
        with ExitStack() as clients:
            for number in range(4):
                made.open(clients, scenario, str(number))
            assert poll(lambda: sum(pod["here"] for pod in made.told()) == 4, 5)
        assert poll(made.is_at_rest, 5)
        assert all(one.left.wait(5) for one in made.engines if one.asked[scenario])
        assert not any(pod["is_out"] for pod in made.told())


def _seen_by(made: Scene, worker: int) -> list[dict[str, Any]]:
    """What one of several workers knows; the kernel chooses which is asked."""
    found: list[list[dict[str, Any]]] = []

    def is_it() -> bool:
        answered = made.router.ask("/v1/models?of=one").json
        if answered["worker"] == worker:
            found.append(answered["told"])
        return bool(found)

    assert poll(is_it, 5, every=0.005)
    return found[0]


def _answering(made: Scene, worker: int) -> int:
    return sum(int(pod["here"]) + int(pod["elsewhere"]) for pod in _seen_by(made, worker))


def test_workers_know_of_each_other_s_answers_and_forget_those_of_one_that_died(tmp_path: Path) -> None:
    with scene(tmp_path, 2, workers=2) as made, ExitStack() as clients:
        for number in range(12):
            made.open(clients, "held", str(number))
        first, second = made.router.workers()

        def all_counted(worker: int) -> bool:
            return _answering(made, worker) == 12

        assert poll(lambda: all_counted(first) and all_counted(second), 5)
        own = sum(pod["here"] for pod in _seen_by(made, second))
        os.kill(first, signal.SIGKILL)
        assert poll(lambda: _answering(made, second) == own, 5)
        for one in made.engines:
            one.go_on.set()
        clients.close()
        assert poll(lambda: _answering(made, second) == 0, 5)


def test_what_one_worker_leaves_alone_all_do(tmp_path: Path) -> None:
    with scene(tmp_path, 2, workers=2) as made:
        made.lead("one", made.closed, *(one.port for one in made.engines))
        workers = made.router.workers()

        def all_know(expected: list[bool]) -> bool:
            return all([pod["is_out"] for pod in _seen_by(made, worker)] == expected for worker in workers)

        assert poll(lambda: all_know([False] * 3), 5)
        for number in range(60):
            assert made.chat(f"question {number}").status == 200
        assert poll(lambda: all_know([True, False, False]), 3)


def _assert_fell_back(made: Scene, answer: Answer) -> None:
    assert (answer.status, answer.headers["x-anneal-fallback"]) == (200, "true")
    assert (answer.headers["x-anneal-version"], answer.headers["x-anneal-variant"]) == ("one", "tuned")
    line = made.router.record_of(answer.headers["x-exposure-id"])
    assert (line["fallback"], line["version"], line["variant"]) == (True, "one", "tuned")
    assert line["endpoint"] in {f"pod-{one.port}" for one in made.engines}


def test_a_variant_without_pods_is_answered_for_by_the_control(four: Scene) -> None:
    four.lead("two")
    _assert_fell_back(four, four.chat(model="split", X_User_Id=TUNED))
    answer = four.chat(model="split", X_User_Id=STABLE)
    assert (answer.headers["x-anneal-variant"], "x-anneal-fallback" in answer.headers) == ("stable", False)
    assert "fallback" not in four.router.record_of(answer.headers["x-exposure-id"])


@pytest.mark.parametrize("pods", [1, 2, 3])
def test_a_variant_whose_pods_are_not_there_is_answered_for_by_the_control(four: Scene, pods: int) -> None:
    with ExitStack() as stack:
        gone = [stack.enter_context(socket.socket()) for _ in range(pods)]
        for one in gone:
            one.bind(("127.0.0.1", 0))
        four.lead("two", *(int(one.getsockname()[1]) for one in gone))
        _assert_fell_back(four, four.chat("q", model="split", X_User_Id=TUNED))


def test_the_control_gets_the_key_that_the_variant_would_have_got(four: Scene) -> None:
    with socket.socket() as gone:
        gone.bind(("127.0.0.1", 0))
        four.lead("two", int(gone.getsockname()[1]))
        answer = four.chat("q", model="split", X_User_Id=TUNED, Authorization="Bearer mine")
        _assert_fell_back(four, answer)
        assert answer.json["headers"]["Authorization"] == "Bearer engine-key"


def test_a_key_that_the_control_does_not_take_is_no_matter_of_the_client_s(four: Scene) -> None:
    with socket.socket() as gone:
        gone.bind(("127.0.0.1", 0))
        four.lead("two", int(gone.getsockname()[1]))
        answer = four.chat("q", model="split", scenario="locked", X_User_Id=TUNED)
    assert (answer.status, "x-anneal-fallback" in answer.headers) == (502, False)
    assert "www-authenticate" not in answer.headers
    assert "does not answer" in answer.error


def _call_them_otherwise(made: Scene, **names: str) -> None:
    """Each engine knows its model by a name of its own."""
    routes = json.loads((made.router.folder / "routes.json").read_text())
    for name in ("one", "two"):
        routes["targets"][name] |= {"model": f"engine-{name}", **names}
    made.router.write(json.dumps({**routes, "generation": routes.get("generation", 0) + 1}))


def test_a_control_that_knows_the_model_by_another_name_is_asked_only_at_the_start(tmp_path: Path) -> None:
    with scene(tmp_path, 1) as made:
        _call_them_otherwise(made)
        assert poll(lambda: '"engine-one"' in made.chat().echoed, 5, every=0.02)
        made.lead("two", made.closed)
        assert made.chat(model="split", X_User_Id=TUNED).status == 502
        made.lead("two")
        assert '"engine-one"' in made.chat(model="split", X_User_Id=TUNED).echoed


def test_a_control_that_knows_the_public_name_is_asked_by_it(tmp_path: Path) -> None:
    with scene(tmp_path, 1) as made:
        _call_them_otherwise(made, public="split")
        assert poll(lambda: '"engine-one"' in made.chat().echoed, 5, every=0.02)
        made.lead("two", made.closed)
        answer = made.chat(model="split", X_User_Id=TUNED)
        _assert_fell_back(made, answer)
        assert '"model":"split"' in answer.echoed


def test_a_variant_that_is_busy_is_answered_for_by_the_control(four: Scene) -> None:
    with engine() as busy:
        four.lead("two", busy.port)
        for one in four.engines:
            one.asked["busy-once"] = 1
        _assert_fell_back(four, four.chat(model="split", scenario="busy-once", X_User_Id=TUNED))
        assert busy.asked["busy-once"] == 1


def test_a_variant_on_the_control_s_version_is_answered_for_by_nobody_else(tmp_path: Path) -> None:
    with scene(tmp_path, 1) as made:
        routes = json.loads((made.router.folder / "routes.json").read_text())
        for variant in routes["models"]["split"]["experiment"]["variants"]:
            variant["target"] = "one"
        made.router.write(json.dumps({**routes, "generation": routes.get("generation", 0) + 1}))
        assert poll(lambda: "x-anneal-fallback" not in made.chat(model="split", X_User_Id=TUNED).headers, 5)
        answer = made.chat(model="split", scenario="busy-once", X_User_Id=TUNED)
        assert (answer.headers["x-anneal-variant"], "x-anneal-fallback" in answer.headers) == ("tuned", False)


def _told(made: Scene, user: str | None, scenario: str = "echo") -> tuple[Any, ...]:
    """Status, version, variant and fallback of an answer while `tuned` bakes; the record says the same."""
    before, said = len(made.router.records()), {"X_User_Id": user} if user else {}
    answer = made.chat("q", model="baking", scenario=scenario, **said)
    assert poll(lambda: len(made.router.records()) > before, 5)
    line = made.router.records()[-1]
    version, variant, fallback = (answer.headers.get(f"x-anneal-{name}") for name in ("version", "variant", "fallback"))
    told = (answer.status, version, variant, fallback == "true")
    assert (line["status"], line["version"], line.get("variant"), line.get("fallback", False)) == told
    return told


@pytest.mark.parametrize("user", [TUNED, None])
@pytest.mark.parametrize("pods", [0, 1, 3])
def test_a_winner_without_pods_is_answered_for_by_the_control_while_it_bakes(
    tmp_path: Path, pods: int, user: str | None
) -> None:
    with scene(tmp_path, 2) as made, ExitStack() as stack:
        gone = [stack.enter_context(socket.socket()) for _ in range(pods)]
        for one in gone:
            one.bind(("127.0.0.1", 0))
        made.lead("two", *(int(one.getsockname()[1]) for one in gone))
        assert _told(made, user) == (200, "one", "tuned", True)


@pytest.mark.parametrize("user", [TUNED, None])
def test_a_winner_that_bakes_is_answered_for_only_where_it_does_not_take_the_request(
    tmp_path: Path, user: str | None
) -> None:
    with scene(tmp_path, 1) as made, engine() as winner:
        made.lead("two", winner.port)
        assert _told(made, user) == (200, "two", "tuned", False)
        made.engines[0].asked["busy-once"] = 1
        assert _told(made, user, "busy-once") == (200, "one", "tuned", True)


def test_who_stays_with_the_control_while_a_winner_bakes_is_answered_for_by_the_winner(tmp_path: Path) -> None:
    with scene(tmp_path, 1) as made, engine() as winner:
        made.lead("two", winner.port)
        assert _told(made, HELD) == (200, "one", "stable", False)
        made.lead("one")
        assert _told(made, HELD) == (200, "two", "stable", True)


@pytest.mark.parametrize("is_baking", [True, False])
def test_who_is_in_no_layer_is_answered_for_by_the_control_of_a_winner_that_bakes(
    tmp_path: Path, is_baking: bool
) -> None:
    layer = LayerRoute(salt="layer", begin=0, end=1)
    user = next(name for name in map(str, range(99)) if bucket("layer", name) >= 1)
    with scene(tmp_path, 1) as made:
        table = _table(made.closed)
        (split,) = table.models["split"].experiments
        one = _baking(split, layer) if is_baking else split.model_copy(update={"layer": layer})
        route = ModelRoute(default="two", named={}, experiments=[one])
        made.router.write(RouteTable(targets=table.targets, models={**table.models, "layered": route}))
        made.lead("two")
        assert poll(lambda: made.chat(model="layered", X_User_Id=user).status != 404, 5)
        for who in (user, None):
            answer = made.chat(model="layered", **({"X_User_Id": who} if who else {}))
            told = (answer.status, answer.headers.get("x-anneal-version"), answer.headers.get("x-anneal-fallback"))
            assert told == ((200, "one", "true") if is_baking else (503, None, None))
            assert "x-anneal-variant" not in answer.headers


def _assert_booked_to_the_variant(made: Scene, answer: Answer, status: int, pod: str | None) -> None:
    told = (
        answer.headers["x-anneal-version"],
        answer.headers["x-anneal-variant"],
        "x-anneal-fallback" in answer.headers,
    )
    assert (answer.status, told) == (status, ("two", "tuned", False))
    line = made.router.record_of(answer.headers["x-exposure-id"])
    assert (line["status"], line["version"], line["variant"], "fallback" in line) == (status, "two", "tuned", False)
    assert line.get("endpoint") == pod


@pytest.mark.parametrize(("scenario", "status"), [("503", 503), ("500", 500), ("reset", 502)])
def test_a_control_that_fails_too_answered_for_nobody(tmp_path: Path, scenario: str, status: int) -> None:
    with scene(tmp_path, 1) as made:
        before = _fallbacks(made)
        made.lead("two", made.closed)
        answer = made.chat(model="split", scenario=scenario, X_User_Id=TUNED)
        _assert_booked_to_the_variant(made, answer, status, f"pod-{made.closed}")
        made.lead("two")
        answer = made.chat(model="split", scenario=scenario, X_User_Id=TUNED)
        _assert_booked_to_the_variant(made, answer, status, None)
        assert made.is_at_rest()
        assert _fallbacks(made) == before == 0
        made.chat(model="split", scenario="400", X_User_Id=TUNED)
        assert poll(lambda: _fallbacks(made) == 1, 5)


def _fallbacks(made: Scene) -> float:
    return value(made.router, "fallbacks_total")


def test_a_control_that_a_client_did_not_wait_for_answered_for_nobody(tmp_path: Path) -> None:
    with scene(tmp_path, 1) as made, made.router.connect() as client:
        made.lead("two")
        body = json.dumps({"model": "split", "scenario": "silent"}, separators=(",", ":")).encode()
        client.sendall(HEAD % (b"X-User-Id: %s\r\n" % TUNED.encode(), len(body), body))
        assert poll(lambda: made.engines[0].asked["silent"] == 1, 5)
        client.close()
        assert poll(lambda: len(made.router.records()) == 1, 5)
        (line,) = made.router.records()
        assert (line["status"], line["version"], "fallback" in line) == (499, "two", False)


def test_a_variant_that_breaks_off_is_not_answered_for_by_another(four: Scene) -> None:
    with engine() as breaking:
        four.lead("two", breaking.port)
        before = [one.asked["reset"] for one in four.engines]
        answer = four.chat(model="split", scenario="reset", X_User_Id=TUNED)
        assert (answer.status, answer.headers["x-anneal-version"]) == (502, "two")
        assert [one.asked["reset"] for one in four.engines] == before


@pytest.mark.parametrize("model", ["m@2", "split@2"])
def test_a_version_that_was_named_is_answered_for_by_no_other(four: Scene, model: str) -> None:
    four.lead("two")
    answer = four.chat(model=model)
    assert (answer.status, answer.headers["retry-after"]) == (503, "1")
    assert answer.error == "no pod of `two` is ready; try again"


def test_nobody_is_answered_where_the_control_has_no_pods_either(tmp_path: Path) -> None:
    with scene(tmp_path, 1) as made:
        made.lead("one")
        made.lead("two")
        for user in (STABLE, TUNED):
            answer = made.chat(model="split", X_User_Id=user)
            assert (answer.status, answer.headers["retry-after"]) == (503, "1")
            line = made.router.record_of(answer.headers["x-exposure-id"])
            assert (line["status"], line["outcome"], "fallback" in line) == (503, "error", False)


def test_an_address_of_ipv6_is_understood(tmp_path: Path) -> None:
    pods = [{"address": "::1", "port": 9, "pod": "six"}]
    with scene(tmp_path, 1) as made:
        made.router.write_endpoints(json.dumps({"format": FORMAT, "targets": {"one": pods}}))
        assert poll(lambda: [pod["name"] for pod in made.told()] == ["six"], 5, every=0.02)
        assert made.chat().status == 502
        assert "no connection to the engine" not in (made.router.folder / "log").read_text()


def test_a_server_cannot_say_that_another_answered(four: Scene) -> None:
    assert "x-anneal-fallback" not in four.chat(scenario="claim").headers
