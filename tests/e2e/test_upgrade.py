"""The operator replaced by another build, and back: a newer one that knows one more phase of each kind and more fields.

It is this build, changed in a copy. What it decided is neither lost nor decided anew by this one.
"""

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.api.specs import GOOD

from .conftest import CHECKOUT, Cluster
from .kept import lost
from .scripted_pods import at_home, scripted_spec
from .stand import Manifest, Stand, stand

pytestmark = [pytest.mark.timeout(600)]
_CHANGES: Mapping[str, str] = {
    '    phase: str = ""\n': '    build: str = "newer"\n    phase: str = ""\n',
    '    outcome: str\n    """`Winner`': '    power: float = 0.8\n    outcome: str\n    """`Winner`',
    '("Promoted", Reason.PROMOTED) if is_over': '("Simmering", Reason.PROMOTED) if is_over',
    "phase=phase if registry": "phase=phase.replace('Idle', 'Parked') if registry",
    '"publish": "Publishing"': '"publish": "Delivering"',
}
"""A newer build: what the operator's code says once, and what it says instead."""
_PUBLISHING_SECONDS = 5.0
_OF_A_VERSION = ("phase", "reason")
_OF_A_JOB_AT_WORK = ("activeSeconds", "activeSince", "phase", "reason", "conditions", "provenance")
OBJECTS = [("ABExperiment", "kept"), ("ModelVersion", "stable"), ("ModelVersion", "tuned"), ("ModelVersion", "parked")]


@pytest.fixture(scope="module")
def newer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the newer build is imported from."""
    folder = tmp_path_factory.mktemp("newer")
    shutil.copytree(CHECKOUT / "operator/anneal_operator", folder / "anneal_operator")
    for old, new in _CHANGES.items():
        files = [file for file in folder.rglob("*.py") for _ in range(file.read_text().count(old))]
        assert len(files) == 1, (
            f"{old!r} stands {len(files)} times in the code: say here how a newer build would differ"
        )
        files[0].write_text(files[0].read_text().replace(old, new))
    return folder


@pytest.fixture(scope="module")
def scene(running: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    """No operator is at work yet."""
    seconds = {"publish": _PUBLISHING_SECONDS}
    with stand(running, tmp_path_factory.mktemp("upgrade"), "upgrade", volumes=1, seconds=seconds) as made:
        made.router.count(stable=3.0, tuned=4.0)
        yield made


def test_what_a_newer_build_decided_stays_through_this_one_and_back(scene: Stand, newer: Path) -> None:
    _replace(scene, newer)
    _decide_something(scene)
    scene.operator.kill()
    before, aliases, record = _statuses(scene), dict(scene.mlflow.aliases), _record(scene)
    assert {before[one]["phase"] for one in OBJECTS} == {"Simmering", "Ready", "Parked"}
    job = scene.status("FineTuneJob", "job")
    for build in (None, newer):
        _replace(scene, build)
        scene.wait("FineTuneJob", "job", lambda status: status.get("phase") == "Succeeded")
        _work_on_something_else(scene, "another" if build else "other")
        now = _statuses(scene)
        assert lost(before["ABExperiment", "kept"], now["ABExperiment", "kept"]) == []
        for one in OBJECTS[1:]:
            assert lost(before[one], now[one], _OF_A_VERSION) == []
        assert lost(job, scene.status("FineTuneJob", "job"), _OF_A_JOB_AT_WORK) == []
        kept = {held: version for held, version in scene.mlflow.aliases.items() if held[0] in {"kept", "parked"}}
        assert (kept, _record(scene)) == (aliases, record)
    assert {now[one]["phase"] for one in OBJECTS} == {"Simmering", "Ready", "Parked"}
    stages = [pod["metadata"]["labels"]["anneal.dev/stage"] for pod in _pods(scene)]
    assert sorted(stages) == ["evaluate", "prepare", "publish", "train"], "a stage was done more than once"
    assert scene.operator.errors() == []


def _replace(scene: Stand, build: Path | None) -> None:
    """End the operator and start another build of it, None for this one."""
    scene.operator.end()
    where = build or CHECKOUT / "operator"
    scene.operator.environment = {**scene.operator.environment, "PYTHONPATH": f"{where}:{CHECKOUT}"}
    scene.lead()


def _decide_something(scene: Stand) -> None:
    """An experiment with a verdict, versions with aliases, and a job that is being published."""
    for name in ("stable", "tuned"):
        serving = {**GOOD["ModelVersion"], "modelName": "kept", "aliases": [f"is-{name}"], "serving": {}}
        scene.submit("ModelVersion", name, at_home("ModelVersion", serving))
        scene.wait("ModelVersion", name, lambda status: status.get("phase") == "Ready")
    scene.submit("ModelVersion", "parked", {**GOOD["ModelVersion"], "modelName": "parked", "aliases": ["candidate"]})
    variants = [{"name": n, "modelVersionRef": {"name": n}, "weight": 50} for n in ("stable", "tuned")]
    stopping = {"minUsersPerVariant": 10, "minDuration": "0s"}
    changed = {"modelName": "kept", "variants": variants, "stopping": stopping}
    scene.submit("ABExperiment", "kept", {**GOOD["ABExperiment"], **changed})
    scene.wait("ABExperiment", "kept", lambda status: "decision" in status)
    for name in ("stable", "tuned", "parked"):
        scene.wait("ModelVersion", name, lambda status: bool(status["registry"]["aliases"]))
    scene.submit("FineTuneJob", "job", scripted_spec())
    scene.wait("FineTuneJob", "job", lambda status: status.get("phase") == "Delivering")


def _work_on_something_else(scene: Stand, name: str) -> None:
    """What came before has been looked at, too, once this is done and nothing more is written."""
    scene.submit("ModelVersion", name, {**GOOD["ModelVersion"], "modelName": "another"})
    scene.wait("ModelVersion", name, lambda status: "registry" in status)
    scene.wait_until_quiet()


def _statuses(scene: Stand) -> dict[tuple[str, str], Manifest]:
    return {(kind, name): scene.status(kind, name) for kind, name in OBJECTS}


def _record(scene: Stand) -> Manifest:
    items = scene.cluster.get("configmaps")["items"]
    (data,) = (item["data"] for item in items if item["metadata"]["name"].startswith("kept-record-"))
    return dict(data)


def _pods(scene: Stand) -> list[Manifest]:
    found: list[Manifest] = scene.cluster.get("pods", "-l", "anneal.dev/fine-tune-job=job")["items"]
    return found
