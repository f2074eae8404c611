"""Which pods take requests reaches nginx, whatever the API server does. A real HTTP server stands for it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from serving_runtime.plan import RouteTable, Target
from serving_runtime.router import endpoints, watch
from serving_runtime.router.endpoints import endpoints_document, follow_endpoints
from tests.support.played_api import PlayedApi

Slice = dict[str, Any]
PORTS = [{"name": "http", "port": 8000}]


def _endpoint(address: str, pod: str, **conditions: bool | None) -> dict[str, Any]:
    target = {"kind": "Pod", "name": pod, "uid": f"uid-{pod}"}
    return {"addresses": [address, "10.9.9.9"], "conditions": conditions, "targetRef": target}


def _slice(service: str, *pods: dict[str, Any], name: str = "", **fields: Any) -> Slice:
    metadata = {"name": name or f"{service}-x", "labels": {"kubernetes.io/service-name": service}}
    made = {"metadata": metadata, "addressType": "IPv4", "endpoints": list(pods) or None, "ports": PORTS}
    return {**made, **fields}


def _pod(address: str, pod: str, port: int = 8000) -> dict[str, Any]:
    return {"address": address, "port": port, "pod": pod, "uid": f"uid-{pod}"}


ONE = _endpoint("10.1.0.1", "a", ready=True, serving=True, terminating=False)
TARGETS = {"one": {"host": "10.0.0.1", "service": "one-engine"}, "two": {"host": "fd00::1", "service": "two-engine"}}


@pytest.mark.parametrize(
    ("slices", "told"),
    [
        ([], {}),
        ([_slice("another", ONE)], {}),
        ([_slice("one-engine")], {"one": []}),
        ([_slice("one-engine", ONE)], {"one": [_pod("10.1.0.1", "a")]}),
        ([_slice("one-engine", _endpoint("10.1.0.1", "a"))], {"one": [_pod("10.1.0.1", "a")]}),
        ([_slice("one-engine", _endpoint("10.1.0.1", "a", ready=False))], {"one": []}),
        ([_slice("one-engine", _endpoint("10.1.0.1", "a", ready=False, serving=True, terminating=True))], {"one": []}),
        ([_slice("one-engine", _endpoint("10.1.0.1", "a", ready=True, terminating=True))], {"one": []}),
        (
            [_slice("one-engine", _endpoint("10.1.0.2", "b"), name="y"), _slice("one-engine", ONE, name="x")],
            {"one": [_pod("10.1.0.1", "a"), _pod("10.1.0.2", "b")]},
        ),
        ([_slice("one-engine", ONE, name="y"), _slice("one-engine", ONE)], {"one": [_pod("10.1.0.1", "a")]}),
        ([_slice("one-engine", ONE, ports=[{"name": "", "port": 9000}])], {"one": [_pod("10.1.0.1", "a", 9000)]}),
        ([_slice("one-engine", {"addresses": ["10.1.0.1"]})], {"one": [{"address": "10.1.0.1", "port": 8000}]}),
        ([_slice("one-engine", ONE, ports=None)], {"one": []}),
        ([_slice("one-engine", _endpoint("fd00::2", "a"), addressType="IPv6")], {}),
        (
            [_slice("two-engine", _endpoint("fd00::2", "a"), addressType="IPv6"), _slice("two-engine", ONE)],
            {"two": [_pod("fd00::2", "a")]},
        ),
    ],
    ids=[
        "nothing is known",
        "another Service's",
        "it has none",
        "one is ready",
        "no condition is told",
        "not ready",
        "it ends, and still serves",
        "it ends, in a Service that takes what is not ready",
        "in several slices",
        "in two slices at once",
        "at another port",
        "that names no pod",
        "without a port",
        "in the other family",
        "in both families",
    ],
)
def test_a_pod_takes_requests_where(slices: list[Slice], told: dict[str, Any]) -> None:
    assert endpoints_document(slices, TARGETS) == {"format": 1, "targets": told}


def test_a_target_without_a_service_is_left_to_its_address() -> None:
    nameless = _slice("", ONE)
    assert endpoints_document([nameless], {"one": {"host": "10.0.0.1"}})["targets"] == {}
    assert endpoints_document([nameless], {"one": {"host": "10.0.0.1", "service": None}})["targets"] == {}


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "_PAUSE_SECONDS", 0.01)
    for name in ("_RETRY_SECONDS", "_TABLE_SECONDS"):
        monkeypatch.setattr(endpoints, name, 0.01)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """The route table that nginx reads."""
    path = tmp_path / "routes.json"
    _route(path, "one")
    return path


def _route(path: Path, *names: str) -> None:
    targets = {name: Target(host="10.0.0.1", port=8000, model="m", service=f"{name}-engine") for name in names}
    table = RouteTable(targets=targets, models={})
    path.write_text(json.dumps(table.document(table.stamped("2026-03-01T12:00:00Z", 1))))


def _told(table: Path) -> dict[str, list[str]]:
    """The pods' names in the file, by target."""
    path = table.with_name("endpoints.json")
    told = json.loads(path.read_text())["targets"] if path.exists() else {}
    return {name: [pod["pod"] for pod in pods] for name, pods in told.items()}


def _follow(server: PlayedApi, table: Path, until: Callable[[], bool]) -> None:
    server.serve(lambda api: follow_endpoints(api, "team", table, table.with_name("endpoints.json")), until)


TWO = _endpoint("10.1.0.2", "b", ready=True)


def _event(kind: str, one: Slice) -> dict[str, Any]:
    return {"type": kind, "object": {**one, "metadata": {**one["metadata"], "resourceVersion": "8"}}}


def test_what_is_listed_and_each_change_are_told(table: Path) -> None:
    watch = [_event("MODIFIED", _slice("one-engine", ONE, TWO))]
    server = PlayedApi([watch], [[_slice("one-engine", ONE)]])
    _follow(server, table, lambda: _told(table) == {"one": ["a", "b"]})
    (listed, watched) = server.asked
    assert listed.path == watched.path == "/apis/discovery.k8s.io/v1/namespaces/team/endpointslices"
    assert listed.query["labelSelector"] == watched.query["labelSelector"] == "kubernetes.io/service-name"


def test_a_slice_that_is_deleted_counts_no_more(table: Path) -> None:
    extra = _slice("one-engine", TWO, name="extra")
    server = PlayedApi([[_event("DELETED", extra)]], [[_slice("one-engine", ONE), extra]])
    _follow(server, table, lambda: _told(table) == {"one": ["a"]})


def test_a_slice_that_went_while_nobody_watched_counts_no_more(table: Path) -> None:
    lists = [[_slice("one-engine", ONE, TWO)], [_slice("one-engine", ONE)]]
    _follow(PlayedApi([410, []], lists), table, lambda: _told(table) == {"one": ["a"]})


def test_a_service_that_the_table_names_later_is_told(table: Path) -> None:
    server = PlayedApi([[]], [[_slice("one-engine", ONE), _slice("two-engine", TWO)]])

    def is_told() -> bool:
        if _told(table) == {"one": ["a"]}:
            _route(table, "one", "two")
        return _told(table) == {"one": ["a"], "two": ["b"]}

    _follow(server, table, is_told)


@pytest.mark.parametrize("fault", [500, 403, 410], ids=["it fails", "it refuses", "the version is gone"])
def test_the_last_file_holds_while(fault: int, table: Path) -> None:
    table.with_name("endpoints.json").write_text('{"targets": {"one": [{"pod": "last"}]}}')
    seen: list[dict[str, list[str]]] = []

    def is_told() -> bool:
        seen.append(_told(table))
        return seen[-1] == {"one": ["a", "b"]}

    changed = [_event("MODIFIED", _slice("one-engine", ONE, TWO))]
    _follow(PlayedApi([fault, changed], [500, 500, [_slice("one-engine", ONE)]]), table, is_told)
    assert seen[0] == {"one": ["last"]}
    assert {"one": []} not in seen
    assert {} not in seen


@pytest.mark.parametrize("content", [None, "", "[]", "{}"])
def test_a_table_that_cannot_be_read_changes_nothing(table: Path, content: str | None) -> None:
    table.with_name("endpoints.json").write_text('{"targets": {"one": [{"pod": "last"}]}}')
    if content is None:
        table.unlink()
    else:
        table.write_text(content)
    server = PlayedApi([[]], [[_slice("one-engine", ONE)]])
    _follow(server, table, lambda: len(server.asked) == 2)
    assert _told(table) == {"one": ["last"]}
