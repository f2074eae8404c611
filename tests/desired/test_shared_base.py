"""Who shares an engine, and what its pods are told."""

import json
from typing import Any

import pytest

from anneal_operator.api.model_version import ModelVersionSpec
from anneal_operator.desired.keys import Keys
from anneal_operator.desired.operations import Patch
from anneal_operator.desired.serving import ServingEnvironment
from anneal_operator.desired.shared_base import (
    Member,
    adapters_config,
    engine_name,
    engine_of,
    kept_as_it_is,
    listed_in,
    shared_deployment,
    shared_selector,
    told_pods,
)

ENV = ServingEnvironment("server:1", "IfNotPresent", "http://mlflow:5000", {}, Keys("engine", "admin", "user", "tasks"))
BASE: dict[str, Any] = {"uri": "mlflow-artifacts:/1/base/artifacts/model", "digest": "sha256:" + "0" * 64}


def _spec(digit: str = "1", base: dict[str, Any] | None = None, **changed: Any) -> dict[str, Any]:
    artifact = {"uri": f"mlflow-artifacts:/1/{digit}", "digest": "sha256:" + digit * 64, "format": "Adapter"}
    serving = {"sharing": "SharedBase", **changed.pop("serving", {})}
    return {"modelName": "spam", "artifact": {**artifact, "base": base or BASE}, "serving": serving, **changed}


def _name(**changed: Any) -> str:
    return engine_name(ModelVersionSpec.parse(_spec(**changed)))


def _member(name: str, digit: str, **changed: Any) -> Member:
    metadata = {"name": name, "namespace": "team", "uid": f"uid-{name}"}
    spec = _spec(digit, **changed)
    manifest = {"apiVersion": "anneal.dev/v1alpha1", "kind": "ModelVersion", "metadata": metadata, "spec": spec}
    return Member(manifest, ModelVersionSpec.parse(spec))


@pytest.mark.parametrize(
    "changed",
    [
        {"digit": "2"},
        {"modelName": "other"},
        {"aliases": ["base"]},
        {"serving": {"replicas": 3, "rollbackWindow": "0s", "retireAfter": "1h"}},
        {"serving": {"dtype": "Auto", "maxModelLength": 2048}},
        {"prompt": {}},
    ],
)
def test_versions_share_an_engine_whatever_else_they_are(changed: dict[str, Any]) -> None:
    assert _name(**changed) == _name()


@pytest.mark.parametrize(
    "changed",
    [
        {"base": BASE | {"digest": "sha256:" + "1" * 64}},
        {"base": BASE | {"uri": "mlflow-artifacts:/1/other"}},
        {"base": BASE | {"bytes": 1}},
        {"prompt": {"systemPrompt": "You are a judge."}},
        {"prompt": {"thinking": "Keep"}},
        {"serving": {"dtype": "FP32"}},
        {"serving": {"adapters": {"maxRank": 128}}},
        {"serving": {"engineArgs": [{"name": "max-num-seqs", "value": "64"}]}},
        {"serving": {"resources": {"limits": {"nvidia.com/gpu": 1}}}},
        {"serving": {"drainSeconds": 5}},
        {"serving": {"rollout": "Recreate"}},
    ],
)
def test_another_base_prompt_or_setting_is_another_engine(changed: dict[str, Any]) -> None:
    assert _name(**changed) != _name()


def test_one_that_shares_nothing_has_no_such_engine() -> None:
    artifact = {"uri": "mlflow-artifacts:/1", "digest": "sha256:" + "1" * 64, "format": "Full"}
    assert engine_name(ModelVersionSpec.parse({"modelName": "m", "artifact": artifact, "serving": {}})) == ""
    assert engine_name(ModelVersionSpec.parse({"modelName": "m", "artifact": artifact})) == ""


def test_a_status_says_which_engine_a_version_is_on() -> None:
    assert engine_of(shared_selector("shared-base-0")) == "shared-base-0"
    assert engine_of("anneal.dev/model-version=shared-base-0") == ""
    assert engine_of("") == ""


def test_pods_are_made_by_the_settings_of_those_that_ask_for_the_engine() -> None:
    asks, leaves = _member("two", "2"), _member("one", "1", serving={"dtype": "FP32"})
    made = shared_deployment(_name(), [leaves, asks], 1, ENV, startup_seconds=900)
    [engine] = made["spec"]["template"]["spec"]["containers"]
    plan = json.loads(engine["args"][engine["args"].index("--plan") + 1])
    assert (plan["dtype"], plan["uri"], plan["digest"]) == ("Auto", BASE["uri"], BASE["digest"])
    assert plan["adapters"] == {"max_rank": 64, "at_once": 4}
    assert [owner["name"] for owner in made["metadata"]["ownerReferences"]] == ["one", "two"]


def test_which_adapters_there_are_changes_no_pod() -> None:
    one, two = _member("one", "1"), _member("two", "2")
    before, after = (
        shared_deployment(_name(), members, 1, ENV, startup_seconds=900)["spec"] for members in ([one], [one, two])
    )
    assert before == after
    told = json.loads(adapters_config(_name(), [two, one])["data"]["adapters.json"])["adapters"]
    assert told == {"one": one.wanted.model_dump(), "two": two.wanted.model_dump()}


def test_each_pod_is_told_once_of_each_change() -> None:
    one, two = _member("one", "1"), _member("two", "2")
    pods: list[dict[str, Any]] = [{"metadata": {"name": "p"}}, {"metadata": {"name": "q", "deletionTimestamp": "t"}}]
    [patch] = told_pods([one], pods)
    assert isinstance(patch, Patch)
    assert (patch.kind, patch.name) == ("Pod", "p")
    told = {"metadata": {"name": "p", **patch.changes["metadata"]}}
    assert told_pods([one], [told]) == []
    assert len(told_pods([one, two], [told])) == 1


def test_of_one_that_stays_as_it_is_owners_and_number_change_alone() -> None:
    one, two = _member("one", "1"), _member("two", "2")
    made = shared_deployment(_name(), [one], 1, ENV, startup_seconds=900)
    assert kept_as_it_is(made, [one], 1) == []
    for members, replicas in (([one], 2), ([one, two], 1)):
        [patch] = kept_as_it_is(made, members, replicas)
        assert isinstance(patch, Patch)
        assert patch.changes["spec"] == {"replicas": replicas}
        assert len(patch.changes["metadata"]["ownerReferences"]) == len(members)


def test_one_that_cannot_be_read_is_still_wanted() -> None:
    known = _member("one", "1")
    unread = Member(known.manifest, None)
    assert adapters_config("e", [unread])["data"] == adapters_config("e", [known])["data"]


def _listed(*members: Member, before: tuple[str, ...] = ()) -> list[str]:
    text = adapters_config("e", members, before)["data"]["adapters.json"]
    return listed_in({"data": {"adapters.json": text}})


def test_what_answers_is_listed_first_and_a_newcomer_last() -> None:
    members = {name: _member(name, "1") for name in ("a", "b", "c", "d")}
    for name, hour in zip(members, (4, 2, 3, 1), strict=True):
        members[name].manifest["metadata"]["creationTimestamp"] = f"2026-03-01T0{hour}:00:00Z"
    a, b, c, d = members.values()
    assert _listed(a, b, c) == ["b", "c", "a"], "by their age"
    for member in (c, a):
        member.manifest["status"] = {"phase": "Ready"}
    order = _listed(a, b, c, before=("b", "c", "a"))
    assert order == ["c", "a", "b"]
    for member in (c, a):
        member.manifest["status"] = {"phase": "Loading"}
    assert _listed(a, b, c, d, before=tuple(order)) == [*order, "d"], "while none answers, as it was"


def test_no_pod_is_told_of_another_order() -> None:
    one, two = _member("one", "1"), _member("two", "2")
    [patch] = told_pods([one, two], [{"metadata": {"name": "p"}}])
    assert isinstance(patch, Patch)
    assert told_pods([two, one], [{"metadata": {"name": "p", **patch.changes["metadata"]}}]) == []


def test_of_a_list_that_cannot_be_read_nothing_is_known() -> None:
    assert [listed_in(spoilt) for spoilt in (None, {}, {"data": {"adapters.json": "{"}})] == [[], [], []]
