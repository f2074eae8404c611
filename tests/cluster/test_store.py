"""What the store keeps of what watches tell, and what it calls news."""

from typing import Any

import pytest

from anneal_operator.cluster.store import Store

LABEL = "anneal.dev/model-version"
Manifest = dict[str, Any]


def _object(kind: str, name: str, version: int, uid: str = "u", **fields: Any) -> Manifest:
    metadata = {"name": name, "namespace": "team", "uid": uid, "resourceVersion": str(version)}
    return {"kind": kind, "metadata": metadata | fields.pop("metadata", {}), **fields}


def _pod(name: str, version: int, phase: str = "Running", **status: Any) -> Manifest:
    return _object("Pod", name, version, metadata={"labels": {LABEL: "one"}}, status={"phase": phase, **status})


@pytest.fixture
def store() -> Store:
    """One that knows a version."""
    made = Store({LABEL: "ModelVersion"})
    made.observe(_object("ModelVersion", "one", 1, spec={"modelName": "m"}))
    return made


def test_a_heartbeat_or_an_older_telling_is_no_news(store: Store) -> None:
    assert store.observe(_pod("p", 5))
    assert not store.observe(_pod("p", 6, hostIP="10.0.0.1")), "nothing changed that a reconcile reads"
    assert store.observe(_pod("p", 7, "Failed"))
    assert not store.observe(_pod("p", 6))
    assert store.list("Pod", "team", f"{LABEL}=one")[0]["status"]["phase"] == "Failed"


def test_how_each_container_of_a_pod_stands_is_kept_also_of_those_before_its_own(store: Store) -> None:
    ended = [{"name": "answer", "state": {"terminated": {"exitCode": 71}}}]
    assert store.observe(_pod("p", 5, initContainerStatuses=ended))
    [kept] = store.list("Pod", "team", f"{LABEL}=one")
    assert kept["status"]["initContainerStatuses"] == ended


def test_an_object_made_anew_is_news_whatever_its_version(store: Store) -> None:
    assert store.observe(_object("ModelVersion", "one", 1, uid="another", spec={"modelName": "m"}))


def test_deletion_is_news_once(store: Store) -> None:
    store.observe(_pod("p", 5))
    assert [store.observe(_pod("p", 6), deleted=True), store.observe(_pod("p", 6), deleted=True)] == [True, False]
    assert store.list("Pod", "team", f"{LABEL}=one") == []


def test_children_of_an_owner_that_is_not_known_are_not_kept(store: Store) -> None:
    other = _object("Pod", "q", 1, metadata={"labels": {LABEL: "two"}}, status={})
    assert not store.observe(other)
    assert store.get("Pod", "team", "q") is None


def test_children_go_with_what_is_known_of_their_owner(store: Store) -> None:
    store.observe(_pod("p", 5))
    store.forget("ModelVersion", "team", "one")
    assert store.get("Pod", "team", "p") is None


def test_a_finished_job_keeps_its_name_and_end_alone() -> None:
    store = Store({"anneal.dev/fine-tune-job": "FineTuneJob"})
    store.observe(_object("FineTuneJob", "job", 1, spec={"base": {}}, status={"phase": "Running"}))
    store.observe(_object("Job", "job-train", 2, metadata={"labels": {"anneal.dev/fine-tune-job": "job"}}, status={}))
    ended = {"phase": "Succeeded", "mlflow": {"runId": "r"}}
    store.observe(_object("FineTuneJob", "job", 3, spec={"base": {}}, status=ended))
    kept = store.get("FineTuneJob", "team", "job") or {}
    assert ("spec" in kept, kept["status"]) == (False, {"phase": "Succeeded"})
    assert store.get("Job", "team", "job-train") is None


def test_a_finished_job_that_is_to_be_deleted_one_day_is_kept_as_it_is() -> None:
    store = Store({"anneal.dev/fine-tune-job": "FineTuneJob"})
    spec = {"base": {}, "ttlSecondsAfterFinished": 60}
    store.observe(_object("FineTuneJob", "job", 3, spec=spec, status={"phase": "Succeeded"}))
    assert (store.get("FineTuneJob", "team", "job") or {})["spec"] == spec


def test_what_a_listing_no_longer_holds_is_forgotten(store: Store) -> None:
    store.observe(_pod("p", 5))
    store.observe(_pod("q", 6))
    store.replace("Pod", "team", f"{LABEL}=one", [_pod("q", 6)])
    assert [item["metadata"]["name"] for item in store.list("Pod", "team", f"{LABEL}=one")] == ["q"]
    store.replace("Pod", "team", f"{LABEL}=one", [])
    assert store.list("Pod", "team", f"{LABEL}=one") == []


def test_what_is_kept_of_a_pod_is_what_a_reconcile_reads(store: Store) -> None:
    state = {"state": {"running": {}}, "imageID": "long", "name": "engine"}
    store.observe(_pod("p", 5, containerStatuses=[state], podIPs=[{"ip": "1"}]))
    kept = store.get("Pod", "team", "p") or {}
    assert kept["status"] == {"phase": "Running", "containerStatuses": [{"name": "engine", "state": {"running": {}}}]}


def test_what_is_kept_of_a_deployment_says_whether_it_is_rolled_out(store: Store) -> None:
    asked, counts = {"replicas": 2}, {"observedGeneration": 3, "readyReplicas": 2, "replicas": 3, "updatedReplicas": 1}
    metadata = {"labels": {LABEL: "one"}}
    spec, status = {**asked, "template": {}}, {**counts, "availableReplicas": 2}
    store.observe(_object("Deployment", "d", 5, metadata=metadata, spec=spec, status=status))
    kept = store.get("Deployment", "team", "d") or {}
    assert (kept["spec"], kept["status"]) == (asked, counts)


def test_what_was_read_before_the_watch_told_of_it_is_still_news(store: Store) -> None:
    """Whoever read it may not be whom it concerns."""
    version = _object("ModelVersion", "two", 5, spec={})
    store.learn(version)
    assert store.get("ModelVersion", "team", "two") is not None
    assert [store.observe(version), store.observe(version)] == [True, False]
    store.learn(_object("ModelVersion", "two", 7, spec={"changed": True}))
    told = [(6, {"between": True}), (8, {"changed": True}), (9, {"changed": True})]
    assert [store.observe(_object("ModelVersion", "two", number, spec=spec)) for number, spec in told] == [
        False,
        True,
        False,
    ]


def test_that_something_is_gone_is_news_also_when_reading_found_it_first(store: Store) -> None:
    version = _object("ModelVersion", "two", 5, spec={})
    store.observe(version)
    store.lose("ModelVersion", "team", "two")
    assert [store.observe(version, deleted=True), store.observe(version, deleted=True)] == [True, False]


def test_what_reading_found_as_the_watch_had_told_it_is_no_news(store: Store) -> None:
    version = _object("ModelVersion", "two", 5, spec={})
    store.observe(version)
    store.learn(version)
    assert store.observe(version) is False


def test_pods_of_what_has_no_object_of_its_own_are_kept_and_found() -> None:
    store = Store({"anneal.dev/router": "Router"})
    pod = _object("Pod", "r", 1, metadata={"labels": {"anneal.dev/router": "r"}}, status={"podIP": "10.1.0.1"})
    assert store.observe(pod)
    [kept] = store.list("Pod", "team", "anneal.dev/router=r")
    assert kept["status"]["podIP"] == "10.1.0.1"
