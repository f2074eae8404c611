"""Which tables a router applies, and what it tells of that: only what all its workers have."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from serving_runtime.plan import FORMAT, PLAIN_FORMAT, ModelRoute, RouteTable, Target
from toolbox.polling import poll

from .engine import engine
from .stand import LINEAGE, Stand, document, endpoints, standing, table


def _renamed(router: Stand, name: str) -> RouteTable:
    models = {name: ModelRoute(default="one", named={})}
    return table(router.engine.port, 0).model_copy(update={"models": models})


def _told(router: Stand) -> Any:
    return router.ask("/-/routes").json


def _has_told(router: Stand, generation: int) -> bool:
    return bool(_told(router).get("generation") == generation)  # it tells of none before each worker has one


def _is_refused(router: Stand, count: int) -> bool:
    return (router.folder / "log").read_text().count("keeping the last one") >= count


def test_a_table_is_acknowledged_when_every_worker_has_applied_it(tmp_path_factory: pytest.TempPathFactory) -> None:
    with standing(tmp_path_factory.mktemp("router"), workers=2) as router:
        routes = _renamed(router, "renamed")
        assert poll(lambda: _has_told(router, 1), 5, every=0.02)
        stopped, _ = router.workers()
        os.kill(stopped, signal.SIGSTOP)
        try:
            router.write(routes)
            assert poll(lambda: router.chat("renamed").status == 200, 5)
            assert _told(router)["generation"] == 1, "the other one goes by the last table still"
        finally:
            os.kill(stopped, signal.SIGCONT)
        assert poll(lambda: _has_told(router, 2), 5, every=0.02)
        assert _told(router)["digest"] == routes.digest()


def test_a_worker_that_is_begun_again_has_the_newest_table_before_it_answers(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    with standing(tmp_path_factory.mktemp("router"), workers=2) as router:
        router.write(_renamed(router, "renamed"))
        assert poll(lambda: _has_told(router, 2), 5, every=0.02)
        before = router.workers()
        os.kill(before[0], signal.SIGKILL)
        assert poll(lambda: len(router.workers()) == 2 and router.workers() != before, 5, every=0.02)
        assert all(router.chat("renamed").status == 200 for _ in range(20))
        assert _has_told(router, 2)


def test_a_worker_that_is_begun_again_and_can_read_no_table_tells_of_none(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    with standing(tmp_path_factory.mktemp("router")) as router:
        assert poll(lambda: _has_told(router, 1), 5, every=0.02)
        before = router.workers()
        router.write("")
        os.kill(before[0], signal.SIGKILL)
        assert poll(lambda: len(router.workers()) == 1 and router.workers() != before, 5, every=0.02)
        assert router.ask("/-/routes").status == 503


def test_a_table_that_is_older_or_of_a_format_that_is_not_known_is_refused(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    with standing(tmp_path_factory.mktemp("router")) as router:
        router.write(document(_renamed(router, "kept"), 7))
        assert poll(lambda: _has_told(router, 7), 5, every=0.02)
        other = _renamed(router, "other")
        unknown = json.dumps(json.loads(document(other, 8)) | {"format": FORMAT + 1})
        nameless = json.dumps(
            {name: part for name, part in json.loads(document(other, 8)).items() if name != "lineage"}
        )
        older = document(other, 6), document(other, 99, "2026-02-01T00:00:00Z")
        for number, text in enumerate((unknown, nameless, *older), start=1):
            router.write(text)
            assert poll(lambda count=number: _is_refused(router, count), 5, every=0.02)  # type: ignore[misc]
            assert (router.chat("kept").status, router.chat("other").status) == (200, 404)
            assert _has_told(router, 7)
        log = (router.folder / "log").read_text()
        assert f"the table's format is {FORMAT + 1}, and this build knows {PLAIN_FORMAT} and {FORMAT}" in log
        assert "the table of generation 6 is older than that of 7" in log


def test_a_config_map_that_is_begun_anew_comes_after_all_of_the_old_one(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    with standing(tmp_path_factory.mktemp("router")) as router:
        router.write(document(_renamed(router, "old"), 57))
        assert poll(lambda: _has_told(router, 57), 5, every=0.02)
        begun = LINEAGE.replace(":00Z", ":01Z")
        router.write(document(_renamed(router, "new"), 1, begun))
        assert poll(lambda: router.chat("new").status == 200, 5)
        assert (_told(router)["lineage"], _told(router)["generation"]) == (begun, 1)


@pytest.mark.parametrize("known", [{}, {"two": []}], ids=["not told of", "without pods"])
def test_a_table_waits_for_news_of_the_pods_that_it_leads_to_but_not_for_long(
    known: dict[str, list[int]], tmp_path: Path
) -> None:
    with engine() as played:
        here = {"one": [played.port]}
        (tmp_path / "endpoints.json").write_text(endpoints({**here, **known}))
        with standing(tmp_path, routes=_leading(played.port, "one")) as router:
            assert poll(lambda: _has_told(router, 1), 5, every=0.02)
            router.write(_leading(played.port, "two"))
            assert not poll(lambda: _answers(router) != "one" or _has_told(router, 2), 1, every=0.02)
            router.write_endpoints({**here, "two": [played.port]})
            assert poll(lambda: _answers(router) == "two" and _has_told(router, 2), 1, every=0.02)
            router.write_endpoints({"one": [], "two": [played.port]})
            router.write(_leading(played.port, "one"))
            assert poll(lambda: _has_told(router, 3), 5, every=0.02)
            assert router.chat("m").status == 503


def _leading(port: int, default: str) -> RouteTable:
    targets = {name: Target(host="127.0.0.1", port=port, model="m", service=name) for name in ("one", "two")}
    return RouteTable(targets=targets, models={"m": ModelRoute(default=default, named={})})


def _answers(router: Stand) -> str:
    return router.chat("m").headers.get("x-anneal-version", "")


def test_a_router_that_has_no_table_it_knows_is_not_ready(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("router")
    with standing(folder, {"routes.json": "absent.json"}) as router:
        assert (router.ask("/health").status, router.ask("/-/routes").status) == (503, 503)
        (folder / "absent.json").write_text(json.dumps({"format": 99, "models": {}, "targets": {}}))
        assert poll(lambda: _is_refused(router, 1), 5, every=0.02)
        assert router.ask("/health").error == "the router has no routes yet"
        (folder / "absent.json").write_text(document(table(router.engine.port, 0)))
        assert poll(lambda: router.ask("/health").status == 200, 5)


def test_models_are_listed_by_a_table_whose_lineage_is_no_moment(tmp_path_factory: pytest.TempPathFactory) -> None:
    with standing(tmp_path_factory.mktemp("router")) as router:
        router.write(document(table(router.engine.port, 0), 1, "later"))
        assert poll(lambda: "created" not in router.ask("/v1/models").json["data"][0], 5)
        assert router.ask("/v1/models/plain").json == {"id": "plain", "object": "model", "owned_by": "anneal"}
