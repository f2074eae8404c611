"""The client against a real HTTP server: what it asks for, and what it makes of each answer."""

import asyncio
import contextlib
import json
import socket
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from kubernetes.aio.client import Configuration
from prometheus_client import REGISTRY

from anneal_operator.cluster import client as module
from anneal_operator.cluster.client import KubernetesClient
from anneal_operator.cluster.kinds import Manifest
from anneal_operator.errors import ApiError, ConflictError

JOB: Manifest = {
    "apiVersion": "batch/v1",
    "kind": "Job",
    "metadata": {"namespace": "team", "name": "a", "resourceVersion": "7"},
}
JOBS = "/apis/batch/v1/namespaces/team/jobs"
EVERYWHERE = "/apis/batch/v1/jobs"


@pytest.fixture(autouse=True)
def _plain_http(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each client reads the machine's certificate authorities, which takes longer than all else here."""
    monkeypatch.setattr(ssl.SSLContext, "load_default_certs", lambda *_: None)


@dataclass(frozen=True)
class _Request:
    method: str
    path: str
    query: dict[str, str]
    content_type: str
    body: Any


class _Server:
    """An API server that gives prepared answers in turn, and keeps what it was asked."""

    def __init__(self, *answers: web.StreamResponse) -> None:
        self._answers = list(answers)
        self.asked: list[_Request] = []

    async def handle(self, request: web.Request) -> web.StreamResponse:
        text = await request.text()
        body = json.loads(text) if text else None
        query = dict(request.query)
        self.asked.append(_Request(request.method, request.path, query, request.content_type, body))
        return self._answers.pop(0)

    @asynccontextmanager
    async def client(self) -> AsyncIterator[KubernetesClient]:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self.handle)
        async with TestServer(app) as server, _client(str(server.make_url(""))) as client:
            yield client


@asynccontextmanager
async def _client(url: str) -> AsyncIterator[KubernetesClient]:
    client = KubernetesClient(Configuration(host=url.rstrip("/")))
    try:
        yield client
    finally:
        await client.close()


def _ok(body: Manifest) -> web.Response:
    return web.json_response(body)


def _refused(status: int, message: str) -> web.Response:
    return web.json_response({"kind": "Status", "message": message, "code": status}, status=status)


def _ask(
    call: Callable[[KubernetesClient], Awaitable[Any]], *answers: web.StreamResponse
) -> tuple[Any, list[_Request]]:
    """Call the client on a server with these answers; return what it returned, and what the server was asked."""

    async def run() -> tuple[Any, list[_Request]]:
        server = _Server(*answers)
        async with server.client() as client:
            return await call(client), server.asked

    return asyncio.run(run())


async def _all(events: AsyncIterator[Manifest]) -> list[Manifest]:
    return [event async for event in events]


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (lambda c: c.get("Job", "team", "a"), _Request("GET", f"{JOBS}/a", {}, "application/json", None)),
        (
            lambda c: c.get("Secret", "team", "a"),
            _Request("GET", "/api/v1/namespaces/team/secrets/a", {}, "application/json", None),
        ),
        (
            lambda c: c.create(JOB),
            _Request("POST", JOBS, {"fieldManager": "anneal"}, "application/json", JOB),
        ),
        (
            lambda c: c.create(JOB, dry_run=True),
            _Request("POST", JOBS, {"fieldManager": "anneal", "dryRun": "All"}, "application/json", JOB),
        ),
        (
            lambda c: c.apply(JOB),
            _Request(
                "PATCH", f"{JOBS}/a", {"fieldManager": "anneal", "force": "true"}, "application/apply-patch+yaml", JOB
            ),
        ),
        (
            lambda c: c.patch("Job", "team", "a", {"metadata": {"resourceVersion": "7"}, "spec": {"suspend": True}}),
            _Request(
                "PATCH",
                f"{JOBS}/a",
                {"fieldManager": "anneal"},
                "application/merge-patch+json",
                {"metadata": {"resourceVersion": "7"}, "spec": {"suspend": True}},
            ),
        ),
        (
            lambda c: c.delete("Job", "team", "a", "uid-1"),
            _Request(
                "DELETE",
                f"{JOBS}/a",
                {},
                "application/json",
                {"preconditions": {"uid": "uid-1"}, "propagationPolicy": "Foreground"},
            ),
        ),
        (
            lambda c: c.write_status("Job", JOB, {"phase": "Running"}),
            _Request(
                "PUT",
                f"{JOBS}/a/status",
                {"fieldManager": "anneal"},
                "application/json",
                {**JOB, "status": {"phase": "Running"}},
            ),
        ),
    ],
    ids=["get", "get of the core group", "create", "dry run", "apply", "patch", "delete", "status"],
)
def test_what_is_sent_for(call: Callable[[KubernetesClient], Awaitable[Any]], expected: _Request) -> None:
    _, asked = _ask(call, _ok({"kind": "Job"}))
    assert asked == [expected]


def test_what_the_server_stored_is_returned() -> None:
    stored = {**JOB, "metadata": {**JOB["metadata"], "resourceVersion": "8"}}
    for call in (lambda c: c.create(JOB), lambda c: c.apply(JOB), lambda c: c.write_status("Job", JOB, {})):
        assert _ask(call, _ok(stored))[0] == stored


def test_an_object_that_does_not_exist_is_none() -> None:
    assert _ask(lambda c: c.get("Job", "team", "a"), _refused(404, "not found"))[0] is None


@pytest.mark.parametrize("status", [404, 409])
def test_deleting_what_is_gone_or_was_made_again_is_as_good(status: int) -> None:
    assert _ask(lambda c: c.delete("Job", "team", "a", "uid-1"), _refused(status, "no such uid"))[0] is None


@pytest.mark.parametrize(
    "call",
    [
        lambda c: c.create(JOB),
        lambda c: c.patch("Job", "team", "a", {}),
        lambda c: c.write_status("Job", JOB, {}),
    ],
    ids=["create", "patch", "status"],
)
def test_a_conflict_is_told_apart(call: Callable[[KubernetesClient], Awaitable[Any]]) -> None:
    with pytest.raises(ConflictError, match="was modified"):
        _ask(call, _refused(409, "the object was modified"))


@pytest.mark.parametrize(
    ("call", "status"),
    [
        (lambda c: c.get("Job", "team", "a"), 403),
        (lambda c: c.get("Job", "team", "a"), 500),
        (lambda c: c.list("Job", "team"), 404),
        (lambda c: c.apply(JOB), 422),
        (lambda c: c.apply(JOB), 404),
        (lambda c: c.delete("Job", "team", "a", "uid-1"), 403),
    ],
)
def test_a_refusal_keeps_its_status_and_its_words(
    call: Callable[[KubernetesClient], Awaitable[Any]], status: int
) -> None:
    with pytest.raises(ApiError, match=r"^exceeded quota$") as caught:
        _ask(call, _refused(status, "exceeded quota"))
    assert caught.value.status == status
    assert not isinstance(caught.value, ConflictError)


def test_a_kind_that_the_cluster_has_not_is_named() -> None:
    group = {"apiVersion": "leaderworkerset.x-k8s.io/v1", "kind": "LeaderWorkerSet", "metadata": JOB["metadata"]}
    with pytest.raises(ApiError, match=r"has no LeaderWorkerSet \(leaderworkerset.x-k8s.io/v1\): install") as caught:
        _ask(lambda c: c.apply(group), web.Response(status=404, text="404 page not found\n"))
    assert caught.value.status == 404


def test_an_answer_that_is_no_status_object_is_quoted_in_part() -> None:
    with pytest.raises(ApiError, match=r"^bad gateway x{288}$") as caught:
        _ask(lambda c: c.get("Job", "team", "a"), web.Response(status=502, text="bad gateway " + "x" * 5000))
    assert caught.value.status == 502


def test_a_list_is_read_page_by_page() -> None:
    first = _ok({"metadata": {"resourceVersion": "9", "continue": "token"}, "items": [{"metadata": {"name": "a"}}]})
    last = _ok({"metadata": {"resourceVersion": "9"}, "items": [{"metadata": {"name": "b"}}]})
    found, asked = _ask(lambda c: c.list("Job", "team", "app=x"), first, last)
    assert [item["metadata"]["name"] for item in found] == ["a", "b"]
    assert [(request.path, request.query) for request in asked] == [
        (JOBS, {"labelSelector": "app=x", "limit": "500"}),
        (JOBS, {"labelSelector": "app=x", "limit": "500", "continue": "token"}),
    ]


def test_without_labels_all_of_a_namespace_is_listed() -> None:
    _, asked = _ask(lambda c: c.list("Job", "team"), _ok({"metadata": {}, "items": []}))
    assert asked[0].query == {"limit": "500"}


def test_pages_of_all_namespaces_come_one_at_a_time() -> None:
    pages = [{"metadata": {"continue": "token"}, "items": []}, {"metadata": {"continue": ""}, "items": []}]
    found, asked = _ask(lambda c: _all(c.pages("Job", "app")), *(_ok(page) for page in pages))
    assert found == pages
    assert [(request.path, request.query.get("continue")) for request in asked] == [
        (EVERYWHERE, None),
        (EVERYWHERE, "token"),
    ]


def _watched(*chunks: str) -> tuple[list[Manifest], list[_Request]]:
    """Watch a server that sends this and ends its answer; return the events."""
    return _ask(lambda c: _all(c.watch("Job", "app", "7", 60)), web.Response(text="".join(chunks)))


def _line(kind: str, thing: Manifest) -> str:
    return json.dumps({"type": kind, "object": thing}) + "\n"


def test_a_watch_tells_each_event_until_it_ends() -> None:
    large = {"kind": "Job", "metadata": {"annotations": {"note": "x" * 1_000_000}}}
    found, asked = _watched(_line("ADDED", JOB), _line("MODIFIED", large), _line("DELETED", JOB))
    assert [event["type"] for event in found] == ["ADDED", "MODIFIED", "DELETED"]
    assert found[1]["object"] == large
    assert (asked[0].path, asked[0].query) == (
        EVERYWHERE,
        {"labelSelector": "app", "watch": "true", "resourceVersion": "7", "timeoutSeconds": "60"},
    )


@pytest.mark.parametrize(
    ("end", "status", "words"),
    [
        (_line("ERROR", {"kind": "Status", "code": 410, "message": "too old"}), 410, "^too old$"),
        ('{"type": "ADD', 0, "a watch broke off"),
    ],
    ids=["a version that is gone", "half a line"],
)
def test_a_watch_that_breaks_off_is_an_error_after_what_it_told(end: str, status: int, words: str) -> None:
    found: list[str] = []

    async def watch(client: KubernetesClient) -> None:
        async for event in client.watch("Job", "app", "7", 60):
            found.append(event["type"])  # noqa: PERF401 - what came before the error counts

    with pytest.raises(ApiError, match=words) as caught:
        _ask(watch, web.Response(text=_line("ADDED", JOB) + end))
    assert found == ["ADDED"]
    assert caught.value.status == status


def test_a_watch_that_is_refused_is_an_error() -> None:
    with pytest.raises(ApiError, match="too old") as caught:
        _ask(lambda c: _all(c.watch("Job", "app", "7", 60)), _refused(410, "too old"))
    assert caught.value.status == 410


WRITES: list[Callable[[KubernetesClient], Awaitable[Any]]] = [
    lambda c: c.create(JOB),
    lambda c: c.apply(JOB),
    lambda c: c.patch("Job", "team", "a", {}),
    lambda c: c.delete("Job", "team", "a", "uid-1"),
    lambda c: c.write_status("Job", JOB, {}),
]


@pytest.mark.parametrize("write", WRITES, ids=["create", "apply", "patch", "delete", "status"])
def test_one_that_may_not_lead_sends_no_write(write: Callable[[KubernetesClient], Awaitable[Any]]) -> None:
    async def run() -> None:
        server, left = _Server(_ok({"kind": "Job"})), 0.0
        async with server.client() as client:
            client.fence(lambda: left)
            with pytest.raises(ApiError, match="another operator may lead"):
                await write(client)
            assert server.asked == []
            left = 10.0
            await write(client)
            assert len(server.asked) == 1

    asyncio.run(run())


@pytest.mark.parametrize("write", WRITES, ids=["create", "apply", "patch", "delete", "status"])
def test_a_write_without_an_answer_is_given_up_with_the_lease(
    write: Callable[[KubernetesClient], Awaitable[Any]],
) -> None:
    async def call(client: KubernetesClient) -> None:
        end = time.monotonic() + 0.2
        client.fence(lambda: end - time.monotonic())
        await write(client)

    with pytest.raises(ApiError, match="gave up a write"):
        _against_a_socket(b"", call, stays=True)  # it ends when the client has hung up


def test_a_slow_write_is_waited_for_while_the_lease_is_renewed() -> None:
    renewed: list[float] = []

    def seconds_left() -> float:
        renewed.append(time.monotonic())
        return 0.05

    async def answer(_: web.Request) -> web.Response:
        while len(renewed) < 4:  # noqa: ASYNC110 - the condition is the client's
            await asyncio.sleep(0.005)
        return _ok(JOB)

    async def run() -> Manifest:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", answer)
        async with TestServer(app) as server, _client(str(server.make_url(""))) as client:
            client.fence(seconds_left)
            return await client.apply(JOB)

    assert asyncio.run(run()) == JOB


def test_one_that_may_not_lead_still_reads_and_reviews_tokens() -> None:
    async def both(client: KubernetesClient) -> None:
        client.fence(lambda: 0.0)
        await client.get("Job", "team", "a")
        await client.review_token("t", "job")

    assert len(_ask(both, _ok(JOB), _ok({"status": {}}))[1]) == 2


@pytest.mark.parametrize(
    ("status", "user"),
    [
        ({"authenticated": True, "audiences": ["job"], "user": {"username": "trainer"}}, "trainer"),
        ({"authenticated": True, "audiences": ["other"], "user": {"username": "trainer"}}, None),
        ({"authenticated": True, "user": {"username": "trainer"}}, None),
        ({"authenticated": False, "audiences": ["job"], "error": "expired"}, None),
        ({}, None),
    ],
    ids=["of this audience", "of another", "of none", "expired", "nothing said"],
)
def test_a_token_is_reviewed(status: Manifest, user: str | None) -> None:
    found, asked = _ask(lambda c: c.review_token("secret", "job"), _ok({"status": status}))
    assert found == user
    assert asked[0].path == "/apis/authentication.k8s.io/v1/tokenreviews"
    assert asked[0].body["spec"] == {"token": "secret", "audiences": ["job"]}


def test_who_brings_a_token_is_asked_after_with_all_that_is_known_of_them() -> None:
    user = {"username": "system:serviceaccount:team:reader", "uid": "u", "groups": ["g"], "extra": {"e": ["f"]}}
    found, asked = _ask(
        lambda c: c.may_get("secret", "reports", "team", "abexperiments"),
        _ok({"status": {"authenticated": True, "audiences": ["reports"], "user": user}}),
        _ok({"status": {"allowed": True}}),
    )
    assert found is True
    assert asked[1].path == "/apis/authorization.k8s.io/v1/subjectaccessreviews"
    assert asked[1].body["spec"] == {
        "user": "system:serviceaccount:team:reader",
        "uid": "u",
        "groups": ["g"],
        "extra": {"e": ["f"]},
        "resourceAttributes": {"group": "anneal.dev", "resource": "abexperiments", "namespace": "team", "verb": "get"},
    }


@pytest.mark.parametrize("access", [{"allowed": False}, {"allowed": False, "denied": True}, {}])
def test_who_may_not_get_it_is_refused(access: Manifest) -> None:
    user = {"authenticated": True, "audiences": ["reports"], "user": {"username": "u"}}
    asked = _ok({"status": user}), _ok({"status": access})
    assert _ask(lambda c: c.may_get("secret", "reports", "team", "abexperiments"), *asked)[0] is False


def test_a_token_that_is_not_valid_asks_after_nobody() -> None:
    found, asked = _ask(lambda c: c.may_get("t", "reports", "team", "abexperiments"), _ok({"status": {}}))
    assert (found, len(asked)) == (False, 1)


def test_a_cluster_is_known_by_the_uid_of_the_namespace_that_each_has() -> None:
    found, asked = _ask(
        lambda c: c.cluster_uid(), _ok({"metadata": {}, "items": [{"metadata": {"name": "kube-system", "uid": "u"}}]})
    )
    assert found == "u"
    assert [(request.path, request.query["labelSelector"]) for request in asked] == [
        ("/api/v1/namespaces", "kubernetes.io/metadata.name=kube-system")
    ]


def test_a_cluster_without_that_namespace_is_told() -> None:
    with pytest.raises(ApiError, match="no namespace has the label"):
        _ask(lambda c: c.cluster_uid(), _ok({"metadata": {}, "items": []}))


def _counted(verb: str, kind: str) -> float:
    return REGISTRY.get_sample_value("anneal_api_writes_total", {"verb": verb, "kind": kind}) or 0


@pytest.mark.parametrize(("write", "verb"), list(zip(WRITES, ["post", "patch", "patch", "delete", "put"], strict=True)))
def test_a_write_that_was_taken_is_counted_by_its_kind(
    write: Callable[[KubernetesClient], Awaitable[Any]], verb: str
) -> None:
    before = _counted(verb, "Job")
    _ask(write, _ok({"kind": "Status"}))  # what a DELETE is answered with
    assert _counted(verb, "Job") == before + 1


def test_neither_refused_writes_nor_reads_nor_dry_runs_are_counted() -> None:
    before = [_counted(verb, "Job") for verb in ("get", "post")]
    with pytest.raises(ApiError):
        _ask(lambda c: c.create(JOB), _refused(403, "no"))
    _ask(lambda c: c.create(JOB, dry_run=True), _ok(JOB))
    _ask(lambda c: c.get("Job", "team", "a"), _ok(JOB))
    assert [_counted(verb, "Job") for verb in ("get", "post")] == before


def _closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@pytest.mark.parametrize("call", [*WRITES, lambda c: c.get("Job", "team", "a"), lambda c: _all(c.pages("Job", ""))])
def test_a_refused_connection_is_an_api_error(call: Callable[[KubernetesClient], Awaitable[Any]]) -> None:
    async def run() -> None:
        async with _client(f"http://127.0.0.1:{_closed_port()}") as client:
            await call(client)

    with pytest.raises(ApiError, match="did not answer") as caught:
        asyncio.run(run())
    assert caught.value.status == 0


def _against_a_socket(sends: bytes, call: Callable[[KubernetesClient], Awaitable[Any]], *, stays: bool) -> None:
    """Call the client on a server that answers any request with these bytes, then stays silent or hangs up."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError):  # the client had enough before it had asked
            await reader.readuntil(b"\r\n\r\n")
            writer.write(sends)
            await writer.drain()
        if stays:
            await reader.read()  # until the client has had enough
        writer.close()
        await writer.wait_closed()

    answers: list[asyncio.Task[None]] = []

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answers.append(asyncio.create_task(answer(reader, writer)))

    async def run() -> None:
        async with await asyncio.start_server(accept, "127.0.0.1", 0) as server:
            try:
                async with _client(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}") as client:
                    await call(client)
            finally:
                await asyncio.gather(*answers)

    asyncio.run(run())


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n"


@pytest.mark.parametrize(
    ("sends", "stays"),
    [(b"", True), (HEAD + b'{"kind": ', True), (b"", False), (HEAD + b'{"kind": ', False)],
    ids=["says nothing", "falls silent", "hangs up", "hangs up midway"],
)
@pytest.mark.parametrize(
    "call", [lambda c: c.get("Job", "team", "a"), lambda c: _all(c.watch("Job", "", "7", 0))], ids=["get", "watch"]
)
def test_a_server_is_given_up_that(
    sends: bytes,
    stays: bool,
    call: Callable[[KubernetesClient], Awaitable[Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_TIMEOUT_SECONDS", 0.2)
    with pytest.raises(ApiError) as caught:
        _against_a_socket(sends, call, stays=stays)
    assert caught.value.status == 0


def test_a_proxys_page_is_no_answer() -> None:
    with pytest.raises(ApiError, match="did not answer") as caught:
        _ask(lambda c: c.get("Job", "team", "a"), web.Response(text="<html>please log in</html>"))
    assert caught.value.status == 0


def _clock_after(*dates: str, later: float = 0.0, monkeypatch: pytest.MonkeyPatch) -> datetime:
    """Return the client's time so many seconds after answers with these dates, half a second apart."""
    clock = [1000.0]

    async def ask(client: KubernetesClient) -> datetime:
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: clock[0]))
        for number in range(len(dates)):
            clock[0] += 0.5 if number else 0.0
            with contextlib.suppress(ApiError):
                await client.get("Job", "team", "a")
        clock[0] += later
        return client.now()

    answers = [web.json_response(JOB, headers={"Date": date} if date else {}) for date in dates]
    found: datetime = _ask(ask, *answers)[0]
    return found


def _date(second: int) -> str:
    return f"Sun, 01 Mar 2026 12:00:{second:02} GMT"


@pytest.mark.parametrize(
    ("dates", "later", "second"),
    [
        ([_date(0)], 0.0, 0.0),
        ([_date(0)], 30.0, 30.0),
        ([_date(0), _date(0)], 0.0, 0.5),
        ([_date(0), _date(1)], 0.0, 1.0),
        ([_date(0), _date(40)], 2.0, 42.0),
        ([_date(40), _date(0)], 2.0, 2.0),
        ([_date(0), "yesterday"], 1.0, 1.5),
    ],
    ids=[
        "one answer",
        "an answer long ago",
        "two in the same second",
        "the next second",
        "a clock that was set on",
        "a clock that was set back",
        "a date that is none",
    ],
)
def test_the_time_is_that_of_the_api_server(
    dates: list[str], later: float, second: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    noon = datetime(2026, 3, 1, 12, tzinfo=UTC)
    assert _clock_after(*dates, later=later, monkeypatch=monkeypatch) == noon + timedelta(seconds=second)


def test_a_refusal_tells_the_time_too() -> None:
    async def refused(client: KubernetesClient) -> datetime:
        with pytest.raises(ApiError):
            await client.apply(JOB)
        return client.now()

    answer = _refused(403, "no")
    answer.headers["Date"] = _date(0)
    assert _ask(refused, answer)[0].strftime("%d.%m. %H:%M") == "01.03. 12:00"


def test_before_the_first_answer_the_time_is_this_machines() -> None:
    async def run() -> timedelta:
        async with _client("http://127.0.0.1:1") as client:
            return datetime.now(UTC) - client.now()

    assert abs(asyncio.run(run())) < timedelta(seconds=60)
