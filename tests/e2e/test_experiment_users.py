"""Which users an experiment has, by the tables that the real operator writes on the real API server.

Engines, MLflow and what is counted live by a script. Testers ask a real router, which a real recorder hears of.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from serving_runtime.plan import ExperimentRoute, ModelRoute, RouteTable, Target
from tests.api.specs import GOOD
from tests.router.stand import Stand as Router
from tests.router.stand import standing
from tests.support.recorder import at, counted, recorder, send
from toolbox.polling import poll

from .conftest import Cluster
from .scripted_pods import at_home
from .stand import Manifest, Stand, stand

pytestmark = [pytest.mark.timeout(600)]
_USERS = [f"user-{number}" for number in range(2000)]
_DECIDES_LATER = {"minDuration": "24h", "maxDuration": "336h"}


@pytest.fixture(scope="module")
def scene(running: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    """An operator at work; nothing is counted."""
    with stand(running, tmp_path_factory.mktemp("users"), "experiment-users", volumes=1) as made:
        made.lead()
        yield made


def _serve(scene: Stand, model: str, *arms: str) -> None:
    """Versions of a model that answer, the first in production."""
    for arm in arms:
        spec = {**GOOD["ModelVersion"], "modelName": model, "aliases": [], "serving": {"rollbackWindow": "0s"}}
        scene.submit("ModelVersion", f"{model}-{arm}", at_home("ModelVersion", spec))
        scene.wait("ModelVersion", f"{model}-{arm}", lambda status: status.get("phase") == "Ready")


def _compare(scene: Stand, name: str, model: str, *arms: str, **assignment: Any) -> None:
    """An experiment that runs, and decides nothing while this test does."""
    variants = [{"name": arm, "modelVersionRef": {"name": f"{model}-{arm}"}, "weight": 50} for arm in arms]
    changed = {"modelName": model, "variants": variants, "stopping": _DECIDES_LATER, "assignment": assignment}
    scene.submit("ABExperiment", name, {**GOOD["ABExperiment"], **changed})
    scene.wait("ABExperiment", name, lambda status: status.get("phase") == "Running")


def _table(scene: Stand) -> RouteTable:
    found = scene.cluster.api.object("ConfigMap", "anneal-router")
    assert found is not None
    return RouteTable.read(json.loads(found["data"]["routes.json"]))


def _route(scene: Stand, model: str) -> ModelRoute:
    return _table(scene).models[model]


def _taking_part(split: ExperimentRoute) -> dict[str, str]:
    """Of each user who takes part the variant."""
    told = {user: split.assigned(user) for user in _USERS}
    return {user: found[0] for user, found in told.items() if found and found[1]}


def _share(users: dict[str, str], arm: str) -> float:
    return list(users.values()).count(arm) / len(users)


def test_a_ramp_from_10_to_100_percent_moves_nobody_who_was_enrolled(scene: Stand) -> None:
    _serve(scene, "ramps", "stable", "tuned")
    _compare(scene, "ramps", "ramps", "stable", "tuned", ramp=[{"coverage": 10, "for": "10s"}, {"coverage": 100}])
    assert scene.status("ABExperiment", "ramps")["coverage"] == 10
    (split,) = _route(scene, "ramps").experiments
    enrolled = _taking_part(split)
    assert 0.07 < len(enrolled) / len(_USERS) < 0.13
    scene.wait("ABExperiment", "ramps", lambda status: status.get("coverage") == 100)
    assert poll(lambda: _route(scene, "ramps").experiments[0].covered == 10_000, 20, every=0.25)
    (whole,) = _route(scene, "ramps").experiments
    everybody = _taking_part(whole)
    assert len(everybody) == len(_USERS)
    assert {user: everybody[user] for user in enrolled} == enrolled
    assert (whole.uid, whole.salt) == (split.uid, split.salt)
    for users in (enrolled, everybody):
        assert 0.35 < _share(users, "tuned") < 0.65


def test_two_experiments_of_one_layer_run_at_once_and_the_end_of_one_is_nothing_to_the_other(scene: Stand) -> None:
    _serve(scene, "shared", "stable", "left", "right")
    ranges = {"left": (0, 5000), "right": (5000, 10_000)}
    for arm, (begin, end) in ranges.items():
        layer = {"name": "all", "from": begin, "to": end}
        _compare(scene, f"shared-{arm}", "shared", "stable", arm, layer=layer)

    def splits() -> dict[str, ExperimentRoute]:
        return {split.name: split for split in _route(scene, "shared").experiments}

    assert poll(lambda: set(splits()) == {"shared-left", "shared-right"}, 20, every=0.25)
    left, right = (_taking_part(splits()[f"shared-{arm}"]) for arm in ranges)
    assert not left.keys() & right.keys()
    assert left.keys() | right.keys() == set(_USERS)
    assert 0.45 < len(left) / len(_USERS) < 0.55
    assert 0.44 < _share(left, "left") < 0.56
    assert 0.44 < _share(right, "right") < 0.56
    uids = {split.uid for split in splits().values()}
    assert poll(lambda: uids <= scene.router.asked_of, 20, every=0.25), "each is judged by its own numbers"
    scene.cluster.kubectl("patch", "abx", "shared-left", "--type=merge", "-p", json.dumps({"spec": {"abort": True}}))
    scene.wait("ABExperiment", "shared-left", lambda status: status.get("phase") == "Aborted")
    assert poll(lambda: set(splits()) == {"shared-right"}, 20, every=0.25)
    assert _taking_part(splits()["shared-right"]) == right
    assert _route(scene, "shared").default == "shared-stable"
    assert scene.status("ABExperiment", "shared-right")["phase"] == "Running"


@contextmanager
def _router(folder: Path, table: RouteTable) -> Iterator[Router]:
    """A real router with the operator's table, but for where the versions are."""
    with standing(folder) as made:
        target = Target(host="127.0.0.1", port=made.engine.port, model="m")
        made.write(table.model_copy(update={"targets": dict.fromkeys(table.targets, target)}))
        yield made


def _variant(router: Router, user: str, **headers: str) -> str:
    return router.chat("tested", X_User_Id=user, **headers).headers.get("x-anneal-variant", "")


def test_a_tester_is_led_to_the_variant_that_a_header_names_and_is_not_analysed(scene: Stand, tmp_path: Path) -> None:
    _serve(scene, "tested", "stable", "tuned")
    override: Manifest = {"header": "X-Variant", "users": ["tester"]}
    _compare(scene, "tested", "tested", "stable", "tuned", override=override)
    (split,) = _route(scene, "tested").experiments
    assert split.override is not None
    mine, users = _taking_part(split), _USERS[:20]
    with _router(tmp_path, _table(scene)) as router, recorder(tmp_path) as address:
        assert poll(lambda: _variant(router, "tester", X_Variant="tuned") == "tuned", 10, every=0.05)
        assert _variant(router, "tester", X_Variant="stable") == "stable"
        for user in users:
            assert _variant(router, user, X_Variant="tuned") == mine[user], "nobody else chooses"

        def lines() -> list[Manifest]:
            return [line for line in router.records() if line.get("experiment") == split.uid]

        assert poll(lambda: sum("user" in line for line in lines()) == len(users), 10, every=0.05)
        assert {line["variant"] for line in lines() if line.get("tester")} == {"stable", "tuned"}
        send(address, "".join(f"{json.dumps(line)}\n" for line in router.records()).encode(), **at(0))
        asked = [mine[user] for user in users]
        expected = {arm: (asked.count(arm), asked.count(arm)) for arm in ("stable", "tuned")}
        assert counted(address, split.uid) == expected
