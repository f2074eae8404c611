"""Versions as adapters on one base: one engine for all, loaded before they are routed, moved without a gap."""

import json
from copy import deepcopy
from typing import Any

import pytest

from anneal_operator.api.model_version import ModelVersionSpec
from anneal_operator.desired.routing import stamp_of
from anneal_operator.desired.shared_base import engine_name
from anneal_operator.errors import ApiError
from anneal_operator.reconcile.queue import Key
from serving_runtime.plan import AdapterProblem, AdapterReport, Downloaded, LoadedAdapter

from .world import NAMESPACE, Manifest, World

BASE: dict[str, Any] = {"uri": "mlflow-artifacts:/1/base/artifacts/model", "digest": "sha256:" + "0" * 64}
SHARED = "anneal.dev/shared-base"


def spec(digit: str, **serving: Any) -> Manifest:
    artifact = {"uri": f"mlflow-artifacts:/1/{digit}/artifacts/adapter", "digest": "sha256:" + digit * 64}
    return {
        "modelName": "spam",
        "artifact": {**artifact, "format": "Adapter", "base": BASE},
        "serving": {"sharing": "SharedBase", **serving},
    }


class Shared:
    """Two adapters on one base, and what their engine's pods tell."""

    def __init__(self) -> None:
        self.world = World()
        self.api = self.world.api
        for digit, name in (("1", "one"), ("2", "two")):
            self.api.put("ModelVersion", name, spec=spec(digit))

    def look(self, *names: str, times: int = 1) -> float | None:
        """Have versions looked at, and then their engines."""
        for name in names or ("one", "two"):
            self.world.reconcile("ModelVersion", name, times)
        return self.world.reconcile("SharedBase", "anneal-shared-bases")

    def settle(self) -> None:
        for _ in range(3):
            self.look(times=2)

    @property
    def engines(self) -> list[str]:
        return sorted(name for kind, name in self.api.objects if kind == "Deployment" and "shared" in name)

    def wanted(self, engine: str) -> list[str]:
        return sorted(json.loads(self.api.objects["ConfigMap", engine]["data"]["adapters.json"])["adapters"])

    def pod(self, engine: str, name: str, address: str, *, ready: bool = True) -> None:
        """Set the scene: a pod of the engine."""
        labels = {SHARED: engine, "anneal.dev/shared-bases": "anneal-shared-bases"}
        conditions = [{"type": "Ready", "status": "True" if ready else "False"}]
        self.api.put("Pod", name, metadata={"labels": labels}, status={"podIP": address, "conditions": conditions})
        generation = self.api.objects["Deployment", engine]["metadata"]["generation"]
        counts = dict.fromkeys(("readyReplicas", "updatedReplicas", "replicas"), 1)
        self.api.edit("Deployment", engine, status={"observedGeneration": generation, **counts})

    def tell(self, address: str, *names: str, **problems: str) -> None:
        """Set the scene: what a pod has loaded."""
        digests = {"one": "sha256:" + "1" * 64, "two": "sha256:" + "2" * 64}
        loaded = {name: LoadedAdapter(digest=digests[name], verified_at="2026-03-01T11:00:00Z") for name in names}
        failed = {name: AdapterProblem(digest=digests[name], message=why) for name, why in problems.items()}
        self.world.routers.loaded[address] = AdapterReport(loaded=loaded, problems=failed)
        self.world.later(1)

    def phase(self, name: str) -> str:
        return str(self.api.status("ModelVersion", name)["phase"])

    def condition(self, name: str, kind: str = "Ready") -> tuple[str, str, str]:
        found = next(c for c in self.api.status("ModelVersion", name)["conditions"] if c["type"] == kind)
        return found["status"], found["reason"], found["message"]

    def targets(self) -> Manifest:
        """Where the routers send clients, once they are looked at."""
        self.world.reconcile("Router", "anneal-router", 2)
        table = json.loads(self.api.objects["ConfigMap", "anneal-router"]["data"]["routes.json"])
        found: Manifest = table["targets"]
        return found


@pytest.fixture
def shared() -> Shared:
    made = Shared()
    made.settle()
    return made


@pytest.fixture
def answering(shared: Shared) -> Shared:
    """Both answer, on one pod."""
    [engine] = shared.engines
    shared.pod(engine, "pod", "10.2.0.1")
    shared.tell("10.2.0.1", "one", "two")
    shared.settle()
    return shared


def test_one_engine_serves_both_and_belongs_to_both(shared: Shared) -> None:
    [engine] = shared.engines
    assert shared.wanted(engine) == ["one", "two"]
    for kind in ("Deployment", "Service", "ConfigMap"):
        owners = shared.api.objects[kind, engine]["metadata"]["ownerReferences"]
        assert [owner["name"] for owner in owners] == ["one", "two"]
        assert not any(owner.get("controller") for owner in owners)
    assert shared.api.status("ModelVersion", "one")["selector"] == f"{SHARED}={engine}"
    assert (shared.phase("one"), shared.phase("two")) == ("Loading", "Loading")


def test_they_answer_once_the_pod_tells_that_it_has_them(answering: Shared) -> None:
    assert (answering.phase("one"), answering.phase("two")) == ("Ready", "Ready")
    told = answering.api.status("ModelVersion", "one")["loadedOn"]
    assert told == [{"pod": "pod", "digest": "sha256:" + "1" * 64, "verifiedAt": "2026-03-01T11:00:00Z"}]
    assert all(answering.world.routers.keys), "it is asked with the engines' key"


def test_each_is_asked_by_its_own_name_at_the_same_pods(answering: Shared) -> None:
    [engine] = answering.engines
    targets = answering.targets()
    assert {name: target["model"] for name, target in targets.items()} == {"one": "one", "two": "two"}
    assert {target["service"] for target in targets.values()} == {engine}
    assert {target["public"] for target in targets.values()} == {""}


def test_nothing_is_written_while_nothing_changes(answering: Shared) -> None:
    answering.settle()
    answering.world.writes()
    assert answering.look(times=2) == 60.0
    assert answering.world.writes() == []


def test_a_new_one_is_asked_for_at_once_and_routed_when_all_pods_have_it(shared: Shared) -> None:
    [engine] = shared.engines
    shared.pod(engine, "p", "10.2.0.1")
    shared.pod(engine, "q", "10.2.0.2")
    shared.tell("10.2.0.1", "one", "two")
    shared.tell("10.2.0.2", "one")
    assert shared.look(times=2) == 1.0, "it is about to be loaded"
    shared.look(times=2)
    assert (shared.phase("one"), shared.phase("two")) == ("Ready", "Loading")
    assert set(shared.targets()) == {"one"}
    shared.tell("10.2.0.2", "one", "two")
    shared.look(times=2)
    shared.look(times=2)
    assert shared.phase("two") == "Ready"
    assert set(shared.targets()) == {"one", "two"}


def test_pods_are_told_of_a_change_and_no_pod_is_replaced(answering: Shared) -> None:
    [engine] = answering.engines
    before = answering.api.objects["Deployment", engine]["spec"]
    noted = answering.api.objects["Pod", "pod"]["metadata"]["annotations"]["anneal.dev/adapters"]
    answering.api.put("ModelVersion", "three", spec=spec("3"))
    answering.look("three", times=2)
    assert answering.wanted(engine) == ["one", "three", "two"]
    assert answering.api.objects["Deployment", engine]["spec"] == before
    assert answering.api.objects["Pod", "pod"]["metadata"]["annotations"]["anneal.dev/adapters"] != noted


def test_one_that_the_pod_lost_again_stays_routed_and_is_degraded(answering: Shared) -> None:
    [engine] = answering.engines
    answering.pod(engine, "q", "10.2.0.2")
    answering.tell("10.2.0.2", "two", one="the disk is full")
    for name in ("one", "two"):
        answering.api.objects["ModelVersion", name]["spec"]["serving"]["replicas"] = 2
        answering.api.changed("ModelVersion", name)
    answering.settle()
    assert answering.phase("one") == "Degraded"
    assert "the disk is full" in answering.condition("one")[2]
    assert set(answering.targets()) == {"one", "two"}


def test_why_an_adapter_is_refused_is_told_and_the_other_answers(shared: Shared) -> None:
    [engine] = shared.engines
    shared.pod(engine, "pod", "10.2.0.1")
    shared.tell("10.2.0.1", "two", one="it was trained on a base of digest sha256:5")
    shared.settle()
    assert (shared.phase("one"), shared.phase("two")) == ("Failed", "Ready")
    status, reason, message = shared.condition("one")
    assert (status, reason) == ("False", "AdapterRefused")
    assert "it was trained on a base of digest sha256:5" in message


def test_a_pod_that_does_not_answer_for_a_moment_changes_nothing(answering: Shared) -> None:
    told = answering.world.routers.loaded.pop("10.2.0.1")
    answering.world.later(100)
    answering.settle()
    assert answering.phase("one") == "Ready"
    answering.world.later(200)
    answering.settle()
    assert answering.phase("one") != "Ready", "nobody knows any more"
    answering.world.routers.loaded["10.2.0.1"] = told
    answering.world.later(60)
    answering.settle()
    assert answering.phase("one") == "Ready"


def test_one_that_is_not_wanted_is_not_loaded_and_the_last_one_takes_the_engine_along(answering: Shared) -> None:
    [engine] = answering.engines
    for name, left in (("two", ["one"]), ("one", [])):
        answering.api.objects["ModelVersion", name]["spec"]["serving"]["replicas"] = 0
        answering.api.objects["ModelVersion", name]["status"] |= {"replicas": 0, "phase": "Idle"}
        answering.api.changed("ModelVersion", name)
        answering.world.reconcile("SharedBase", "anneal-shared-bases")
        if left:
            assert answering.wanted(engine) == left
    assert answering.engines == []
    assert ("Service", engine) not in answering.api.objects


def test_changed_settings_move_a_version_when_its_new_engine_has_it(answering: Shared) -> None:
    [engine] = answering.engines
    answering.targets()
    answering.api.objects["ModelVersion", "one"]["spec"]["serving"]["dtype"] = "FP32"
    answering.api.objects["ModelVersion", "one"]["metadata"]["generation"] += 1
    answering.api.changed("ModelVersion", "one")
    answering.settle()
    [other] = [name for name in answering.engines if name != engine]
    assert (answering.wanted(engine), answering.wanted(other)) == (["one", "two"], ["one"])
    assert answering.phase("one") == "Ready"
    assert f"it moves to {other} once that answers with it" in answering.condition("one")[2]
    assert answering.targets()["one"]["service"] == engine
    answering.pod(other, "new", "10.2.0.3")
    answering.tell("10.2.0.3", "one")
    answering.settle()
    assert answering.phase("one") == "Ready"
    assert answering.targets()["one"]["service"] == other
    answering.look()
    answering.world.later(30)
    assert answering.look(times=2) == 60.0
    assert answering.wanted(engine) == ["two"]


def test_what_the_api_server_refuses_is_told_by_the_versions() -> None:
    shared = Shared()
    shared.api.refuses["Deployment"] = ApiError(403, "exceeded quota")
    shared.settle()
    assert "exceeded quota" in shared.condition("one")[2]
    del shared.api.refuses["Deployment"]
    shared.world.later(11)
    shared.settle()
    assert "exceeded quota" not in shared.condition("one")[2]


def test_another_build_is_brought_to_an_engine_outside_of_experiments_alone(
    answering: Shared, monkeypatch: pytest.MonkeyPatch
) -> None:
    [engine] = answering.engines
    variants = [{"name": name, "modelVersionRef": {"name": name}, "weight": 1} for name in ("one", "two")]
    experiment = {"modelName": "spam", "control": "one", "variants": variants, "metrics": {"primary": {"name": "r"}}}
    answering.api.put("ABExperiment", "x", spec=experiment, status={})
    monkeypatch.setitem(vars(answering.world.context.settings), "server_image", "server:2")

    def image() -> str:
        [container] = answering.api.objects["Deployment", engine]["spec"]["template"]["spec"]["containers"]
        return str(container["image"])

    answering.world.later(301)
    answering.settle()
    assert image() == "server:1"
    answering.api.remove("ABExperiment", "x")
    answering.world.later(301)
    answering.settle()
    assert image() == "server:2"


def test_news_wakes_the_versions_and_what_is_no_news_nobody(answering: Shared) -> None:
    answering.world.woken.clear()
    answering.world.reconcile("SharedBase", "anneal-shared-bases")
    assert answering.world.woken == []
    answering.tell("10.2.0.1", "one")
    answering.world.reconcile("SharedBase", "anneal-shared-bases")
    assert set(answering.world.woken) == {Key("ModelVersion", NAMESPACE, name) for name in ("one", "two")}


def test_a_namespace_without_adapters_is_left_alone() -> None:
    world = World()
    assert world.reconcile("SharedBase", "anneal-shared-bases") is None
    assert world.writes() == []


def test_a_new_one_of_a_source_that_is_not_served_is_refused_and_those_that_answer_go_on(
    answering: Shared, monkeypatch: pytest.MonkeyPatch
) -> None:
    [engine] = answering.engines
    monkeypatch.setitem(vars(answering.world.context.settings), "artifact_sources", ["mlflow-artifacts:/2/"])
    answering.api.put("ModelVersion", "three", spec=spec("3"))
    answering.look("one", "two", "three", times=3)
    assert answering.condition("three")[:2] == ("False", "SourceRefused")
    assert answering.wanted(engine) == ["one", "two"]
    assert (answering.phase("one"), answering.phase("two")) == ("Ready", "Ready")


def test_a_base_that_is_not_served_is_refused_by_its_own_field(monkeypatch: pytest.MonkeyPatch) -> None:
    shared = Shared()
    monkeypatch.setitem(vars(shared.world.context.settings), "artifact_sources", ["mlflow-artifacts:/1/1/"])
    shared.settle()
    assert shared.condition("one")[2].startswith("`artifact.base.uri` is mlflow-artifacts:/1/base/")
    assert shared.engines == []


def test_how_far_the_base_is_on_its_way_is_told_by_all_who_wait_for_it(shared: Shared) -> None:
    [engine] = shared.engines
    shared.pod(engine, "pod", "10.2.0.1", ready=False)
    brings = [{"name": "weights", "state": {"running": {"startedAt": "2026-03-01T11:59:00Z"}}}]
    shared.api.edit("Pod", "pod", status={"podIP": "10.2.0.1", "initContainerStatuses": brings})
    shared.world.routers.downloads["http://10.2.0.1:8000"] = Downloaded(bytes=1, total_bytes=9, bytes_per_second=2)
    shared.look(times=2)
    for name in ("one", "two"):
        assert shared.condition(name)[1] == "Downloading"
        assert shared.api.status("ModelVersion", name)["download"]["totalBytes"] == 9


def test_an_engine_has_the_time_that_its_base_takes_to_be_read() -> None:
    shared = Shared()
    for digit, name in (("1", "one"), ("2", "two")):
        given = spec(digit)
        given["artifact"]["base"] = BASE | {"bytes": 65_000_000_000}
        shared.api.put("ModelVersion", name, spec=given)
    shared.settle()
    [name] = shared.engines
    [engine] = shared.api.objects["Deployment", name]["spec"]["template"]["spec"]["containers"]
    assert engine["startupProbe"]["failureThreshold"] * engine["startupProbe"]["periodSeconds"] == 900 + 2 * 650


def test_one_that_differs_from_its_training_says_so(shared: Shared) -> None:
    [engine] = shared.engines
    shared.pod(engine, "pod", "10.2.0.1")
    shared.tell("10.2.0.1", "two", one="question 1 of 3 differs")
    shared.settle()
    assert shared.condition("one", "Loaded") == (
        "False",
        "AdapterRefused",
        "the adapter is not loaded: pod: question 1 of 3 differs",
    )
    assert shared.condition("two", "Loaded")[:2] == ("True", "AsTrained")


def test_a_version_that_is_scaled_gets_as_many_pods_as_the_shared_one_before_it_has(answering: Shared) -> None:
    api, world = answering.api, answering.world
    answering.targets()
    answering.settle()
    api.edit("ModelVersion", "one", spec=spec("1", replicas=3))
    answering.settle()
    artifact = {"uri": "mlflow-artifacts:/1/own/artifacts/model", "digest": "sha256:" + "4" * 64, "format": "Merged"}
    scaled = {"autoscaling": {"maxReplicas": 5}}
    api.put("ModelVersion", "own", spec={"modelName": "spam", "artifact": artifact, "serving": scaled})
    world.reconcile("ModelVersion", "own", 2)
    assert api.objects["Deployment", "own-server"]["spec"]["replicas"] == 1
    world.registry.aliases["spam", "production"] = api.status("ModelVersion", "own")["registry"]["version"]
    world.reconcile("ModelVersion", "own", 2)
    assert api.objects["Deployment", "own-server"]["spec"]["replicas"] == 3


def _engine_of(given: Manifest) -> str:
    return engine_name(ModelVersionSpec.parse(given))


def _restarted(shared: Shared) -> AdapterReport:
    """The operator begins anew, and the pod does not answer it."""
    shared.world.context.adapter_reports.clear()
    shared.world.context.readers.clear()
    return shared.world.routers.loaded.pop("10.2.0.1")


def test_a_moving_version_stays_where_it_answers_when_an_operator_begins_that_has_heard_nobody(
    answering: Shared,
) -> None:
    [engine] = answering.engines
    answering.targets()
    answering.api.edit("ModelVersion", "one", spec=spec("1", dtype="FP32"))
    answering.settle()
    told = _restarted(answering)
    answering.settle()
    assert answering.phase("one") == "Ready"
    assert answering.api.status("ModelVersion", "one")["selector"] == f"{SHARED}={engine}"
    assert answering.wanted(engine) == ["one", "two"]
    answering.world.routers.loaded["10.2.0.1"] = told
    answering.world.later(200)
    answering.settle()
    assert answering.phase("one") == "Ready"


def test_a_degraded_version_outlives_an_operator_that_has_heard_nobody(answering: Shared) -> None:
    [engine] = answering.engines
    answering.pod(engine, "q", "10.2.0.2")
    answering.tell("10.2.0.2", "two", one="the disk is full")
    for name in ("one", "two"):
        answering.api.edit("ModelVersion", name, spec=spec({"one": "1", "two": "2"}[name], replicas=2))
    answering.settle()
    answering.targets()
    assert answering.phase("one") == "Degraded"
    told = _restarted(answering)
    answering.settle()
    assert answering.phase("one") == "Degraded"
    assert [one["pod"] for one in answering.api.status("ModelVersion", "one")["loadedOn"]] == ["pod"]
    answering.world.routers.loaded["10.2.0.1"] = told
    answering.world.later(200)
    answering.settle()
    assert answering.phase("one") == "Degraded"


def test_a_version_outlives_that_its_pods_are_others_when_an_operator_begins(answering: Shared) -> None:
    [engine] = answering.engines
    answering.targets()
    told = _restarted(answering)
    answering.api.remove("Pod", "pod")
    answering.pod(engine, "another", "10.2.0.1")
    answering.settle()
    assert answering.phase("one") == "Ready"
    answering.world.routers.loaded["10.2.0.1"] = told
    answering.world.later(200)
    answering.settle()
    assert [one["pod"] for one in answering.api.status("ModelVersion", "one")["loadedOn"]] == ["another"]


def test_one_that_routers_still_ask_is_open_whatever_its_phase_was(answering: Shared) -> None:
    [engine] = answering.engines
    answering.targets()
    answering.pod(engine, "q", "10.2.0.2")
    answering.tell("10.2.0.2", "two", one="the disk is full")
    answering.api.objects["ModelVersion", "one"]["status"]["phase"] = "Failed"
    answering.api.changed("ModelVersion", "one")
    answering.look(times=2)
    assert answering.phase("one") == "Ready"


def test_an_engine_stays_as_it_is_until_the_last_router_has_left_it_and_answers_had_their_time(
    answering: Shared,
) -> None:
    [engine] = answering.engines
    answering.targets()
    for digit, name in (("1", "one"), ("2", "two")):
        answering.api.edit("ModelVersion", name, spec=spec(digit, dtype="FP32"))
    answering.settle()
    [other] = [name for name in answering.engines if name != engine]
    answering.pod(other, "new", "10.2.0.3")
    answering.tell("10.2.0.3", "one", "two")
    before = {kind: deepcopy(answering.api.objects[kind, engine]) for kind in ("ConfigMap", "Deployment", "Service")}
    answering.settle()
    assert answering.api.status("ModelVersion", "one")["selector"] == f"{SHARED}={other}"
    assert {kind: answering.api.objects[kind, engine] for kind in before} == before, "the table still names it"
    stamp = stamp_of(answering.api.objects["ConfigMap", "anneal-router"])
    assert stamp is not None
    answering.world.routers.has["10.1.0.1"] = stamp
    assert {target["service"] for target in answering.targets().values()} == {other}
    answering.world.later(60)
    assert answering.look() == 5.0
    assert engine in answering.engines, "a router goes by the table before it"
    del answering.world.routers.has["10.1.0.1"]
    answering.targets()
    answering.look()
    answering.world.later(29)
    answering.look()
    answering.world.context.leaving.clear()  # another operator begins
    answering.look()
    answering.world.later(29)
    answering.look()
    assert engine in answering.engines, "answers are under way"
    answering.world.later(1)
    answering.look(times=2)
    assert answering.engines == [other]


def test_what_is_refused_of_one_engine_keeps_no_other_from_its_adapters(
    answering: Shared, monkeypatch: pytest.MonkeyPatch
) -> None:
    [engine] = answering.engines
    lengths = (length for length in range(64, 640) if _engine_of(spec("3", maxModelLength=length)) < engine)
    bad = spec("3", maxModelLength=next(lengths))  # its engine is the first by name
    applied = answering.api.apply

    async def apply(manifest: Manifest) -> Manifest:
        if manifest["kind"] == "Deployment" and manifest["metadata"]["name"] != engine:
            raise ApiError(422, "Deployment is invalid")
        return await applied(manifest)

    monkeypatch.setattr(answering.api, "apply", apply)
    answering.api.put("ModelVersion", "bad", spec=bad)
    answering.look("bad", times=2)
    answering.api.put("ModelVersion", "three", spec=spec("4"))
    answering.look("bad", "three", times=2)
    assert answering.wanted(engine) == ["one", "three", "two"]
    assert "Deployment is invalid" in answering.condition("bad")[2]
