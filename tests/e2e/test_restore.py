"""A namespace made anew from its manifests, without statuses; MLflow, the recorder's volume and the keys survive.

As after a cluster was lost: uids are others, the operator's children and records are gone, and the operator starts.
"""

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

from anneal_operator.desired.experiments import START_KEY
from anneal_operator.desired.serving import VERSION_LABEL
from serving_runtime.plan import bucket
from tests.api.specs import GOOD
from toolbox.polling import poll

from .conftest import Cluster
from .scripted_pods import at_home, scripted_spec
from .stand import Manifest, Stand, stand

pytestmark = [pytest.mark.timeout(600)]
_KINDS = ("ABExperiment", "FineTuneJob", "ModelVersion")
_CHILDREN = "deployments,services,jobs,configmaps,persistentvolumeclaims"
_USERS = [f"user-{number}" for number in range(1000)]
_ARMS = ("stable", "tuned")
_EXPERIMENTS = {"runs": "Running", "won": "Promoted", "held": "RolledBack"}
_LOST = {"won-stable", "held-stable"}
"""The losers of the decided ones: the control of one that was promoted, the challenger of one that was not."""
_VERSIONS = ["alias-1", "alias-2", *(f"{name}-{arm}" for name in _EXPERIMENTS for arm in _ARMS)]


@pytest.fixture
def scene(running: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    """The tuned versions' users are happier."""
    with stand(running, tmp_path_factory.mktemp("restore"), "restore", volumes=1) as made:
        made.router.count(stable=3.0, tuned=4.0)
        yield made


def _live(scene: Stand) -> None:
    """A release by hand, an experiment that runs, one that was promoted, one that its control won, and a job."""
    scene.submit("FineTuneJob", "job", scripted_spec())
    first = ["alias-1", "runs-stable", "won-stable", "held-tuned"]  # of a model, to answer: it gets `production`
    for names in (first, [name for name in _VERSIONS if name not in first]):
        for name in names:
            spec = {
                **GOOD["ModelVersion"],
                "modelName": name.partition("-")[0],
                "aliases": ["own"],
                "serving": {"rollbackWindow": "0s"},
            }
            scene.submit("ModelVersion", name, at_home("ModelVersion", spec))
        for name in names:
            scene.wait("ModelVersion", name, lambda status: status.get("phase") == "Ready")
    for name, control, duration in (("runs", "stable", "1h"), ("won", "stable", "0s"), ("held", "tuned", "0s")):
        scene.submit("ABExperiment", name, _experiment(name, control, duration))
    scene.mlflow.aliases["alias", "production"] = "2"
    scene.wait("FineTuneJob", "job", lambda status: status.get("phase") == "Succeeded")


def _experiment(name: str, control: str, duration: str) -> Manifest:
    variants = [{"name": arm, "modelVersionRef": {"name": f"{name}-{arm}"}, "weight": 50} for arm in _ARMS]
    stopping = {"minUsersPerVariant": 10, "minDuration": duration}
    changed = {"modelName": name, "control": control, "variants": variants, "stopping": stopping}
    return {**GOOD["ABExperiment"], **changed, "decision": {"scaleDownDelay": "0s"}}


def _rests(scene: Stand) -> bool:
    """Where all of it comes to rest, before and after."""
    experiments = {name: scene.status("ABExperiment", name).get("phase") for name in _EXPERIMENTS}
    versions = {name: scene.status("ModelVersion", name).get("phase") for name in _VERSIONS}
    is_counted = scene.status("ABExperiment", "runs").get("users") == 200
    wanted = {name: "Idle" if name in _LOST else "Ready" for name in _VERSIONS}
    return is_counted and (experiments, versions) == (_EXPERIMENTS, wanted)


def _wait_until_it_rests(scene: Stand) -> None:
    shown = ("get", "modelversions,abexperiments", "-o", "yaml")
    assert poll(lambda: _rests(scene), 60, every=0.25), scene.cluster.kubectl(*shown) + scene.operator.log()
    scene.wait_until_quiet()


def _told(scene: Stand) -> Manifest:
    """What must be as it was."""
    statuses = {name: scene.status("ABExperiment", name) for name in _EXPERIMENTS}
    fields = ("phase", "decision", "startedAt")
    kept = scene.cluster.api.objects("ConfigMap", "app.kubernetes.io/name=ab-experiment")
    records = [item for item in kept if START_KEY in item["data"]]  # the looks for the report go with the experiment
    return {
        "routes": _models(scene),
        "experiments": {name: [status.get(field) for field in fields] for name, status in statuses.items()},
        "records": {item["metadata"]["name"]: [item["data"], item.get("immutable")] for item in records},
        "aliases": dict(scene.mlflow.aliases),
        "versions": [(version["name"], version["version"]) for version in scene.mlflow.versions],
    }


def _models(scene: Stand) -> Manifest:
    table = scene.cluster.api.object("ConfigMap", "anneal-router")
    models: Manifest = json.loads(table["data"]["routes.json"])["models"] if table else {}
    return models


def _who_answers(models: Manifest) -> dict[tuple[str, str], str]:
    """The version that each user gets of each model, where anybody gets one."""
    got: dict[tuple[str, str], str] = {}
    for model, route in models.items():
        arms = route["experiment"]["variants"] if route["experiment"] else [{"target": route["default"], "up_to": 1e9}]
        salt = route["experiment"]["salt"] if route["experiment"] else ""
        for user in _USERS:
            reached = bucket(salt, user)
            got[model, user] = next(arm["target"] for arm in arms if reached < arm["up_to"])
    return {asked: version for asked, version in got.items() if version}


def _manifests(scene: Stand) -> list[Manifest]:
    """As in Git: names and specs; experiments come before their versions."""
    found = [item for kind in _KINDS for item in scene.cluster.api.objects(kind)]
    kept = [{key: item[key] for key in ("apiVersion", "kind", "spec")} for item in found]
    return [{**some, "metadata": {"name": item["metadata"]["name"]}} for some, item in zip(kept, found, strict=True)]


def _lose(scene: Stand) -> None:
    """All objects of ours, their children and the records; the recorder's claim and the Secret have no owner."""
    kubectl = scene.cluster.kubectl
    kubectl("delete", ",".join(kind.lower() for kind in _KINDS), "--all", "--wait=true")
    kubectl("delete", "configmaps", "-l", "app.kubernetes.io/name=ab-experiment")

    def left() -> list[str]:
        items = scene.cluster.get(_CHILDREN)["items"]
        return [item["metadata"]["name"] for item in items if item["metadata"].get("ownerReferences")]

    assert poll(lambda: not left(), 60, every=0.5), left()


@contextmanager
def _tables(scene: Stand) -> Iterator[list[Manifest]]:
    """All that the routers were told meanwhile."""
    told: list[Manifest] = []
    is_over = threading.Event()

    def look() -> None:
        while not is_over.wait(0.05):
            models = _models(scene)
            if models and models not in told:
                told.append(models)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield told
    finally:
        is_over.set()
        thread.join()


def _moved(tables: Sequence[Manifest], answers: Mapping[tuple[str, str], str]) -> dict[tuple[str, str], str]:
    """Whom any table sent to another version than before."""
    told = [asked for table in tables for asked in _who_answers(table).items()]
    return {asked: version for asked, version in told if answers[asked] != version}


def test_a_restore_from_manifests_moves_nobody_and_decides_nothing_anew(scene: Stand) -> None:
    scene.lead()
    _live(scene)
    _wait_until_it_rests(scene)
    before, manifests, uids = _told(scene), _manifests(scene), set(scene.router.asked_of)
    answers = _who_answers(before["routes"])
    assert len(answers) == len(_USERS) * (1 + len(_EXPERIMENTS))
    scene.operator.end()
    _lose(scene)
    scene.router.asked_of.clear()
    scene.mlflow.writes.clear()
    scene.router.count(stable=4.0, tuned=3.0)  # whoever decided anew would decide otherwise
    for manifest in manifests:
        scene.cluster.apply(manifest)
    with _tables(scene) as tables:
        scene.lead()
        _wait_until_it_rests(scene)
    assert _told(scene) == before
    assert len(tables) > 0
    assert _moved(tables, answers) == {}
    assert scene.router.asked_of <= uids, "the recorder knows them by their first uids"
    anew = ("registered-models/alias", "model-versions/create")
    assert [write for write in scene.mlflow.writes if write.endswith(anew)] == []
    _has_begun_nothing_anew(scene)
    assert scene.operator.errors() == []


def _has_begun_nothing_anew(scene: Stand) -> None:
    """What was trained is not trained again, and what lost gets no pods."""
    job: dict[str, Any] = scene.status("FineTuneJob", "job")
    assert (job["phase"], job["reason"]) == ("Pending", "NameTaken")
    pods = [pod["metadata"]["labels"] for pod in scene.cluster.api.objects("Pod")]
    assert {own[VERSION_LABEL] for own in pods if VERSION_LABEL in own} == set(_VERSIONS) - _LOST
    assert [own for own in pods if "anneal.dev/stage" in own] == []
