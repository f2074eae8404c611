"""A ModelVersion: registered once, served, given `production` where nobody holds it, followed where it is moved."""

import json
from typing import Any

import pytest

from anneal_operator.desired.routing import routed_versions, stamp_of
from anneal_operator.errors import ApiError, RefusedVersionError
from anneal_operator.reconcile.queue import Key
from serving_runtime.plan import Downloaded, Stamp

from .world import NAMESPACE, Manifest, World

SPEC: dict[str, Any] = {
    "modelName": "spam",
    "artifact": {"uri": "mlflow-artifacts:/1/r/artifacts/model", "format": "Full", "digest": "sha256:" + "0" * 64},
    "aliases": ["base"],
    "serving": {},
}
EXPERIMENT: dict[str, Any] = {
    "modelName": "spam",
    "control": "a",
    "variants": [
        {"name": "a", "modelVersionRef": {"name": "one"}, "weight": 1},
        {"name": "b", "modelVersionRef": {"name": "two"}, "weight": 1},
    ],
    "metrics": {"primary": {"name": "rating"}},
}
COLD_START = {
    "pod": "one-server-1",
    "readyAt": "2026-01-01T00:01:00Z",
    "schedulingSeconds": 1,
    "imageSeconds": 1,
    "loadingSeconds": 1,
}
UNSERVED = {name: value for name, value in SPEC.items() if name != "serving"}


@pytest.fixture
def world() -> World:
    """One version, not looked at yet."""
    made = World()
    made.api.put("ModelVersion", "one", spec=SPEC)
    return made


def _look(world: World, name: str = "one", times: int = 1) -> float | None:
    return world.reconcile("ModelVersion", name, times)


def _route(world: World) -> float | None:
    return world.reconcile("Router", "anneal-router")


def _tell_routers(world: World) -> None:
    """Have the table written, and the routers asked."""
    _route(world)
    _route(world)


def _answer(world: World, name: str = "one", ready: int = 1) -> None:
    generation = world.api.objects["Deployment", f"{name}-server"]["metadata"]["generation"]
    status = {"observedGeneration": generation, "readyReplicas": ready, "updatedReplicas": ready}
    world.api.edit("Deployment", f"{name}-server", status=status)


def _status(world: World, name: str = "one") -> dict[str, Any]:
    return world.api.status("ModelVersion", name)


def _condition(world: World, kind: str, name: str = "one") -> tuple[str, str]:
    found: dict[str, Any] = next((c for c in _status(world, name)["conditions"] if c["type"] == kind), {})
    return found.get("status", ""), found.get("reason", "")


def _message(world: World, kind: str) -> str:
    return str(next(c["message"] for c in _status(world)["conditions"] if c["type"] == kind))


def _serve(world: World, *names: str) -> None:
    """Have versions registered, served and answering, and the routers know of it."""
    for name in names:
        _look(world, name, 2)
        _answer(world, name)
        _look(world, name, 2)
    _tell_routers(world)


def test_it_is_registered_once_served_and_given_production(world: World) -> None:
    _look(world)
    made = ["Secret/anneal-router", "Service/one-server", "Deployment/one-server", "ModelVersion/one/status"]
    assert world.writes() == made
    assert (_status(world)["phase"], _status(world)["replicas"]) == ("Registering", 1)
    assert _status(world).get("readyReplicas", 0) == 0
    _look(world, times=2)
    assert _status(world)["phase"] == "Loading"
    _answer(world)
    _look(world, times=2)
    assert (_status(world)["phase"], _status(world)["registry"]["aliases"]) == ("Ready", ["base", "production"])
    assert _status(world)["registry"]["aliasSummary"] == "base, production"
    world.writes()
    _look(world)
    assert world.writes() == []
    assert len(world.registry.versions) == 1


def test_a_second_version_is_not_given_production(world: World) -> None:
    world.api.put("ModelVersion", "two", spec=SPEC | {"aliases": []})
    _serve(world, "one", "two")
    assert _status(world, "two")["registry"]["aliases"] == []
    assert "aliasSummary" not in _status(world, "two")["registry"]
    assert world.registry.aliases["spam", "production"] == "1"


def test_an_alias_that_somebody_moved_is_not_set_again(world: World) -> None:
    _look(world, times=3)
    world.registry.aliases["spam", "base"] = "7"
    _look(world)
    assert world.registry.aliases["spam", "base"] == "7"
    assert _status(world)["registry"]["aliases"] == []


def test_an_alias_that_somebody_moved_is_not_set_again_where_the_status_was_lost(world: World) -> None:
    _look(world, times=3)
    world.registry.aliases["spam", "base"] = "7"
    world.models.clear()
    world.api.edit("ModelVersion", "one", status={})
    _look(world, times=3)
    assert world.registry.aliases["spam", "base"] == "7"
    assert _status(world)["registry"]["version"] == "1"


def test_a_new_alias_in_the_spec_is_set(world: World) -> None:
    _look(world, times=3)
    world.api.edit("ModelVersion", "one", spec=SPEC | {"aliases": ["base", "staging"]})
    _look(world, times=2)
    assert world.registry.aliases["spam", "staging"] == "1"


def test_mlflow_down_is_told_and_delays_no_server(world: World) -> None:
    world.registry.down = True
    _look(world)
    assert _status(world)["phase"] == "Registering"
    assert _condition(world, "Registered") == ("False", "RegistryUnreachable")
    assert ("Deployment", "one-server") in world.api.objects
    assert world.registry.calls == []
    world.registry.down = False
    _serve(world, "one")
    world.registry.down = True
    _look(world)
    assert (_status(world)["phase"], _status(world)["registry"]["version"]) == ("Ready", "1")


def test_a_version_that_mlflow_refuses_is_told_and_not_taken_for_a_dead_mlflow(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(_: Any) -> None:
        raise RefusedVersionError("`provenance.mlflowRunId` has to name the run")

    with monkeypatch.context() as patched:
        patched.setattr(world.registry, "register", refuse)
        again = _look(world)
    assert _condition(world, "Registered") == ("False", "RegistrationRefused")
    assert _status(world)["reason"] == "RegistrationRefused"
    assert again is not None
    assert again >= 5.0, "the run may yet come"
    _look(world, times=2)
    assert _condition(world, "Registered") == ("True", "Registered")


def test_another_namespaces_model_is_left_alone_and_told(world: World) -> None:
    world.registry.owners["spam"] = "another"
    _look(world)
    assert _condition(world, "Registered") == ("False", "ModelOfAnotherNamespace")
    assert "another" in _message(world, "Registered")
    assert world.registry.versions == []


def test_an_engine_that_ends_says_what_it_said(world: World) -> None:
    _look(world, times=2)
    ended = {"reason": "Error", "exitCode": 77, "message": "line\nerror: the manifest differs"}
    state = {"waiting": {"reason": "CrashLoopBackOff"}}
    world.api.put(
        "Pod",
        "p",
        metadata={"labels": {"anneal.dev/model-version": "one"}},
        status={"containerStatuses": [{"state": state, "lastState": {"terminated": ended}}]},
    )
    _look(world)
    assert (_status(world)["phase"], _condition(world, "Ready")[1]) == ("Failed", "EngineFailed")
    assert world.api.warnings == ["EngineFailed"]
    assert "error: the manifest differs" in _message(world, "Ready")
    assert _condition(world, "Stalled")[0] == "True"


NO_NODE = {"conditions": [{"type": "PodScheduled", "status": "False", "message": "1 Insufficient nvidia.com/gpu."}]}


def _awaits_a_gpu(world: World, *, modes: list[str]) -> None:
    """A version whose cache is a claim, and whose pod has no node."""
    world.api.edit("ModelVersion", "one", spec=SPEC | {"serving": {"cache": {"claimName": "models"}}})
    _look(world, times=2)
    world.api.put("PersistentVolumeClaim", "models", status={"phase": "Bound", "accessModes": modes})
    world.api.put("Pod", "p", metadata={"labels": {"anneal.dev/model-version": "one"}}, status=NO_NODE)
    world.writes()


def test_weights_are_fetched_to_the_claim_while_a_gpu_is_awaited(world: World) -> None:
    _awaits_a_gpu(world, modes=["ReadWriteMany"])
    _look(world)
    assert world.writes() == ["Job/one-weights", "ModelVersion/one/status"]
    world.routers.downloads["http://10.0.0.8:8000"] = Downloaded(bytes=10, total_bytes=100, bytes_per_second=9)
    state = {"running": {"startedAt": "2026-03-01T12:00:00Z"}}
    fetcher = {"podIP": "10.0.0.8", "containerStatuses": [{"name": "weights", "state": state}]}
    world.api.put("Pod", "f", metadata={"labels": {"anneal.dev/weights-of": "one"}}, status=fetcher)
    assert _look(world, times=2) == 10.0
    assert (_status(world)["download"]["bytes"], _status(world)["phase"]) == (10, "Loading")
    assert _condition(world, "Ready") == ("False", "Unschedulable")
    assert "; meanwhile its weights are brought to the claim: " in _message(world, "Ready")
    world.writes()
    _look(world)
    assert world.writes() == []
    world.api.edit("Job", "one-weights", status={"conditions": [{"type": "Complete", "status": "True"}]})
    world.later(10)
    _look(world)
    assert _message(world, "Ready").endswith("; its weights are on the claim by now")
    world.api.edit("Pod", "p", status={"conditions": [{"type": "PodScheduled", "status": "True"}]})
    world.writes()
    _look(world)
    assert world.writes()[0] == "Job/one-weights/delete"
    assert ("Job", "one-weights") not in world.api.objects


@pytest.mark.parametrize("serving", [{}, {"cache": {"claimName": "other"}}, None])
def test_what_fetches_weights_goes_where_they_are_wanted_there_no_more(
    world: World, serving: dict[str, Any] | None
) -> None:
    _awaits_a_gpu(world, modes=["ReadWriteMany"])
    _look(world)
    assert ("Job", "one-weights") in world.api.objects
    world.api.edit("ModelVersion", "one", spec=UNSERVED if serving is None else SPEC | {"serving": serving})
    _look(world, times=3)
    assert ("Job", "one-weights") not in world.api.objects


def test_what_fetches_weights_is_made_anew_when_people_say_how_else_they_are_reached(world: World) -> None:
    _awaits_a_gpu(world, modes=["ReadWriteMany"])
    _look(world)
    env = [{"name": "HTTPS_PROXY", "value": "http://proxy:3128"}]
    serving = {"cache": {"claimName": "models"}, "podTemplate": {"env": env}}
    world.api.edit("ModelVersion", "one", spec=SPEC | {"serving": serving})
    _look(world, times=4)
    [made] = world.api.objects["Job", "one-weights"]["spec"]["template"]["spec"]["containers"]
    assert env[0] in made["env"]
    world.writes()
    _look(world, times=2)
    assert world.writes() == []


@pytest.mark.parametrize("modes", [["ReadWriteOnce"], []])
def test_a_claim_that_not_every_node_can_write_to_is_left_to_the_pods(world: World, modes: list[str]) -> None:
    _awaits_a_gpu(world, modes=modes)
    _look(world, times=2)
    assert ("Job", "one-weights") not in world.api.objects


def test_somebody_else_s_job_of_that_name_is_left_alone_and_told(world: World) -> None:
    world.api.put("Job", "one-weights")
    _awaits_a_gpu(world, modes=["ReadWriteMany"])
    _look(world, times=2)
    assert _condition(world, "Reconciling") == ("True", "NameTaken")


def test_a_source_is_served_that_the_installation_names(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(vars(world.context.settings), "artifact_sources", ["s3://models/"])
    _look(world, times=3)
    assert _condition(world, "Ready") == ("False", "SourceRefused")
    assert ("Deployment", "one-server") not in world.api.objects
    monkeypatch.setitem(vars(world.context.settings), "artifact_sources", ["mlflow-artifacts:/"])
    _look(world, times=2)
    assert ("Deployment", "one-server") in world.api.objects


def test_how_far_the_weights_are_is_asked_of_the_pods_that_bring_them(world: World) -> None:
    _look(world, times=2)
    brings = [{"name": "weights", "state": {"running": {"startedAt": "2026-03-01T11:59:00Z"}}}]
    for name, address in (("p", "10.2.0.1"), ("silent", "10.2.0.2"), ("without-address", "")):
        status = {"initContainerStatuses": brings, **({"podIP": address} if address else {})}
        world.api.put("Pod", name, metadata={"labels": {"anneal.dev/model-version": "one"}}, status=status)
    told = Downloaded(bytes=1, total_bytes=9, bytes_per_second=2)
    world.routers.downloads["http://10.2.0.1:8000"] = told
    assert _look(world) == 10.0
    assert _status(world)["download"] == {"bytes": 1, "totalBytes": 9, "bytesPerSecond": 2, "remaining": "4s"}
    for here in (2, 3):
        world.writes()
        world.routers.downloads["http://10.2.0.1:8000"] = told.model_copy(update={"bytes": here})
        _look(world)
    assert world.writes() == [], "numbers that change all the time are written every ten seconds at most"
    world.later(10)
    _look(world)
    assert _status(world)["download"]["bytes"] == 3


def test_without_serving_it_is_only_registered(world: World) -> None:
    world.api.put("ModelVersion", "one", spec=UNSERVED)
    _look(world, times=3)
    assert set(world.writes()) == {"ModelVersion/one/status"}
    assert (_status(world)["phase"], _status(world)["reason"]) == ("Idle", "NotServed")
    assert _condition(world, "Reconciling") == ("", "")


def test_an_object_of_its_servers_name_that_is_not_its_own_is_never_touched(world: World) -> None:
    foreign = world.api.put("Service", "one-server", spec={"selector": {"app": "foreign"}})
    _look(world)
    assert world.api.objects["Service", "one-server"] == foreign
    assert _status(world)["reason"] == "NameTaken"
    assert "one-server" in _message(world, "Reconciling")
    assert world.api.warnings == ["NameTaken"]


def test_an_admission_webhook_that_does_not_answer_is_told(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def unanswered(manifest: Manifest) -> Manifest:
        raise ApiError(500, f'failed calling webhook "quota.example.com" for {manifest["kind"]}: connection refused')

    monkeypatch.setattr(world.api, "apply", unanswered)
    assert _look(world) == 5.0
    assert (_status(world)["phase"], _condition(world, "Reconciling")) == (
        "Registering",
        ("True", "RefusedByApiServer"),
    )
    assert 'failed calling webhook "quota.example.com"' in _message(world, "Reconciling")
    assert [reason for reason, _ in world.api.events] == world.api.warnings == ["RefusedByApiServer"]


def test_an_api_server_that_fails_is_left_to_the_queue(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def failed(manifest: Manifest) -> Manifest:
        raise ApiError(500, f"{manifest['kind']}: etcd has no leader")

    monkeypatch.setattr(world.api, "apply", failed)
    with pytest.raises(ApiError):
        _look(world)


def test_what_others_changed_is_put_right_within_five_minutes(world: World) -> None:
    _serve(world, "one")
    made = world.api.objects["Deployment", "one-server"]
    world.api.edit("Deployment", "one-server", spec={**made["spec"], "replicas": 0})
    world.writes()
    world.later(301)
    _look(world)
    assert "Deployment/one-server" in world.writes()
    assert world.api.objects["Deployment", "one-server"]["spec"]["replicas"] == 1


def test_one_that_cannot_be_parsed_says_so_and_nothing_of_its_status_is_lost(world: World) -> None:
    _serve(world, "one")
    known = _status(world)
    world.api.edit("ModelVersion", "one", spec={**SPEC, "serving": {"replicas": "many"}})
    _look(world)
    assert {**_status(world), "conditions": [], "reason": ""} == {**known, "conditions": [], "reason": ""}
    assert (_status(world)["reason"], _condition(world, "Stalled")[1]) == ("SpecInvalid", "SpecInvalid")
    assert "serving.replicas" in _message(world, "Stalled")
    assert (world.api.events[-1][0], world.api.warnings) == ("SpecInvalid", ["SpecInvalid"])
    world.writes()
    _look(world)
    assert world.writes() == []
    world.api.edit("ModelVersion", "one", spec=SPEC)
    _look(world)
    assert (_status(world)["reason"], _condition(world, "Stalled")) == ("Answers", ("", ""))


def test_a_status_of_a_newer_operator_is_kept(world: World) -> None:
    _serve(world, "one")
    world.api.edit("ModelVersion", "one", status={**_status(world), "phase": "Hibernating", "dreams": {"deep": True}})
    _look(world)
    assert (_status(world)["phase"], _status(world)["dreams"]) == ("Ready", {"deep": True})


def test_a_status_that_cannot_be_read_is_not_overwritten(world: World) -> None:
    _look(world)
    world.api.edit("ModelVersion", "one", status={"phase": "Ready", "registry": "gone"})
    _look(world)
    assert (_status(world)["registry"], _status(world)["phase"]) == ("gone", "Ready")
    assert _status(world)["reason"] == "StatusUnreadable"
    assert world.api.warnings == ["StatusUnreadable"]


@pytest.mark.parametrize(("neighbour", "image"), [(SPEC, "server:1"), (UNSERVED, "server:2")])
def test_an_engine_waits_only_for_a_neighbour_that_is_served(
    world: World, monkeypatch: pytest.MonkeyPatch, neighbour: dict[str, Any], image: str
) -> None:
    _look(world)
    before = world.api.put("ModelVersion", "before", spec=neighbour)
    owned = {"annotations": {"anneal.dev/build": "another"}, "ownerReferences": [{"uid": before["metadata"]["uid"]}]}
    world.api.put("Deployment", "before-server", spec={}, metadata=owned)
    world.api.put("ModelVersion", "foreign", spec=SPEC)
    world.api.put("Deployment", "foreign-server", spec={}, metadata={"annotations": {"anneal.dev/build": "another"}})
    monkeypatch.setitem(vars(world.context.settings), "server_image", "server:2")
    _look(world)
    assert _made(world)[0] == image


def test_the_router_is_made_for_served_versions_and_written_only_when_it_changes(world: World) -> None:
    _serve(world, "one")
    world.writes()
    world.later(301)
    _route(world)
    assert world.writes() == []
    assert "ownerReferences" not in world.api.objects["PersistentVolumeClaim", "anneal-recorder"]["metadata"]
    assert Key("ModelVersion", NAMESPACE, "one") in world.woken
    world.registry.aliases["spam", "golden"] = "1"
    _look(world)
    world.writes()
    _route(world)
    assert world.writes() == ["ConfigMap/anneal-router"]
    world.api.remove("ModelVersion", "one")
    assert _route(world) is None


def test_a_router_is_not_made_for_a_version_that_goes_meanwhile(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    _serve(world, "one")
    kinds = ("Deployment", "Service", "ConfigMap", "ServiceAccount", "Role", "RoleBinding")
    for kind in (*kinds, "PodDisruptionBudget", "NetworkPolicy"):
        world.api.remove(kind, "anneal-router")
    world.later(301)
    listed, there = world.api.list, iter([True])

    async def once(kind: str, namespace: str, selector: str = "") -> list[Manifest]:
        if kind == "ModelVersion" and not next(there, False):
            return []
        return await listed(kind, namespace, selector)

    monkeypatch.setattr(world.api, "list", once)
    world.writes()
    _route(world)
    assert world.writes() == []


def test_it_tells_whether_clients_reach_it(world: World) -> None:
    world.api.put("ModelVersion", "two", spec=SPEC | {"aliases": []})
    _serve(world, "one", "two")
    for name in ("one", "two"):
        _look(world, name)
    assert _condition(world, "Routable") == ("True", "Routed")
    assert "spam@1 and spam" in _message(world, "Routable")
    assert _condition(world, "AliasDrifted") == ("False", "AsRouted")
    assert _condition(world, "AliasDrifted", "two") == ("", "")


def _table(world: World) -> dict[str, Any]:
    table: dict[str, Any] = json.loads(world.api.objects["ConfigMap", "anneal-router"]["data"]["routes.json"])
    return table


def test_one_that_cannot_be_parsed_keeps_its_route(world: World) -> None:
    """As after a downgrade: what a newer build wrote is not known here, and its clients stay where they are."""
    world.api.put("ModelVersion", "two", spec=SPEC | {"aliases": []})
    _serve(world, "one", "two")
    before = _table(world)
    assert before["models"]["spam"]["default"] == "one"
    world.api.edit("ModelVersion", "one", spec={**SPEC, "artifact": {**SPEC["artifact"], "format": "FP8"}})
    _look(world)
    _route(world)
    assert (_status(world)["reason"], _table(world)) == ("SpecInvalid", before)


@pytest.mark.parametrize("conditions", [["x"], [{"type": "Ready"}], 7])
def test_what_cannot_be_told_in_conditions_that_cannot_be_read_is_logged(
    world: World, caplog: pytest.LogCaptureFixture, conditions: Any
) -> None:
    world.api.edit("ModelVersion", "one", status={"phase": "Ready", "conditions": conditions})
    _look(world)
    assert world.writes() == []
    assert "ModelVersion team/one: the status cannot be read, so nothing is done: conditions" in caplog.text


def test_an_experiment_that_cannot_be_parsed_stops_nobody_else(world: World) -> None:
    world.api.put("ABExperiment", "x", spec=EXPERIMENT | {"decision": {"mode": "Other"}})
    world.reconcile("ABExperiment", "x")
    assert world.api.status("ABExperiment", "x")["reason"] == "SpecInvalid"
    _serve(world, "one")
    _look(world)
    assert (_status(world)["phase"], _condition(world, "Routable")) == ("Ready", ("True", "Routed"))
    assert _table(world)["models"]["spam"]["default"] == "one"


@pytest.mark.parametrize("spec", [{"clusterIP": "10.6.6.6"}, {"type": "ExternalName", "externalName": "x.y"}])
def test_a_service_that_is_not_its_own_gets_no_client(world: World, spec: dict[str, Any]) -> None:
    _serve(world, "one")
    before = _table(world)
    unserved = {name: value for name, value in SPEC.items() if name not in {"serving", "aliases"}}
    world.api.put("ModelVersion", "three", spec=unserved)
    _look(world, "three", 3)
    world.api.put("Service", "three-server", spec=spec)
    world.api.edit("ModelVersion", "three", spec=SPEC)
    _look(world, "three", 2)
    _route(world)
    assert (_status(world, "three")["reason"], _table(world)) == ("NameTaken", before)


def test_a_server_goes_with_the_wish_for_it(world: World) -> None:
    _serve(world, "one")
    world.api.edit("ModelVersion", "one", spec=UNSERVED)
    _look(world)
    assert _status(world)["phase"] == "Draining"
    world.later(30)
    world.writes()
    _look(world)
    assert world.writes()[:2] == ["Service/one-server/delete", "Deployment/one-server/delete"]
    assert (_status(world)["phase"], _status(world)["reason"]) == ("Idle", "NotServed")
    foreign = world.api.put("Service", "one-server", spec={})
    _look(world)
    assert world.api.objects["Service", "one-server"] == foreign


def test_what_has_long_had_no_pods_is_retired_and_woken_by_production(world: World) -> None:
    world.api.put("ModelVersion", "two", spec=SPEC | {"aliases": []})
    _serve(world, "one", "two")
    world.api.edit("ModelVersion", "two", spec=SPEC | {"serving": {"replicas": 0, "retireAfter": "10m"}})
    _look(world, "two", 2)
    _tell_routers(world)
    for seconds in (0, 31, 601):
        world.later(seconds)
        _look(world, "two", 2)
    assert (_status(world, "two")["phase"], _status(world, "two")["reason"]) == ("Retired", "Retired")
    assert ("Deployment", "two-server") not in world.api.objects
    assert ("Service", "two-server") not in world.api.objects
    world.writes()
    _look(world, "two")
    assert world.writes() == []
    world.api.edit("ModelVersion", "two", spec=SPEC | {"serving": {"replicas": 1, "retireAfter": "10m"}})
    world.registry.aliases["spam", "production"] = "2"
    _look(world, "two", 2)
    assert (_status(world, "two")["phase"], _pods_of(world, "two")) == ("Loading", 1)


@pytest.mark.parametrize("failing", ["Service", "Deployment"])
def test_a_server_goes_whole_though_a_deletion_fails(
    world: World, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    world.api.edit("ModelVersion", "one", spec=SPEC | {"serving": {"replicas": 0}})
    _look(world, times=4)
    assert _status(world)["phase"] == "Idle"
    world.api.edit("ModelVersion", "one", spec=UNSERVED)
    delete = world.api.delete

    async def failed(kind: str, namespace: str, name: str, uid: str) -> None:
        if kind == failing:
            raise ApiError(500, "etcd has no leader")
        await delete(kind, namespace, name, uid)

    monkeypatch.setattr(world.api, "delete", failed)
    with pytest.raises(ApiError):
        _look(world)
    monkeypatch.setattr(world.api, "delete", delete)
    _look(world, times=3)
    assert not [kind for kind in ("Service", "Deployment") if (kind, "one-server") in world.api.objects]


def test_engines_are_brought_up_to_date_one_after_the_other(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.api.put("ModelVersion", "two", spec=SPEC | {"aliases": []})
    _serve(world, "one", "two")
    world.api.edit("ModelVersion", "one", status=_status(world) | {"coldStart": COLD_START})
    monkeypatch.setitem(vars(world.context.settings), "server_image", "server:2")
    images = []
    for pods, updated in ((1, None), (1, 0), (2, 1), (1, 1)):
        if updated is not None:  # the old pod answers, and is counted, until the new one does
            told = {"observedGeneration": 2, "replicas": pods, "readyReplicas": 1, "updatedReplicas": updated}
            world.api.edit("Deployment", "one-server", status=told)
        _look(world, "one")
        _look(world, "two")
        images.append([_made(world, name)[0] for name in ("one", "two")])
    assert images == [*[["server:2", "server:1"]] * 3, ["server:2", "server:2"]]


@pytest.mark.parametrize(
    ("observed", "updated", "reason", "image"),
    [
        (2, 1, "NewReplicaSetAvailable", "server:2"),  # it came, and its pod crashes, or was evicted, since
        (2, 0, "NewReplicaSetAvailable", "server:2"),  # or cannot be made again, as by a quota
        (1, 1, "NewReplicaSetAvailable", "server:1"),  # that was told of how it was made before
        (2, 1, "ReplicaSetUpdated", "server:1"),
        (2, 1, "ProgressDeadlineExceeded", "server:1"),
    ],
)
def test_an_engine_that_was_brought_up_to_date_and_fails_later_holds_nobody_up(
    world: World, monkeypatch: pytest.MonkeyPatch, observed: int, updated: int, reason: str, image: str
) -> None:
    world.api.put("ModelVersion", "two", spec=SPEC | {"aliases": []})
    _serve(world, "one", "two")
    world.api.edit("ModelVersion", "one", status=_status(world) | {"coldStart": COLD_START})
    monkeypatch.setitem(vars(world.context.settings), "server_image", "server:2")
    _look(world)
    told = {"observedGeneration": observed, "replicas": updated, "readyReplicas": 0, "updatedReplicas": updated}
    progress = {"type": "Progressing", "status": "True", "reason": reason}
    world.api.edit("Deployment", "one-server", status=told | {"conditions": [progress]})
    _look(world, "two")
    assert (_made(world)[0], _made(world, "two")[0]) == ("server:2", image)


def _made(world: World, name: str = "one") -> tuple[str, int, Any]:
    """A version's image, how many pods, and the CPUs of each."""
    spec = world.api.objects["Deployment", f"{name}-server"]["spec"]
    (container,) = spec["template"]["spec"]["containers"]
    return container["image"], spec["replicas"], container["resources"]["requests"]["cpu"]


def test_in_an_experiment_its_pods_stay_as_they_are_but_for_their_number_and_what_people_change(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    _serve(world, "one")
    world.api.put("ABExperiment", "x", spec=EXPERIMENT, status={"phase": "Running"})
    monkeypatch.setitem(vars(world.context.settings), "server_image", "server:2")
    world.writes()
    _look(world, times=2)
    assert _made(world) == ("server:1", 1, "1")
    assert "Deployment/one-server" not in world.writes()
    world.api.edit("ModelVersion", "one", spec=SPEC | {"serving": {"replicas": 3}})
    _look(world, times=2)
    assert _made(world) == ("server:1", 3, "1")
    assert world.writes().count("Deployment/one-server/patch") == 1
    _answer(world, ready=3)
    _look(world)
    assert _message(world, "Ready").endswith("it is brought up to date when its experiment is decided")
    changed = {"serving": {"replicas": 3, "resources": {"requests": {"cpu": "2"}}}}
    world.api.edit("ModelVersion", "one", spec=SPEC | changed)
    _look(world, times=2)
    assert _made(world) == ("server:2", 3, "2")


def test_what_people_change_of_an_earlier_builds_engine_is_remembered_until_it_is_applied(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    _serve(world, "one")
    metadata = world.api.objects["Deployment", "one-server"]["metadata"]
    world.api.edit("Deployment", "one-server", metadata=metadata | {"annotations": {"anneal.dev/build": "earlier"}})
    world.api.put("ABExperiment", "x", spec=EXPERIMENT, status={"phase": "Running"})
    monkeypatch.setitem(vars(world.context.settings), "server_image", "server:2")
    _look(world)
    assert _made(world) == ("server:1", 1, "1")
    changed = {"serving": {"resources": {"requests": {"cpu": "2"}}}}
    metadata = world.api.objects["ModelVersion", "one"]["metadata"]
    world.api.edit("ModelVersion", "one", spec=SPEC | changed, metadata=metadata | {"generation": 2})
    world.api.refuses["Deployment"] = ApiError(403, "exceeded quota: pods")
    _look(world, times=2)
    assert (_made(world), _status(world)["observedGeneration"]) == (("server:1", 1, "1"), 1)
    del world.api.refuses["Deployment"]
    _look(world, times=2)
    assert (_made(world), _status(world)["observedGeneration"]) == (("server:2", 1, "2"), 2)


@pytest.mark.parametrize("change", [{"ownerReferences": []}, {"deletionTimestamp": "2026-01-01T00:00:00Z"}])
def test_a_deployment_that_is_foreign_or_ends_is_neither_scaled_nor_waited_for(
    world: World, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any]
) -> None:
    world.api.put("ModelVersion", "two", spec=SPEC | {"aliases": []})
    _serve(world, "one", "two")
    metadata = world.api.objects["Deployment", "one-server"]["metadata"] | change
    world.api.edit("Deployment", "one-server", metadata=metadata)
    monkeypatch.setitem(vars(world.context.settings), "server_image", "server:2")
    _look(world, "two")
    assert _made(world, "two")[0] == "server:2"
    world.api.put("ABExperiment", "x", spec=EXPERIMENT, status={"phase": "Running"})
    world.api.edit("ModelVersion", "one", spec=SPEC | {"serving": {"replicas": 3}})
    world.writes()
    _look(world, times=2)
    assert not [write for write in world.writes() if write.startswith("Deployment/one-server")]
    assert (_made(world)[1], _status(world)["reason"]) == (1, "NameTaken")


def test_a_quota_that_is_used_up_is_told(world: World) -> None:
    _look(world, times=2)
    told = {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "exceeded quota: gpus"}
    world.api.edit("Deployment", "one-server", status={"observedGeneration": 1, "conditions": [told]})
    _look(world)
    assert (_status(world)["phase"], _status(world)["reason"]) == ("Loading", "RefusedByApiServer")
    assert _message(world, "Ready") == "0 of 1 pods answer: no pod can be made: exceeded quota: gpus"


def test_a_manifest_that_is_applied_again_keeps_production(world: World) -> None:
    """As after a restore without statuses: new uids, MLflow as it was."""
    world.api.put("ModelVersion", "two", spec=SPEC | {"aliases": []})
    _serve(world, "one", "two")
    assert world.registry.aliases["spam", "production"] == "1"
    for name in ("one", "two"):
        for kind in ("Deployment", "Service"):
            world.api.remove(kind, f"{name}-server")
        world.api.remove("ModelVersion", name)
        _look(world, name)
    world.api.remove("ConfigMap", "anneal-router")
    for name in ("one", "two"):
        world.api.put("ModelVersion", name, spec=SPEC | {"aliases": []})
    _serve(world, "one", "two")
    _look(world)
    _route(world)
    assert _table(world)["models"]["spam"]["default"] == "one"
    assert len(world.registry.versions) == 2


def test_a_policy_that_is_refused_takes_no_recorder_away(world: World) -> None:
    _look(world, times=3)
    world.api.refuses["NetworkPolicy"] = ApiError(422, "ipBlock.cidr: Invalid value")
    _route(world)
    _route(world)
    assert ("Deployment", "anneal-recorder") in world.api.objects


def test_what_keeps_the_router_from_being_made_is_told_by_the_versions(world: World) -> None:
    _look(world, times=3)
    world.api.refuses["Deployment"] = ApiError(403, "exceeded quota: pods")
    first, second = (_route(world) or 0.0 for _ in range(2))
    assert 0 < first < second, "it is tried again, ever later"
    _look(world)
    assert _condition(world, "Routable") == ("Unknown", "RefusedByApiServer")
    assert "exceeded quota: pods" in _message(world, "Routable")
    del world.api.refuses["Deployment"]
    world.woken.clear()
    _route(world)
    assert Key("ModelVersion", NAMESPACE, "one") in world.woken
    _look(world)
    assert _condition(world, "Routable")[1] != "RefusedByApiServer"


def test_an_alias_moved_by_hand_is_followed_once_its_version_answers(world: World) -> None:
    world.api.put("ModelVersion", "two", spec=SPEC | {"aliases": []})
    _serve(world, "one", "two")
    _answer(world, "two", ready=0)
    world.registry.aliases["spam", "production"] = "2"
    for _ in range(2):
        _look(world)
        _look(world, "two")
        _tell_routers(world)
    assert _condition(world, "AliasDrifted", "two") == ("True", "HeldByAnother")
    assert "spam@1 and spam" in _message(world, "Routable")
    _answer(world, "two")
    for _ in range(2):
        _look(world, "two")
        _tell_routers(world)
        _look(world)
    _look(world, "two")
    assert _condition(world, "AliasDrifted", "two") == ("False", "AsRouted")


def test_the_others_keep_their_route_when_the_holder_of_production_is_deleted(world: World) -> None:
    world.api.put("ModelVersion", "two", spec=SPEC | {"aliases": []})
    _serve(world, "one", "two")
    _look(world, "two")
    world.api.remove("ModelVersion", "one")
    _tell_routers(world)
    _look(world, "two")
    message = next(c["message"] for c in _status(world, "two")["conditions"] if c["type"] == "Routable")
    assert message == "clients reach it as spam@2 and spam"


def _pods_of(world: World, name: str = "one") -> int:
    return int(world.api.objects["Deployment", f"{name}-server"]["spec"]["replicas"])


def _stamp(world: World) -> Stamp:
    stamp = stamp_of(world.api.objects["ConfigMap", "anneal-router"])
    assert stamp is not None
    return stamp


def _routed(world: World) -> frozenset[str]:
    return routed_versions(world.api.objects["ConfigMap", "anneal-router"])


def test_a_version_that_is_being_deleted_is_not_routed(world: World) -> None:
    world.api.put("ModelVersion", "two", spec=SPEC | {"aliases": []})
    _serve(world, "one", "two")
    assert _routed(world) == {"one", "two"}
    metadata = world.api.objects["ModelVersion", "one"]["metadata"]
    world.api.edit("ModelVersion", "one", metadata={**metadata, "deletionTimestamp": "2026-03-01T12:00:00Z"})
    _route(world)
    assert _routed(world) == {"two"}


def test_a_version_without_pods_is_not_routed_though_its_service_is_there(world: World) -> None:
    world.api.put("ModelVersion", "two", spec=SPEC | {"aliases": []})
    _serve(world, "one", "two")
    _look(world)
    world.registry.aliases["spam", "production"] = "2"
    world.api.edit("ModelVersion", "one", spec=SPEC | {"serving": {"replicas": 0}})
    _look(world)
    assert (_status(world)["phase"], _pods_of(world)) == ("Draining", 1)
    _route(world)
    assert _routed(world) == {"two"}
    _look(world)
    assert (_status(world)["phase"], _condition(world, "Routable")) == ("Draining", ("Unknown", "RouterBehind"))
    _route(world)
    assert _look(world) == 30.5
    assert (_status(world)["phase"], _condition(world, "Routable")) == ("Draining", ("False", "NotRouted"))
    world.later(31)
    _look(world)
    assert (_status(world)["phase"], _pods_of(world)) == ("Idle", 0)
    assert ("Service", "one-server") in world.api.objects
    _route(world)
    assert _routed(world) == {"two"}
    world.writes()
    _look(world)
    assert world.writes() == []


def test_a_server_that_is_not_asked_for_any_more_stays_until_every_router_has_left_it(world: World) -> None:
    world.api.put("ModelVersion", "two", spec=SPEC | {"aliases": []})
    _serve(world, "one", "two")
    world.api.edit("ModelVersion", "one", spec=UNSERVED)
    _look(world)
    assert _status(world)["phase"] == "Draining"
    world.routers.silent = {"10.1.0.2"}
    world.routers.has["10.1.0.2"] = world.routers.has.get("10.1.0.2") or _stamp(world)
    _tell_routers(world)
    _look(world)
    assert ("Deployment", "one-server") in world.api.objects, "a router may still send it requests"
    assert "router pod router-2 has not applied generation 2" in _message(world, "Ready")
    world.routers.silent, world.routers.has = set(), {}
    _route(world)
    assert _look(world) == 30.5
    assert (_status(world)["phase"], _condition(world, "Routable")) == ("Draining", ("False", "NotRouted"))
    world.later(29)
    _look(world)
    assert {("Service", "one-server"), ("Deployment", "one-server")} <= set(world.api.objects), "answers are under way"
    world.later(1)
    _look(world, times=2)
    assert not {("Service", "one-server"), ("Deployment", "one-server")} & set(world.api.objects)
    assert (_status(world)["phase"], _condition(world, "Routable")) == ("Idle", ("", ""))


def _served(world: World) -> None:
    _look(world, times=3)
    _answer(world)
    for _ in range(3):
        _look(world)
        _route(world)


@pytest.mark.parametrize("data", [{}, {"routes.json": "no JSON"}, {"routes.json": "[]"}, None])
def test_a_route_table_that_somebody_spoilt_is_written_anew(world: World, data: Any) -> None:
    _served(world)
    good = _table(world)
    world.api.edit("ConfigMap", "anneal-router", data=data)
    world.later(301)
    _look(world)
    _route(world)
    assert _table(world) == good | {"generation": good["generation"] + 1}, "it comes after what the routers have"


def test_the_recorder_s_volume_may_grow(world: World) -> None:
    _served(world)
    claim = world.api.objects["PersistentVolumeClaim", "anneal-recorder"]
    claim["spec"]["resources"]["requests"]["storage"] = "5Gi"
    world.api.changed("PersistentVolumeClaim", "anneal-recorder")
    world.writes()
    world.later(301)
    _route(world)
    assert world.writes() == []


def _recorder_volume(world: World) -> str:
    (data,) = (
        volume["persistentVolumeClaim"]["claimName"]
        for volume in world.api.objects["Deployment", "anneal-recorder"]["spec"]["template"]["spec"]["volumes"]
        if volume["name"] == "data"
    )
    return str(data)


def test_a_recorder_keeps_the_volume_that_it_had_in_the_router_s_pod(world: World) -> None:
    annotations = {"anneal.dev/owner": "anneal-router"}
    world.api.put("PersistentVolumeClaim", "anneal-router", spec={}, metadata={"annotations": annotations})
    _served(world)
    assert ("PersistentVolumeClaim", "anneal-recorder") not in world.api.objects
    assert _recorder_volume(world) == "anneal-router"


def test_a_foreign_volume_of_the_recorder_s_or_the_router_s_name_is_left_alone(world: World) -> None:
    world.api.put("PersistentVolumeClaim", "anneal-router", spec={"theirs": True})
    _served(world)
    assert _recorder_volume(world) == "anneal-recorder"
    assert world.api.objects["PersistentVolumeClaim", "anneal-router"]["spec"] == {"theirs": True}


def test_a_router_whose_pods_an_earlier_build_chose_by_other_labels_is_made_anew(world: World) -> None:
    _served(world)
    made = world.api.objects["Deployment", "anneal-router"]
    old = {**made["spec"], "selector": {"matchLabels": {"app.kubernetes.io/name": "router"}}}
    world.api.edit("Deployment", "anneal-router", spec=old)
    world.writes()
    world.later(301)
    _route(world)
    assert world.writes() == ["Deployment/anneal-router/delete", "Deployment/anneal-router"]
    chosen = world.api.objects["Deployment", "anneal-router"]["spec"]["selector"]
    assert chosen == {"matchLabels": {"anneal.dev/router": "anneal-router"}}
    world.later(301)
    _route(world)
    assert world.writes() == []


def test_a_foreign_deployment_of_the_router_s_name_is_left_alone(world: World) -> None:
    foreign = world.api.put("Deployment", "anneal-router", spec={"selector": {"matchLabels": {"theirs": "yes"}}})
    _served(world)
    assert world.api.objects["Deployment", "anneal-router"] == foreign


def test_a_router_is_brought_up_to_date_in_the_middle_of_an_experiment_too(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pod by pod: what it does to a user is the same in every build."""
    world.api.put("ModelVersion", "two", spec=SPEC | {"aliases": []})
    _serve(world, "one", "two")
    world.api.put("ABExperiment", "x", spec=EXPERIMENT, status={"phase": "Running"})
    _route(world)
    assert _table(world)["models"]["spam"]["experiment"]
    monkeypatch.setitem(vars(world.context.settings), "router_image", "router:2")
    _route(world)
    containers = world.api.objects["Deployment", "anneal-router"]["spec"]["template"]["spec"]["containers"]
    assert {container["image"] for container in containers} == {"router:2"}


def test_a_recorder_that_cannot_be_made_takes_no_router_away(world: World) -> None:
    world.api.put("PersistentVolumeClaim", "anneal-recorder", spec={"theirs": True})
    _served(world)
    assert world.api.objects["PersistentVolumeClaim", "anneal-recorder"]["spec"] == {"theirs": True}
    assert ("Deployment", "anneal-router") in world.api.objects
    assert ("Deployment", "anneal-recorder") not in world.api.objects


def _recorder_address(world: World) -> str | None:
    found: dict[str, Any] = world.api.objects.get(("ConfigMap", "anneal-recorder"), {"data": {}})["data"]
    return found.get("address")


def test_routers_are_told_where_the_recorder_is_also_after_its_service_was_made_anew(world: World) -> None:
    _look(world, times=3)
    assert (_route(world) or 9) <= 0.5, "nobody tells of its address"
    _route(world)
    assert _recorder_address(world) == "10.0.0.1:8081"
    spec = world.api.objects["Service", "anneal-recorder"]["spec"]
    world.api.edit("Service", "anneal-recorder", spec={**spec, "clusterIP": "10.0.0.9"})
    world.later(301)
    _route(world)
    assert _recorder_address(world) == "10.0.0.9:8081"
    world.api.remove("Service", "anneal-recorder")
    world.later(301)
    _route(world)
    _route(world)
    assert _recorder_address(world) == "10.0.0.1:8081"


def test_a_foreign_service_of_the_recorder_s_name_gets_no_record(world: World) -> None:
    world.api.put("Service", "anneal-recorder", spec={"clusterIP": "10.6.6.6"})
    _served(world)
    assert _recorder_address(world) is None
    assert (_route(world) or 0) >= 5.0, "it is not asked for all the time"
    assert ("Deployment", "anneal-router") in world.api.objects
