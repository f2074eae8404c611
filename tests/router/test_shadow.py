"""Copies of what the control is asked, by the real nginx: compared, bounded, and never the client's concern."""

import contextlib
import json
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from serving_runtime.plan import (
    BackendTarget,
    ExperimentRoute,
    KeyRoute,
    ModelRoute,
    RouteTable,
    ShadowRoute,
    Target,
    VariantRoute,
)
from tests.support.authority import authority
from toolbox.polling import poll

from .answerer import Answerer, answerer
from .hosted import hosted
from .stand import KEYS, SALT, Answer, Stand, endpoints, standing
from .test_metrics import value

ALL = ShadowRoute(percent=100, per_second=1000, in_flight=16, seconds=20)
HOST = "api.example.com"
KEY = f"Bearer {KEYS['ANNEAL_ENGINE_KEY']}"


class Scene:
    """A router before a control and a challenger, each with one pod."""

    def __init__(self, router: Stand, control: Answerer, challenger: Answerer) -> None:
        self.router, self.control, self.challenger = router, control, challenger

    def ask(self, **more: Any) -> Answer:
        return self.router.ask(body={"model": "m", "messages": [{"role": "user", "content": "q"}], **more})

    def shadows(self) -> list[dict[str, Any]]:
        """What was recorded of copies."""
        files = (self.router.folder / "records").glob("*.jsonl")
        lines = [json.loads(line) for file in files for line in file.read_text().splitlines()]
        return [line["shadow"] for line in lines if "shadow" in line]

    def shadow(self) -> dict[str, Any]:
        """The one line, once it is there."""
        assert poll(lambda: len(self.shadows()) == 1, 10, every=0.02), (self.router.folder / "log").read_text()
        return self.shadows()[0]

    def dropped(self, reason: str) -> float:
        return value(self.router, "shadow_dropped_total", reason=reason)


def _table(shadow: ShadowRoute) -> RouteTable:
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
        covered=0,
        shadow=shadow,
    )
    targets = {name: Target(host="127.0.0.1", port=1, model=f"engine-{name}", service=name) for name in ("one", "two")}
    named = {"1": "one", "2": "two"}
    return RouteTable(targets=targets, models={"m": ModelRoute(default="one", named=named, experiments=[split])})


@contextmanager
def scene(
    folder: Path, shadow: ShadowRoute = ALL, workers: int = 1, changes: Mapping[str, str] | None = None
) -> Iterator[Scene]:
    with ExitStack() as stack:
        control, challenger = stack.enter_context(answerer()), stack.enter_context(answerer())
        pods = endpoints({"one": [control.port], "two": [challenger.port]})
        (folder / "endpoints.json").write_text(pods)
        router = stack.enter_context(standing(folder, changes, workers, _table(shadow)))
        yield Scene(router, control, challenger)
        challenger.go_on.set()


def test_everybody_gets_the_control_s_answer_and_a_challenger_is_asked_the_same(tmp_path: Path) -> None:
    with scene(tmp_path) as made:
        made.challenger.says = "another plain answer"
        answer = made.router.ask(body={"model": "m", "messages": [], "x": [1.0]}, X_User_Id="u1", Authorization="mine")
        assert answer.json["choices"][0]["message"]["content"] == "a plain answer"
        assert (answer.headers["x-anneal-version"], answer.headers["x-anneal-variant"]) == ("one", "stable")
        told = made.shadow()
        assert (told["experiment"], told["variant"], told["version"], told["model"]) == ("uid", "tuned", "two", "m")
        assert (told["outcome"], told["equal"], told["similarity"]) == ("complete", False, pytest.approx(4 / 6))
        assert (told["tokens"], told["controlTokens"]) == (3, 3)
        assert told["last"] >= told["first"] > 0
        assert told["controlLast"] > 0
        assert "user" not in told
        assert made.challenger.bodies == [{"model": "engine-two", "messages": [], "x": [1.0]}]
        headers = made.challenger.headers[0]
        assert headers["Authorization"] == KEY
        assert headers["X-Request-Id"] == f"{answer.headers['x-exposure-id']}-shadow"
        assert not {"X-User-Id", "Cookie"} & set(headers)


@pytest.mark.parametrize("is_chunked", [False, True])
def test_answers_that_are_alike_agree_however_they_come(tmp_path: Path, is_chunked: bool) -> None:
    with scene(tmp_path) as made:
        made.challenger.is_chunked = is_chunked
        assert made.ask().status == 200
        told = made.shadow()
        assert (told["outcome"], told["equal"], told["similarity"], told["tokens"]) == ("complete", True, 1, 3)
        assert not {"json", "controlJson", "stream"} & set(told)


def test_of_streams_the_first_content_is_timed_and_their_text_is_compared(tmp_path: Path) -> None:
    with scene(tmp_path) as made:
        made.control.says, made.challenger.says = "one two three", "one two four"
        assert b"[DONE]" in made.ask(stream=True).content
        told = made.shadow()
        assert (told["outcome"], told["stream"], told["equal"]) == ("complete", True, False)
        assert told["similarity"] == pytest.approx(2 / 3)
        assert (told["tokens"], told["controlTokens"]) == (3, 3)
        assert told["last"] >= told["first"] >= 0
        assert made.challenger.bodies[0]["stream_options"] == {"include_usage": True}


@pytest.mark.parametrize(
    ("ours", "theirs", "valid"), [('{"a": 1}', "{'a': 1}", (True, False)), ('{"a": NaN}', "[1]", (False, True))]
)
def test_where_json_was_asked_for_it_is_told_whether_it_came(
    tmp_path: Path, ours: str, theirs: str, valid: tuple[bool, bool]
) -> None:
    with scene(tmp_path) as made:
        made.challenger.says, made.control.says = ours, theirs
        made.ask(response_format={"type": "json_object"})
        told = made.shadow()
        assert (told["json"], told["controlJson"]) == valid


@pytest.mark.parametrize(
    ("ours", "theirs", "similarity"),
    [
        ("a b c", "c  b\na", 1),
        ("a a b", "a c", 2 / 5),
        ("", "", 1),
        ("", "a", 0),
        ("스팸 아님", "스팸", 2 / 3),
        ("a " * 9000, "a " * 3000, 0.5),
    ],
)
def test_similar_are_answers_that_share_words(tmp_path: Path, ours: str, theirs: str, similarity: float) -> None:
    with scene(tmp_path) as made:
        made.challenger.says, made.control.says = ours, theirs
        made.ask()
        told = made.shadow()
        assert told["similarity"] == pytest.approx(similarity)
        assert told["equal"] == (ours == theirs)


@pytest.mark.parametrize("stream", [False, True])
def test_a_body_that_lies_in_a_file_is_copied_and_a_larger_one_is_not(tmp_path: Path, stream: bool) -> None:
    with scene(tmp_path) as made:
        more = {"stream": True} if stream else {}
        text = "x" * 100_000
        assert made.ask(text=text, **more).status == 200
        assert made.shadow()["equal"]
        assert made.challenger.bodies[0]["text"] == text
        assert made.ask(text="x" * 200_000, **more).status == 200
        assert poll(lambda: made.dropped("large") == 1, 5)
        assert len(made.challenger.bodies) == 1


def test_an_answer_that_is_too_long_is_not_compared_and_no_failure(tmp_path: Path) -> None:
    with scene(tmp_path) as made:
        made.challenger.says = "x" * 300_000
        made.ask()
        told = made.shadow()
        assert (told["outcome"], "equal" in told) == ("long", False)
        made.control.says = "x" * 300_000
        assert len(made.ask().json["choices"][0]["message"]["content"]) == 300_000
        assert poll(lambda: made.dropped("large") == 1, 5)


def test_only_what_the_model_s_name_asked_and_has_words_is_copied(tmp_path: Path) -> None:
    with scene(tmp_path) as made:
        made.router.ask(body={"model": "m@1", "messages": []})
        made.router.ask("/v1/embeddings", {"model": "m", "input": "q"})
        made.router.ask("/tokenize", {"model": "m", "prompt": "q"})
        made.router.ask(body={"model": "m", "echo": True})
        made.control.status = 500
        assert made.ask().status == 500
        assert poll(lambda: made.dropped("control") >= 1, 5)
        made.control.status = 200
        made.ask(last=True)
        assert made.shadow()["equal"]
        assert [body.get("last") for body in made.challenger.bodies] == [True]


@pytest.mark.parametrize("status", [500, 503, 429])
def test_a_challenger_that_fails_is_asked_once_and_left_alone_by_nobody(tmp_path: Path, status: int) -> None:
    with scene(tmp_path) as made:
        made.challenger.status = status
        for _ in range(12):
            assert made.ask().status == 200
        assert poll(lambda: len(made.shadows()) == 12, 10, every=0.02)
        assert {told["outcome"] for told in made.shadows()} == {"error"}
        assert len(made.challenger.bodies) == 12
        made.challenger.status = 200
        assert made.ask(model="m@2").json["choices"][0]["message"]["content"] == "a plain answer"
        assert value(made.router, "ejections_total") == 0
        assert value(made.router, "shadow_requests_total", outcome="error", variant="tuned") == 12
        assert value(made.router, "requests_total", version="two") == 1, "what was named, and no copy"


def test_of_two_pods_the_one_that_refuses_copies_is_not_left_alone_for_it(tmp_path: Path) -> None:
    with scene(tmp_path) as made:
        made.router.write_endpoints({"one": [made.control.port], "two": [made.challenger.port, 1]})

        def are_broken() -> bool:
            return made.ask().status == 200 and [t["outcome"] for t in made.shadows()].count("broken") >= 10

        assert poll(are_broken, 20, every=0.01), made.shadows()
        assert " fails: " not in (tmp_path / "log").read_text()
        assert value(made.router, "ejections_total") == 0


def test_a_challenger_that_hangs_costs_clients_nothing_and_no_more_than_its_budget(tmp_path: Path) -> None:
    shadow = ALL.model_copy(update={"in_flight": 2, "seconds": 1})
    with scene(tmp_path, shadow) as made:
        made.challenger.hangs = True
        slowest = 0.0
        for _ in range(200):
            began = time.monotonic()
            assert made.ask().status == 200
            slowest = max(slowest, time.monotonic() - began)
        assert slowest < 0.9, "less than a copy is given"
        assert made.challenger.most_at_once <= 2
        assert made.dropped("busy") >= 180
        assert poll(lambda: len(made.shadows()) >= 2, 10)
        assert {told["outcome"] for told in made.shadows()} == {"timeout"}
        assert poll(lambda: value(made.router, "requests_in_flight", version="two") == 0, 5)
        assert len(made.challenger.bodies) <= 4, "none is sent again"


@pytest.mark.parametrize("said", [b"no length\r\n", b"1" * 100_000])
def test_chunks_that_are_none_end_a_copy_at_once(tmp_path: Path, said: bytes) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    with scene(tmp_path) as made, socket.create_server(("127.0.0.1", 0)) as odd:
        made.router.write_endpoints({"one": [made.control.port], "two": [odd.getsockname()[1]]})
        odd.settimeout(0.1)
        asking: list[socket.socket] = []

        def is_asked() -> bool:
            made.ask()
            with contextlib.suppress(TimeoutError):
                asking.append(odd.accept()[0])
            return asking != []

        assert poll(is_asked, 20)
        with asking[0]:
            asking[0].sendall(head + said)
            ended = poll(lambda: "broken" in {told["outcome"] for told in made.shadows()}, 5, every=0.02)
            assert ended, "a copy is given 20 s"


def test_what_is_asked_next_on_a_connection_does_not_wait_for_a_copy(tmp_path: Path) -> None:
    with scene(tmp_path) as made, made.router.connect() as client:
        made.challenger.hangs = True
        body = json.dumps({"model": "m", "messages": []}).encode()
        head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
        client.settimeout(5)
        for _ in range(5):
            client.sendall(head)
            answer = b""
            while not answer.endswith(b"}}"):
                answer += client.recv(65536)
            assert answer.startswith(b"HTTP/1.1 200")
        assert poll(lambda: made.challenger.under_way == 5, 5)


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_share_what_may_be_under_way_and_begin(tmp_path: Path, workers: int) -> None:
    with scene(tmp_path, ALL.model_copy(update={"in_flight": 1}), workers) as made:
        made.challenger.hangs = True
        for _ in range(60):
            assert made.ask().status == 200
        assert poll(lambda: made.challenger.under_way == 1, 5)
        assert made.challenger.most_at_once == 1


def test_no_more_begin_in_a_second_than_may(tmp_path: Path) -> None:
    with scene(tmp_path, ALL.model_copy(update={"per_second": 2})) as made:
        began = time.monotonic()
        for _ in range(100):
            made.ask()
        most = 2 * (time.monotonic() - began) + 2
        assert poll(lambda: made.dropped("rate") >= 100 - most, 5)
        assert 1 <= len(made.challenger.bodies) <= most


def test_a_share_of_the_requests_is_copied(tmp_path: Path) -> None:
    with scene(tmp_path, ALL.model_copy(update={"percent": 30})) as made:
        for _ in range(200):
            made.ask()
        assert poll(lambda: len(made.shadows()) == len(made.challenger.bodies), 5)
        assert 25 <= len(made.challenger.bodies) <= 100


def test_a_challenger_without_pods_gets_no_copies(tmp_path: Path) -> None:
    with scene(tmp_path) as made:
        made.router.write_endpoints({"one": [made.control.port], "two": []})
        assert poll(lambda: made.ask().status == 200 and made.dropped("away") > 0, 10)


def test_a_router_that_ends_waits_for_no_copy(tmp_path: Path) -> None:
    with scene(tmp_path) as made:
        made.challenger.hangs = True
        made.ask()
        assert poll(lambda: made.challenger.under_way == 1, 5)
        began = time.monotonic()
        made.router.end()
        made.router.process.wait(timeout=15)
        assert time.monotonic() - began < 10, "a copy is given 20 s"
        assert made.shadows() == []


def test_what_is_held_of_bodies_and_answers_is_bounded_and_given_back(tmp_path: Path) -> None:
    changes = {"init_worker_by_lua_block {": 'init_worker_by_lua_block { require("held").MOST_BYTES = 4000'}
    with scene(tmp_path, changes=changes) as made:
        made.challenger.hangs = True
        for _ in range(10):
            assert made.ask(text="x" * 1000).status == 200
        assert poll(lambda: made.dropped("large") > 0, 5)
        assert 1 <= made.challenger.most_at_once <= 4
        made.challenger.hangs = False
        made.challenger.go_on.set()
        assert poll(lambda: made.challenger.under_way == 0, 5)
        before = len(made.challenger.bodies)
        assert poll(lambda: made.ask().status == 200 and len(made.challenger.bodies) > before, 5)


def _hosted_table(port: int, trusted: str = "") -> RouteTable:
    """The challenger is a hosted API."""
    made = _table(ALL)
    backend = BackendTarget(scheme="https", host=HOST, port=port, path="/openai/v1", key="api/token", trusted=trusted)
    hosts = Target(host="", port=0, model="large-2", backend=backend)
    return made.model_copy(update={"targets": {**made.targets, "two": hosts}})


@pytest.mark.parametrize("is_trusted", [True, False])
def test_a_challenger_that_is_hosted_is_asked_over_tls_with_its_own_key_alone(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, is_trusted: bool
) -> None:
    trusted = authority(tmp_path_factory.mktemp("trusted"))
    other = trusted if is_trusted else authority(tmp_path_factory.mktemp("other"))
    (tmp_path / "keys" / "api").mkdir(parents=True)
    (tmp_path / "keys" / "api" / "token").write_text("hosted-key\n")
    changes = {
        "/etc/ssl/certs/ca-certificates.crt": str(trusted.file),
        "/etc/anneal/backend-keys/": f"{tmp_path}/keys/",
    }
    with hosted(other.context(HOST)) as api, answerer() as control:
        (tmp_path / "endpoints.json").write_text(endpoints({"one": [control.port], "two": [api.port]}))
        with standing(tmp_path, changes, routes=_hosted_table(api.port)) as router:
            made = Scene(router, control, control)
            assert made.ask(Authorization="client").status == 200
            told = made.shadow()
            assert told["outcome"] == ("complete" if is_trusted else "broken")
            expected = (
                (["/openai/v1/chat/completions"], ["Bearer hosted-key"], [HOST]) if is_trusted else ([], [], [HOST])
            )
            assert (api.paths, api.keys, api.names) == expected


def test_a_challenger_with_authorities_of_its_own_is_sent_no_copy_that_others_could_vouch_for(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    usual = authority(tmp_path_factory.mktemp("usual"))
    (tmp_path / "keys" / "api").mkdir(parents=True)
    (tmp_path / "keys" / "api" / "token").write_text("hosted-key\n")
    changes = {
        "/etc/ssl/certs/ca-certificates.crt": str(usual.file),
        "/etc/anneal/backend-keys/": f"{tmp_path}/keys/",
        "/authorities/own": str(authority(tmp_path_factory.mktemp("own")).file),
    }
    with hosted(usual.context(HOST)) as api, answerer() as control:
        (tmp_path / "endpoints.json").write_text(endpoints({"one": [control.port], "two": [api.port]}))
        routes = _hosted_table(api.port, trusted="two/one")
        with standing(tmp_path, changes, routes=routes, files={"two/one": "/authorities/own"}) as router:
            made = Scene(router, control, control)
            assert made.ask().status == 200
            assert poll(lambda: made.dropped("away") == 1, 5)
            assert (api.paths, api.names) == ([], [])
