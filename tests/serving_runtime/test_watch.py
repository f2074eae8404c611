"""What the API server has stays in sight, whatever it does. A real HTTP server stands for it."""

import asyncio
import ssl
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from local_cluster.layout import Layout
from local_cluster.pki import write_pki
from serving_runtime.router import watch as watching
from serving_runtime.router.api_server import ApiServer
from serving_runtime.router.watch import Watch
from tests.support.played_api import PlayedApi

GONE = {"type": "ERROR", "object": {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"}}


def _object(name: str, version: str = "7") -> dict[str, Any]:
    return {"metadata": {"name": name, "resourceVersion": version}}


def _event(kind: str, name: str, version: str = "8") -> dict[str, Any]:
    return {"type": kind, "object": _object(name, version)}


class _Sight:
    """All that was told, by name, one after the other."""

    def __init__(self) -> None:
        self.told: list[list[str]] = []
        self.then: Callable[[], object] = lambda: None

    def see(self, objects: Mapping[str, Any]) -> None:
        self.told.append(sorted(objects))
        self.then()

    def watch(self, api: ApiServer) -> Watch:
        return Watch(api, "/api/v1/things", {"labelSelector": "a in (b,c)"}, self.see)

    def follow(self, server: PlayedApi, until: Callable[[], bool], **told: Any) -> None:
        server.serve(lambda api: self.watch(api).run(), until, **told)


@pytest.fixture
def sight() -> _Sight:
    return _Sight()


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "_PAUSE_SECONDS", 0.01)


def test_what_is_there_is_listed_and_watched_from_there_on(sight: _Sight) -> None:
    events = [_event("ADDED", "two"), _event("MODIFIED", "one"), _event("DELETED", "one"), _event("DELETED", "none")]
    server = PlayedApi([events], [[_object("one")]])
    sight.follow(server, lambda: len(sight.told) == 5)
    assert sight.told == [["one"], ["one", "two"], ["one", "two"], ["two"], ["two"]]
    (listed, watched) = server.asked
    assert listed.query == {"labelSelector": "a in (b,c)"}
    assert watched.query == {
        "labelSelector": "a in (b,c)",
        "watch": "true",
        "allowWatchBookmarks": "true",
        "resourceVersion": "7",
        "timeoutSeconds": "60",
    }


def test_a_watch_that_ends_goes_on_where_it_ended(sight: _Sight) -> None:
    server = PlayedApi([[_event("ADDED", "two", "8")], [_event("ADDED", "three", "9")], []], [[_object("one")]])
    sight.follow(server, lambda: len(server.watched) == 3)
    assert sight.told == [["one"], ["one", "two"], ["one", "three", "two"]]
    assert len(server.listed) == 1
    assert [asked.query["resourceVersion"] for asked in server.watched] == ["7", "8", "9"]


def test_a_bookmark_moves_where_the_next_watch_begins_and_changes_nothing_else(sight: _Sight) -> None:
    bookmark = {"type": "BOOKMARK", "object": {"kind": "Thing", "metadata": {"resourceVersion": "4711"}}}
    server = PlayedApi([[bookmark], []], [[_object("one")]])
    sight.follow(server, lambda: len(server.watched) == 2)
    assert sight.told == [["one"]]
    assert len(server.listed) == 1
    assert server.watched[1].query["resourceVersion"] == "4711"


@pytest.mark.parametrize(
    "fault",
    [500, 403, 410, [GONE], [{"type": "ADDED"}], [{"type": "SURPRISE", "object": _object("x")}]],
    ids=["it fails", "it refuses", "the version is gone", "it goes meanwhile", "half is told", "nonsense is told"],
)
def test_all_is_listed_anew_when(fault: Any, sight: _Sight, caplog: pytest.LogCaptureFixture) -> None:
    server = PlayedApi([fault, []], [[_object("one"), _object("two")], [_object("two")]])
    sight.follow(server, lambda: len(server.watched) == 2)
    assert sight.told == [["one", "two"], ["two"]]
    assert "/api/v1/things cannot be watched, what is known holds: " in caplog.text
    assert ("too old" in caplog.text) is (fault == [GONE])


def test_a_list_that_is_refused_is_asked_for_again_and_its_reason_told(
    sight: _Sight, caplog: pytest.LogCaptureFixture
) -> None:
    sight.follow(PlayedApi(lists=[403, [_object("one")]]), lambda: bool(sight.told))
    assert sight.told == [["one"]]
    assert 'it answered 403: {"message": "no"}' in caplog.text


def test_a_half_open_connection_is_given_up(sight: _Sight, monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer has begun, and its end would never be heard."""
    monkeypatch.setattr(watching, "_SILENT_SECONDS", 0.2)
    sight.follow(PlayedApi([None, []], [[_object("one")], [_object("two")]]), lambda: len(sight.told) == 2)
    assert sight.told == [["one"], ["two"]]


def test_a_server_that_takes_a_connection_and_says_nothing_is_given_up(
    sight: _Sight, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(watching, "_LIST_SECONDS", 0.1)
    connected: list[asyncio.StreamWriter] = []

    async def run() -> None:
        def accept(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            connected.append(writer)

        async with await asyncio.start_server(accept, "127.0.0.1", 0) as silent:
            following = asyncio.create_task(sight.watch(ApiServer(*silent.sockets[0].getsockname())).run())
            async with asyncio.timeout(20):
                while len(connected) < 2:  # noqa: ASYNC110 - it is the server that sees it
                    await asyncio.sleep(0.005)
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
            for writer in connected:
                writer.transport.abort()

    asyncio.run(run())
    assert "TimeoutError" in caplog.text


def test_the_longer_it_fails_the_longer_the_pauses_up_to_a_bound_and_the_first_event_ends_that(
    sight: _Sight, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "_LONGEST_PAUSE_SECONDS", 0.05)
    monkeypatch.setattr("random.uniform", lambda _, most: most)
    paused: list[tuple[int, float]] = []
    sleep = asyncio.sleep
    server = PlayedApi([500, [_event("ADDED", "two"), GONE], []], [500, 500, 500, [_object("one")]])

    async def observed(seconds: float) -> None:
        if seconds not in {0, 0.005}:
            paused.append((len(server.asked), round(seconds, 4)))
        await sleep(seconds)

    monkeypatch.setattr(asyncio, "sleep", observed)
    sight.follow(server, lambda: len(server.watched) == 3)
    assert paused == [(1, 0.01), (2, 0.02), (3, 0.04), (5, 0.05), (7, 0.01)]


def test_a_watch_that_is_ended_at_once_is_not_begun_again_at_once(
    sight: _Sight, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that lasted is: what changes meanwhile would wait."""
    monkeypatch.setattr(watching, "_PAUSE_SECONDS", 60.0)
    server = PlayedApi([[], []])
    paused: list[float] = []
    sleep = asyncio.sleep

    async def observed(seconds: float) -> None:
        if seconds > 1:
            paused.append(seconds)
        await sleep(min(seconds, 0.005))

    monkeypatch.setattr(asyncio, "sleep", observed)
    sight.follow(server, lambda: len(server.watched) == 2)
    (pause,) = paused
    assert 40 < pause < 60


def test_a_token_that_was_rotated_is_used_for_the_next_request(sight: _Sight, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("first\n")
    server = PlayedApi([[_event("ADDED", "two")], []])

    sight.then = lambda: token.write_text("second\n") if len(sight.told) == 2 else None
    sight.follow(server, lambda: len(server.watched) == 2, token=token)
    assert [asked.authorization for asked in server.asked] == ["Bearer first", "Bearer first", "Bearer second"]


def _authority(folder: Path) -> tuple[Path, ssl.SSLContext]:
    """A cluster's own: the file by which its API server is known, and what that serves with."""
    layout = replace(Layout.of_control_plane(), state=folder)
    write_pki(layout)
    served = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    served.load_cert_chain(layout.pki / "kube-apiserver.crt", layout.pki / "kube-apiserver.key")
    return layout.pki / "ca.crt", served


def test_it_is_known_by_its_issuer_though_that_left_an_extension_out(sight: _Sight, tmp_path: Path) -> None:
    """Python 3.13 refuses many a cluster's own issuer unless told otherwise."""
    authority, tls = _authority(tmp_path)
    sight.follow(PlayedApi([], [[_object("one")]]), lambda: bool(sight.told), authority=authority, tls=tls)
    assert sight.told == [["one"]]
    context = ApiServer("h", 1, authority=authority)._tls()  # noqa: SLF001
    assert context is not None
    assert not context.verify_flags & ssl.VERIFY_X509_STRICT


def test_one_that_another_issuer_knows_is_not_asked(
    sight: _Sight, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    authority, tls = _authority(tmp_path / "one")[0], _authority(tmp_path / "other")[1]
    server = PlayedApi()
    sight.follow(server, lambda: "CERTIFICATE_VERIFY_FAILED" in caplog.text, authority=authority, tls=tls)
    assert server.asked == []
