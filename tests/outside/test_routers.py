"""Asking routers and recorders, and what of their answers is believed."""

import asyncio
import json
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from anneal_operator.api.model_version import Answered
from anneal_operator.errors import RouterError
from anneal_operator.outside import routers as module
from anneal_operator.outside.routers import HttpRouters, RouterTraffic
from serving_runtime.plan import (
    BACKENDS_PATH,
    DOWNLOAD_PATH,
    AdapterReport,
    BackendReport,
    BackendReports,
    Downloaded,
    LoadedAdapter,
    Stamp,
)

KEY = "admin-key"
AT = "2026-03-01T11:00:00Z"


async def _ask(url: str) -> Stamp:
    async with aiohttp.ClientSession() as session:
        return await HttpRouters(session).applied(url, KEY)


def _applied(answer: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> Stamp:
    """Ask a router that answers so for what it has applied."""

    async def run() -> Stamp:
        app = web.Application()
        app.router.add_get("/-/routes", answer)
        async with TestServer(app) as server:
            return await _ask(str(server.make_url("")).rstrip("/"))

    return asyncio.run(run())


def _newest_format(told: dict[str, Any]) -> int:
    async def answer(_: web.Request) -> web.Response:
        return web.json_response(told)

    async def run() -> int:
        app = web.Application()
        app.router.add_get("/-/routes", answer)
        async with TestServer(app) as server, aiohttp.ClientSession() as session:
            return await HttpRouters(session).newest_format(str(server.make_url("")).rstrip("/"), KEY)

    return asyncio.run(run())


def test_which_tables_a_router_reads() -> None:
    assert _newest_format({"format": 2}) == 2
    for told in ({}, {"format": None}, {"format": "newest"}):
        with pytest.raises(RouterError, match="does not tell which tables it reads"):
            _newest_format(told)


TOLD = {"lineage": "2026-03-01T12:00:00Z", "generation": 7, "digest": "d"}


def test_what_a_router_has_applied() -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(text=json.dumps({"format": 1, **TOLD, "models": {}}))  # nginx says text/plain

    assert _applied(answer) == Stamp(lineage="2026-03-01T12:00:00Z", generation=7, digest="d")


@pytest.mark.parametrize(
    ("told", "heard"),
    [
        ({"backends": {"v": {}}}, BackendReports(backends={"v": BackendReport()})),
        (
            {"backends": {"v": {"problem": "New", "more": 1}}},
            BackendReports(backends={"v": BackendReport(problem="New")}),
        ),
        ({"backends": {}}, BackendReports()),
        ({"backends": {"v": {"message": "m" * 601}}}, None),
        ({"backends": [1]}, None),
    ],
)
def test_a_router_tells_how_it_finds_backends(told: Any, heard: BackendReports | None) -> None:
    async def answer(request: web.Request) -> web.Response:
        assert request.headers["Authorization"] == f"Bearer {KEY}"
        return web.Response(text=json.dumps(told))

    async def run() -> BackendReports:
        app = web.Application()
        app.router.add_get(BACKENDS_PATH, answer)
        async with TestServer(app) as server, aiohttp.ClientSession() as session:
            return await HttpRouters(session).backends(str(server.make_url("")).rstrip("/"), KEY)

    if heard is None:
        with pytest.raises(RouterError, match="tells of no backends"):
            asyncio.run(run())
    else:
        assert asyncio.run(run()) == heard


@pytest.mark.parametrize(
    ("told", "heard"),
    [
        ({"under_way": {"m-1": 3, "m-2": 0}}, RouterTraffic({"m-1": 3, "m-2": 0})),
        ({"under_way": {}, "recorder_lag_seconds": 7}, RouterTraffic({}, 7.0)),
        (
            {"under_way": {}, "asked_seconds_ago": {"m-1": 3, "m-2": -1}},
            RouterTraffic({}, None, {"m-1": 3.0, "m-2": 0.0}),
        ),
        ({"under_way": {"m-1": -1}}, RouterTraffic({"m-1": 0})),
        ({"under_way": {}, "recorder_lag_seconds": "long"}, None),
        ({"under_way": [1]}, None),
        ({"under_way": {"m-1": "many"}}, None),
        ({}, None),
    ],
)
def test_a_router_tells_what_it_has_under_way(told: Any, heard: RouterTraffic | None) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.json_response(told)

    async def run() -> RouterTraffic:
        app = web.Application()
        app.router.add_get("/-/requests", answer)
        async with TestServer(app) as server, aiohttp.ClientSession() as session:
            return await HttpRouters(session).traffic(str(server.make_url("")).rstrip("/"), KEY)

    if heard is None:
        with pytest.raises(RouterError, match="does not tell how many requests are under way"):
            asyncio.run(run())
    else:
        assert asyncio.run(run()) == heard


@pytest.mark.parametrize(
    ("told", "heard"),
    [
        ({"requests": 3, "prompt_tokens": 20, "completion_tokens": 5}, Answered(requests=3, tokens=25)),
        ({"requests": -3, "prompt_tokens": 0, "completion_tokens": 0}, Answered(requests=0, tokens=0)),
        ({"requests": 1e300, "prompt_tokens": 0, "completion_tokens": 0}, Answered(requests=10**15, tokens=0)),
        ({"requests": "many", "prompt_tokens": 0, "completion_tokens": 0}, None),
        ({"requests": 3, "prompt_tokens": 20}, None),
        ({"requests": [3], "prompt_tokens": 20, "completion_tokens": 5}, None),
    ],
)
def test_a_recorder_tells_what_a_version_answered(told: Any, heard: Answered | None) -> None:
    async def answer(request: web.Request) -> web.Response:
        assert request.headers["Authorization"] == f"Bearer {KEY}"
        return web.json_response(told)

    async def run() -> Answered:
        app = web.Application()
        app.router.add_get("/versions/m-1", answer)
        async with TestServer(app) as server, aiohttp.ClientSession() as session:
            return await HttpRouters(session).answered(str(server.make_url("")).rstrip("/"), KEY, "m-1")

    if heard is None:
        with pytest.raises(RouterError, match="does not tell what m-1 answered"):
            asyncio.run(run())
    else:
        assert asyncio.run(run()) == heard


@pytest.mark.parametrize(
    ("told", "heard"),
    [
        (
            {"loaded": {"one": {"digest": "d", "verified_at": AT, "news": 1}}, "problems": {}, "more": []},
            AdapterReport(loaded={"one": LoadedAdapter(digest="d", verified_at=AT)}),
        ),
        ({"loaded": {"one": {"digest": "d" * 72, "verified_at": AT}}}, "tells of no adapters"),
        ({"loaded": {"one": {"digest": "d", "verified_at": "today"}}}, "tells of no adapters"),
        ({"loaded": []}, "tells of no adapters"),
    ],
)
def test_what_an_engine_has_loaded_is_believed_as_far_as_it_can_be_read(told: object, heard: object) -> None:
    asked: list[str | None] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.headers.get("Authorization"))
        return web.json_response(told)

    async def run() -> AdapterReport:
        app = web.Application()
        app.router.add_get("/-/adapters", answer)
        async with TestServer(app) as server, aiohttp.ClientSession() as session:
            return await HttpRouters(session).adapters(str(server.make_url("")).rstrip("/"), KEY)

    if isinstance(heard, str):
        with pytest.raises(RouterError, match=heard):
            asyncio.run(run())
    else:
        assert asyncio.run(run()) == heard
    assert asked == [f"Bearer {KEY}"]


def test_an_experiments_statistics_are_asked_by_uid_and_metric() -> None:
    async def statistics(request: web.Request) -> web.Response:
        return web.json_response({"uid": request.match_info["uid"], **request.query})

    async def run() -> dict[str, Any]:
        app = web.Application()
        app.router.add_get("/experiments/{uid}/statistics", statistics)
        async with TestServer(app) as server, aiohttp.ClientSession() as session:
            url = str(server.make_url("")).rstrip("/")
            return await HttpRouters(session).statistics(url, KEY, "uid-1", "user rating")

    assert asyncio.run(run()) == {"uid": "uid-1", "metric": "user rating"}


@pytest.mark.parametrize(
    ("told", "found"),
    [
        ({"bytes": 1, "total_bytes": 2, "bytes_per_second": 3}, Downloaded(bytes=1, total_bytes=2, bytes_per_second=3)),
        ({"bytes": 1}, None),
        ({"bytes": -1, "total_bytes": 2, "bytes_per_second": 3}, None),
        ({"bytes": 1, "total_bytes": 1 << 200, "bytes_per_second": 3}, None),
        ({}, None),
    ],
)
def test_how_far_a_download_is_is_asked_of_its_pod(told: dict[str, int], found: Downloaded | None) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.json_response(told)

    async def run() -> Downloaded:
        app = web.Application()
        app.router.add_get(DOWNLOAD_PATH, answer)
        async with TestServer(app) as server, aiohttp.ClientSession() as session:
            return await HttpRouters(session).downloaded(str(server.make_url("")).rstrip("/"))

    if found:
        assert asyncio.run(run()) == found
    else:
        with pytest.raises(RouterError, match="tells of no download"):
            asyncio.run(run())


def test_a_recorder_is_told_what_an_experiment_measures() -> None:
    heard: list[Any] = []

    async def define(request: web.Request) -> web.Response:
        heard.append((request.match_info["uid"], request.headers["Authorization"], await request.json()))
        return web.json_response({"status": "defined"})

    async def run() -> None:
        app = web.Application()
        app.router.add_put("/experiments/{uid}", define)
        async with TestServer(app) as server, aiohttp.ClientSession() as session:
            url = str(server.make_url("")).rstrip("/")
            await HttpRouters(session).define(url, KEY, "uid-1", {"control": "a", "ranges": {}})

    asyncio.run(run())
    assert heard == [("uid-1", f"Bearer {KEY}", {"control": "a", "ranges": {}})]


@pytest.mark.parametrize(("key", "sent"), [("k", "Bearer k"), ("", None)])
def test_both_are_asked_with_the_operator_s_key_where_there_is_one(key: str, sent: str | None) -> None:
    heard: list[str | None] = []

    async def answer(request: web.Request) -> web.Response:
        heard.append(request.headers.get("Authorization"))
        return web.json_response(TOLD)

    async def run() -> None:
        app = web.Application()
        app.router.add_get("/{path:.*}", answer)
        async with TestServer(app) as server, aiohttp.ClientSession() as session:
            url = str(server.make_url("")).rstrip("/")
            await HttpRouters(session).applied(url, key)
            await HttpRouters(session).statistics(url, key, "uid-1", "rating")

    asyncio.run(run())
    assert heard == [sent, sent]


@pytest.mark.parametrize(
    ("status", "text", "words"),
    [
        (404, "{}", "answered 404"),
        (503, "{}", "answered 503"),
        (200, "<html>", "invalid JSON$"),
        (200, '{"models": ', "invalid JSON$"),
        (200, "[]", "not an object"),
        (200, '{"models": "' + "x" * 3000 + '"}', "more than 2000 bytes"),
        (200, '{"models": {}}', "tells of no table"),
        (200, json.dumps(TOLD | {"generation": "many"}), "tells of no table"),
        (200, json.dumps(TOLD | {"generation": 10**13}), "tells of no table"),
    ],
)
def test_an_answer_is_not_believed(status: int, text: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LARGEST_BYTES", 2000)

    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=status, text=text)

    with pytest.raises(RouterError, match=words):
        _applied(answer)


def test_nobody_is_sent_elsewhere_by_a_service_of_a_users() -> None:
    followed: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        if request.query:
            followed.append(request.path)
            return web.json_response({})
        raise web.HTTPFound("/-/routes?secret=metadata")

    with pytest.raises(RouterError, match="answered 302"):
        _applied(answer)
    assert followed == []


def test_a_router_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_ACKNOWLEDGED_SECONDS", 0.2)

    async def answer(_: web.Request) -> web.Response:
        await asyncio.Event().wait()
        raise AssertionError

    with pytest.raises(RouterError, match=r"did not answer within 0.2 s$"):
        _applied(answer)


def test_no_router_is_told_without_a_stack() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    with pytest.raises(RouterError, match=rf"^{url}/-/routes is not reachable$"):
        asyncio.run(_ask(url))
