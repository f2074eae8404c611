"""The route table reaches nginx whatever the API server does. A real HTTP server stands for it."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from serving_runtime.plan import FORMAT, PLAIN_FORMAT
from serving_runtime.router import agent, watch
from serving_runtime.router.agent import follow, take
from serving_runtime.router.api_server import ApiServer
from serving_runtime.router.backends import Backends
from serving_runtime.router.files import replace_file
from tests.support.played_api import PlayedApi


def _text(generation: int = 1, lineage: str = "2026-03-01T12:00:00Z", **fields: Any) -> str:
    return json.dumps({"format": FORMAT, "lineage": lineage, "generation": generation, **fields})


def _config_map(table: str | None) -> dict[str, Any]:
    metadata = {"name": "anneal-router", "namespace": "team", "resourceVersion": "7"}
    data = {} if table is None else {"routes.json": table}
    return {"kind": "ConfigMap", "apiVersion": "v1", "metadata": metadata, "data": data}


def _event(kind: str, table: str | None) -> dict[str, Any]:
    return {"type": kind, "object": _config_map(table)}


def _follow(server: PlayedApi, target: Path, until: Callable[[], bool]) -> None:
    server.serve(lambda api: follow(api, "team", "anneal-router", "routes.json", target), until)


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "_PAUSE_SECONDS", 0.01)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """The file that nginx reads."""
    return tmp_path / "routes.json"


def test_each_table_is_put_in_place(table: Path) -> None:
    server = PlayedApi([[_event("MODIFIED", _text(2)), _event("MODIFIED", _text(3))]], [[_config_map(_text(1))]])
    seen: list[str] = []

    def is_last() -> bool:
        seen.append(table.read_text() if table.exists() else "")
        return seen[-1] == _text(3)

    _follow(server, table, is_last)
    (listed, watched) = server.asked
    assert listed.path == watched.path == "/api/v1/namespaces/team/configmaps"
    assert listed.query["fieldSelector"] == watched.query["fieldSelector"] == "metadata.name=anneal-router"


@pytest.mark.parametrize(
    "event",
    [_event("DELETED", _text(9)), _event("MODIFIED", None), _event("MODIFIED", "")],
    ids=["the ConfigMap is deleted", "its key is gone", "it is empty"],
)
def test_the_last_table_is_kept_when(event: dict[str, Any], table: Path) -> None:
    table.write_text(_text())
    server = PlayedApi([[event], []])
    _follow(server, table, lambda: len(server.watched) == 2)
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
        (_text(8, format=PLAIN_FORMAT), True),
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
    assert f"its format is 99, and this build knows {PLAIN_FORMAT} and {FORMAT}" in caplog.text


def test_a_table_that_cannot_be_written_is_asked_for_again(tmp_path: Path) -> None:
    table = tmp_path / "later" / "routes.json"
    server = PlayedApi([[]], [[_config_map(_text())]])

    def is_there() -> bool:
        if len(server.listed) > 1:
            table.parent.mkdir(exist_ok=True)
        return table.exists()

    _follow(server, table, is_there)


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
    monkeypatch.setattr(agent, "_ACCOUNT", tmp_path)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "fd00::1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    monkeypatch.setattr("signal.signal", lambda *_: None)
    followed: list[tuple[Any, ...]] = []

    async def no_api_server(*told: Any) -> None:
        followed.append(told)

    monkeypatch.setattr(agent, "follow", no_api_server)
    monkeypatch.setattr(agent, "follow_endpoints", no_api_server)
    monkeypatch.setattr(Backends, "run", no_api_server)
    agent.main()
    api = ApiServer("fd00::1", 443, token=tmp_path / "token", authority=tmp_path / "ca.crt")
    told, endpoints, (backends,) = followed
    assert told == (api, "team", "c", "k", table)
    assert endpoints == (api, "team", table, tmp_path / "endpoints.json", backends.known)
    assert (backends.table, backends.target) == (table, tmp_path / "backends.json")
    assert table.read_text() == _text(expected)


def test_nothing_that_is_large_is_imported() -> None:
    """It rests in every router's pod."""
    script = "import sys, serving_runtime.router.agent; print(*{name.partition('.')[0] for name in sys.modules})"
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert not {"aiohttp", "fastapi", "kubernetes", "pydantic", "requests", "urllib3", "yaml"} & set(told.split())
