"""The real operator killed at its writes while a version is released, and while an experiment is decided.

Engines, MLflow and routers live by a script. A sample in `make test`; every write in `make soak`.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest

from tests.api.specs import GOOD
from toolbox.polling import poll

from .api_proxy import Kill
from .conftest import Cluster
from .scripted_pods import at_home, scripted_spec
from .stand import Manifest, Stand, stand

pytestmark = [pytest.mark.timeout(3600)]
_CHILDREN = (
    "deployments,replicasets,services,configmaps,serviceaccounts,roles,rolebindings,persistentvolumeclaims,"
    "poddisruptionbudgets,networkpolicies"
)
_TIMES = {"lastTransitionTime", "decidedAt", "startedAt", "replacedAt", "idleSince", "coldStart", "cost"}
_OF_THE_NAMESPACE = {"rows", "tiny", "default", "kube-root-ca.crt", "played-router"}
_PREPARED_AT_ONCE = 8
_CONVERGED_SECONDS = 20.0
_SPARED = 0.2
"""Of the lives of a sweep at most so many may have no such write."""


@dataclass(frozen=True)
class Life:
    """What an object goes through: how it begins, whether it is over, what is there then, and how that goes."""

    prepare: Callable[[Stand, Sequence[str]], None]
    begin: Callable[[Stand, str], None]
    is_over: Callable[[Stand, str], bool]
    look: Callable[[Stand, str], Manifest]
    clear: Callable[[Stand, str], None]
    sample: Callable[[Sequence[str]], list[tuple[int, bool]]]
    """At which of the writes to kill, in `make test`, and whether after it."""


@pytest.fixture(scope="module")
def faulty(running: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    """The tuned version's users are happier."""
    with stand(running, tmp_path_factory.mktemp("release"), "release-faults", volumes=1) as made:
        made.router.count(stable=3.0, tuned=4.0)
        made.lead()
        yield made


def _prepare_nothing(scene: Stand, names: Sequence[str]) -> None:
    del scene, names


def _submit_version(scene: Stand, name: str, model: str, aliases: Sequence[str] = ()) -> None:
    spec = {**GOOD["ModelVersion"], "modelName": model, "aliases": list(aliases)}
    spec["serving"] = {"rollbackWindow": "0s"}
    scene.submit("ModelVersion", name, at_home("ModelVersion", spec))


def _is_settled(status: Manifest, phase: str) -> bool:
    return status.get("phase") == phase and all(c["type"] != "Reconciling" for c in status.get("conditions", ()))


def _is_released(scene: Stand, name: str) -> bool:
    status = scene.status("ModelVersion", name)
    holds = status.get("registry", {}).get("aliases")
    drifted = {c["type"]: c["status"] for c in status.get("conditions", ())}.get("AliasDrifted")
    return _is_settled(status, "Ready") and holds == ["candidate", "production"] and drifted == "False"


def _released(scene: Stand, name: str) -> Manifest:
    """All that there is after one version was released; it is the only one."""
    return _normal(
        {"version": scene.status("ModelVersion", name), **_left(scene), "mlflow": _mlflow(scene, name)}, name
    )


def _delete_version(scene: Stand, name: str) -> None:
    scene.cluster.kubectl("delete", "modelversion", name)
    assert poll(lambda: not _left(scene)["made"], 60, every=0.25), "the children of a deleted version stay"


def _prepare_versions(scene: Stand, names: Sequence[str]) -> None:
    """Have a version in production and a challenger for each name."""
    for variant in ("stable", "tuned"):
        for name in names:
            _submit_version(scene, f"{name}-{variant}", name)
        for name in names:
            scene.wait("ModelVersion", f"{name}-{variant}", lambda status: _is_settled(status, "Ready"))


def _begin_experiment(scene: Stand, name: str) -> None:
    variants = [
        {"name": variant, "modelVersionRef": {"name": f"{name}-{variant}"}, "weight": 50}
        for variant in ("stable", "tuned")
    ]
    changed = {
        "modelName": name,
        "variants": variants,
        "stopping": {"minUsersPerVariant": 10, "minDuration": "0s"},
        "decision": {"scaleDownDelay": "0s"},
    }
    scene.submit("ABExperiment", name, {**GOOD["ABExperiment"], **changed})


def _is_promoted(scene: Stand, name: str) -> bool:
    loser, winner = (scene.status("ModelVersion", f"{name}-{variant}") for variant in ("stable", "tuned"))
    experiment = scene.status("ABExperiment", name)
    promoted = _is_settled(experiment, "Promoted") and _is_settled(loser, "Idle") and _is_settled(winner, "Ready")
    return promoted and winner["registry"]["aliases"] == ["production"] and loser["registry"]["aliases"] == []


def _promoted(scene: Stand, name: str) -> Manifest:
    """The verdict, wherever it is told, and what followed from it; it must be the same verdict everywhere."""
    status = scene.status("ABExperiment", name)
    (record,) = (
        item for item in scene.cluster.get("configmaps")["items"] if item["metadata"]["name"].startswith(f"{name}-rec")
    )
    tags = scene.mlflow.tags(name, scene.mlflow.aliases[name, "production"])
    assert json.loads(record["data"]["decision.json"]) == status["decision"]
    assert json.loads(tags[f"anneal.dev/experiment.{name}"]) == status["decision"]
    assert json.loads(record["data"]["start.json"])["startedAt"] == status["startedAt"]
    versions = {v: scene.status("ModelVersion", f"{name}-{v}") for v in ("stable", "tuned")}
    end = {"status": status, "immutable": record["immutable"], "versions": versions, "mlflow": _mlflow(scene, name)}
    return _normal(end, name)


def _delete_experiment(scene: Stand, name: str) -> None:
    scene.cluster.kubectl("delete", "abexperiment", name)
    scene.cluster.kubectl("delete", "modelversion", f"{name}-stable", f"{name}-tuned")


def _record_complete(writes: Sequence[str]) -> int:
    """At which write the decision is kept."""
    return next(at for at, write in enumerate(writes, 1) if write.startswith("PATCH") and "-record-" in write)


RELEASE = Life(
    _prepare_nothing,
    lambda scene, name: _submit_version(scene, name, name, ["candidate"]),
    _is_released,
    _released,
    _delete_version,
    lambda writes: [(2, True), (len(writes) * 2 // 3, False)],  # what is told together, and so is fewer, comes late
)
EXPERIMENT = Life(
    _prepare_versions,
    _begin_experiment,
    _is_promoted,
    _promoted,
    _delete_experiment,
    lambda writes: [(_record_complete(writes), True)],
)


def _left(scene: Stand) -> Manifest:
    """The children, how many pods were made, and the routes; what is there from the beginning left out."""
    found = scene.cluster.get(f"{_CHILDREN},pods")["items"]
    own = [item for item in found if item["metadata"]["name"] not in _OF_THE_NAMESPACE]
    own = [
        item for item in own if not (item["kind"] == "PersistentVolumeClaim" or "-record-" in item["metadata"]["name"])
    ]
    routes = [
        json.loads(item["data"]["routes.json"])["models"] for item in own if "routes.json" in item.get("data", {})
    ]
    made = sorted(f"{item['kind']}/{_without_hash(item)}" for item in own)
    return {"made": made, "routes": routes}


def _without_hash(item: Manifest) -> str:
    """The name without what Kubernetes draws."""
    name: str = item["metadata"]["name"]
    return {"ReplicaSet": re.sub("-[^-]+$", "", name), "Pod": re.sub("-[^-]+-[^-]+$", "", name)}.get(item["kind"], name)


def _mlflow(scene: Stand, model: str) -> Manifest:
    """How often it was registered, and where the aliases point."""
    versions = [v["version"] for v in scene.mlflow.versions if v["name"] == model]
    return {"versions": versions, "aliases": {a: v for (m, a), v in scene.mlflow.aliases.items() if m == model}}


def _normal(end: Manifest, name: str) -> Manifest:
    """Without what differs from one life to the next: the name and the times."""
    made: Manifest = _normal_part(end, name)
    return made


def _normal_part(end: Any, name: str) -> Any:
    if isinstance(end, dict):
        return {key.replace(name, "NAME"): _normal_part(inner, name) for key, inner in end.items() if key not in _TIMES}
    if isinstance(end, list):
        return [_normal_part(inner, name) for inner in end]
    return end.replace(name, "NAME") if isinstance(end, str) else end


def _live(scene: Stand, life: Life, name: str) -> bool:
    """Live one life; return whether the operator was killed in it, which is then started again at once."""
    life.begin(scene, name)
    if scene.proxy.kill:
        poll(lambda: not scene.operator.is_alive() or life.is_over(scene, name), 60, every=0.25)
        if scene.operator.is_alive():
            scene.wait_until_quiet()  # its last writes come when it is over
        scene.proxy.kill = None
    killed = not scene.operator.is_alive()
    if killed:
        scene.lead()
    assert poll(lambda: life.is_over(scene, name), 90, every=0.25), _told(scene, name)
    return killed


def _told(scene: Stand, name: str) -> str:
    found = scene.cluster.kubectl("get", "modelversions,abexperiments", "-o", "yaml")
    return f"{name} is not over:\n{found}\n{scene.operator.log()}"


def _undisturbed(scene: Stand, life: Life, name: str) -> tuple[Manifest, list[str]]:
    """Return the end of an undisturbed life, and the writes of it."""
    life.prepare(scene, [name])
    scene.wait_until_quiet()
    scene.proxy.writes.clear()
    _live(scene, life, name)
    scene.wait_until_quiet()
    end, writes = life.look(scene, name), list(scene.proxy.writes)
    life.clear(scene, name)
    return end, writes


def _sweep(scene: Stand, life: Life, expected: Manifest, kills: Mapping[str, tuple[int, bool]]) -> list[str]:
    """Live as many lives; return those in which the kill never came, as what is told together varies."""
    spared = []
    life.prepare(scene, list(kills))
    scene.wait_until_quiet()
    for name, (at, after) in kills.items():
        scene.proxy.writes.clear()
        scene.proxy.kill = Kill(at, after, scene.operator.kill)
        if not _live(scene, life, name):
            spared.append(name)
        if not poll(partial(_is_as, scene, life, name, expected), _CONVERGED_SECONDS, every=0.5):
            assert life.look(scene, name) == expected, name
        life.clear(scene, name)
    assert scene.operator.errors() == []
    return spared


def _is_as(scene: Stand, life: Life, name: str, expected: Manifest) -> bool:
    return life.look(scene, name) == expected


def _named(word: str, kills: Sequence[tuple[int, bool]]) -> dict[str, tuple[int, bool]]:
    return {f"{word}-{at}-{'after' if after else 'before'}": (at, after) for at, after in kills}


LIVES = pytest.mark.parametrize(("life", "word"), [(RELEASE, "release"), (EXPERIMENT, "experiment")])


@LIVES
def test_a_kill_at_a_write_changes_nothing_of_the_end(faulty: Stand, life: Life, word: str) -> None:
    expected, writes = _undisturbed(faulty, life, f"{word}-undisturbed")
    assert _sweep(faulty, life, expected, _named(word, life.sample(writes))) == []


def test_nothing_is_written_while_nothing_happens(faulty: Stand) -> None:
    """Longer than numbers are held back; an experiment is over, its versions rest, and a job is suspended."""
    _prepare_versions(faulty, ["rest"])
    _begin_experiment(faulty, "rest")
    assert poll(lambda: _is_promoted(faulty, "rest"), 90, every=0.25)
    faulty.submit("FineTuneJob", "resting", scripted_spec(suspend=True))
    faulty.wait("FineTuneJob", "resting", lambda status: status.get("phase") == "Suspended")
    faulty.wait_until_quiet()
    before = len(faulty.writes())
    poll(lambda: len(faulty.writes()) > before, 15, every=1.0)
    assert faulty.writes()[before:] == []
    _delete_experiment(faulty, "rest")
    faulty.cluster.kubectl("delete", "finetunejob", "resting")


@pytest.mark.soak
@LIVES
def test_a_kill_at_every_write_changes_nothing_of_the_end(faulty: Stand, life: Life, word: str) -> None:
    word = f"every-{word}"
    expected, writes = _undisturbed(faulty, life, f"{word}-undisturbed")
    kills = [(at, after) for at in range(1, len(writes) + 1) for after in (False, True)]
    spared = []
    for first in range(0, len(kills), _PREPARED_AT_ONCE):
        spared += _sweep(faulty, life, expected, _named(word, kills[first : first + _PREPARED_AT_ONCE]))
    assert len(spared) <= len(kills) * _SPARED, spared
