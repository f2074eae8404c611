"""The route table reaches nginx whatever the API server does. A real HTTP server stands for it."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from kubernetes.aio.client import Configuration

from serving_runtime.plan import FORMAT
from serving_runtime.router import agent
from serving_runtime.router.agent import follow, take
from serving_runtime.router.files import replace_file


class _ApiServer:
    """Answers each watch with the next of these lists of events; the last watch stays open, and one that is None."""

    def __init__(self, *watches: list[dict[str, Any]] | int | None) -> None:
        self._watches = list(watches)
        self.asked: list[tuple[str, dict[str, str]]] = []

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.asked.append((request.path, dict(request.query)))
        told = self._watches.pop(0)
        if isinstance(told, int):
            return web.json_response({"message": "no"}, status=told)
        answer = web.StreamResponse(headers={"Content-Type": "application/json"})
        await answer.prepare(request)
        for event in told or ():
            await answer.write(json.dumps(event).encode() + b"\n")
        if not self._watches or told is None:
            await asyncio.Event().wait()
        return answer


def _text(generation: int = 1, lineage: str = "2026-03-01T12:00:00Z", **fields: Any) -> str:
    return json.dumps({"format": FORMAT, "lineage": lineage, "generation": generation, **fields})


def _event(kind: str, table: str | None) -> dict[str, Any]:
    metadata = {"name": "anneal-router", "namespace": "team", "resourceVersion": "7"}
    data = {} if table is None else {"routes.json": table}
    return {"type": kind, "object": {"kind": "ConfigMap", "apiVersion": "v1", "metadata": metadata, "data": data}}


def _run(server: _ApiServer, target: Path, until: Callable[[], bool]) -> None:
    """Follow the table on this API server until the condition holds."""

    async def run() -> None:
        app = web.Application()
        app.router.add_get("/{path:.*}", server.handle)
        async with TestServer(app) as served:
            Configuration.set_default(Configuration(host=str(served.make_url("")).rstrip("/")))
            following = asyncio.create_task(follow("team", "anneal-router", "routes.json", target))
            async with asyncio.timeout(20):
                while not until():  # noqa: ASYNC110 - the condition is a file's
                    await asyncio.sleep(0.005)
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)

    asyncio.run(run())


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agent, "_RETRY_SECONDS", 0.01)
    monkeypatch.setattr(Configuration, "_default", None)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """The file that nginx reads."""
    return tmp_path / "routes.json"


def test_each_table_is_put_in_place(table: Path) -> None:
    server = _ApiServer([_event("ADDED", _text(1)), _event("MODIFIED", _text(2))])
    _run(server, table, lambda: table.exists() and table.read_text() == _text(2))
    path, query = server.asked[0]
    assert path == "/api/v1/namespaces/team/configmaps"
    assert query["fieldSelector"] == "metadata.name=anneal-router"
    assert int(query["timeoutSeconds"]) > 0


@pytest.mark.parametrize(
    "event",
    [_event("DELETED", _text(9)), _event("MODIFIED", None), _event("MODIFIED", "")],
    ids=["the ConfigMap is deleted", "its key is gone", "it is empty"],
)
def test_the_last_table_is_kept_when(event: dict[str, Any], table: Path) -> None:
    table.write_text(_text())
    server = _ApiServer([event], [])
    _run(server, table, lambda: len(server.asked) == 2)
    assert table.read_text() == _text()


@pytest.mark.parametrize(
    ("found", "is_taken"),
    [
        (_text(7, models={"changed": "by hand"}), True),
        (_text(8), True),
        # a server of the API, or a kubelet, that is behind
        (_text(6), False),
        (_text(99, lineage="2026-02-01T00:00:00Z"), False),
        # a ConfigMap that is begun anew
        (_text(1, lineage="2026-03-01T12:00:01Z"), True),
        (_text(8, format=FORMAT + 1), False),
        ('{"models": {}, "targets": {}}', False),
        ("{half", False),
        ("[]", False),
        (_text(8).replace('"lineage"', '"begun"'), False),
        (_text(8).replace("8", '"eight"'), False),
    ],
)
def test_a_table_takes_the_place_of_none_that_is_newer(
    found: str, is_taken: bool, table: Path, caplog: pytest.LogCaptureFixture
) -> None:
    table.write_text(_text(7))
    take(table, found)
    assert table.read_text() == (found if is_taken else _text(7))
    assert bool([record for record in caplog.records if "refused" in record.message]) is not is_taken


@pytest.mark.parametrize("there", ["", _text(7)[:20], _text(99, format=FORMAT + 1)])
def test_a_file_that_cannot_be_read_keeps_no_table_away(there: str, table: Path) -> None:
    """As a node may leave it that lost its power."""
    table.write_text(there)
    take(table, _text(7))
    assert table.read_text() == _text(7)


def test_a_table_of_a_format_that_is_not_known_is_refused_though_there_is_no_other(
    table: Path, caplog: pytest.LogCaptureFixture
) -> None:
    take(table, _text(format=99))
    assert not table.exists()
    assert f"its format is 99, and this build knows {FORMAT}" in caplog.text


@pytest.mark.parametrize(
    "first",
    [
        500,
        403,
        [{"type": "ERROR", "object": {"kind": "Status", "code": 410, "reason": "Gone", "message": "too old"}}],
        [{"type": "ADDED"}],
        [],
    ],
    ids=["it fails", "it refuses", "the version is gone", "nonsense comes", "it ends"],
)
def test_a_watch_is_begun_again_when(first: Any, table: Path) -> None:
    server = _ApiServer(first, [_event("ADDED", _text())])
    _run(server, table, table.exists)
    assert table.read_text() == _text()


def test_there_is_a_pause_before_the_next_watch(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paused: list[int] = []
    sleep = asyncio.sleep
    server = _ApiServer([], 500, [])

    async def observed(seconds: float) -> None:
        if seconds == 0.01:
            paused.append(len(server.asked))
        await sleep(seconds)

    monkeypatch.setattr(asyncio, "sleep", observed)
    _run(server, table, lambda: len(server.asked) == 3)
    assert paused == [1, 2]


def test_a_watch_whose_end_is_not_heard_is_given_up(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agent, "_GIVEN_UP_SECONDS", 0.2)
    _run(_ApiServer(None, [_event("ADDED", _text())]), table, table.exists)
    assert table.read_text() == _text()


def test_nginx_never_reads_half_a_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = tmp_path / "routes.json"
    table.write_text("old")
    seen: list[str] = []
    replace = Path.replace

    def observed(self: Path, target: Path) -> Path:
        seen.extend([table.read_text(), self.read_text()])
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", observed)
    replace_file(table, "new")
    assert seen == ["old", "new"]
    assert [path.name for path in tmp_path.iterdir()] == ["routes.json"]
    assert table.read_text() == "new"


@pytest.mark.parametrize(("there", "expected"), [(None, 7), (8, 8), (6, 7)])
def test_the_mounted_copy_serves_until_the_api_server_answers(
    there: int | None, expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mounted, table = tmp_path / "mounted.json", tmp_path / "routes.json"
    mounted.write_text(_text(7))
    if there:
        table.write_text(_text(there))
    (tmp_path / "namespace").write_text("team")
    arguments = ["agent", "--config-map", "c", "--key", "k", "--mounted", str(mounted), "--to", str(table)]
    monkeypatch.setattr("sys.argv", arguments)
    monkeypatch.setattr(agent, "_NAMESPACE", tmp_path / "namespace")
    monkeypatch.setattr("kubernetes.aio.config.load_incluster_config", lambda _: None)
    monkeypatch.setattr("kubernetes.aio.client.Configuration._default", None)
    monkeypatch.setattr("signal.signal", lambda *_: None)
    followed: list[tuple[Any, ...]] = []

    async def no_api_server(*told: Any) -> None:
        followed.append(told)

    monkeypatch.setattr(agent, "follow", no_api_server)
    monkeypatch.setattr(agent, "follow_endpoints", no_api_server)
    agent.main()
    assert followed == [("team", "c", "k", table), ("team", table, tmp_path / "endpoints.json")]
    assert Configuration.get_default_copy().disable_strict_ssl_verification, (
        "Python 3.13 refuses many a cluster's own issuer"
    )
    assert table.read_text() == _text(expected)
