"""The NetworkPolicies choose the pods that are made, and let in those who ask them."""

import pytest

from .connections import EVERYBODY, MAY, TEAM, connections, golden, pod_template
from .reachability import Pod, chooses, reaches

POLICIES = golden("policies")
SPECS = {made["metadata"]["name"]: made["spec"] for made in POLICIES}
GUARDED = {
    "anneal-router": "router",
    "anneal-engines": "serving",
    "anneal-shared-engines": "serving-shared",
    "anneal-weights": "weights-ahead",
    "anneal-recorder": "recorder",
    "anneal-tasks": "tasks",
}


@pytest.mark.parametrize("name", GUARDED)
def test_each_guards_the_pods_that_it_is_for_and_no_others(name: str) -> None:
    for made in (*GUARDED.values(), "training"):
        labels = pod_template(made)["metadata"]["labels"]
        assert chooses(SPECS[name]["podSelector"], labels) == (made == GUARDED[name])


@pytest.mark.parametrize("name", GUARDED)
def test_each_port_of_the_pod_has_a_rule(name: str) -> None:
    containers = pod_template(GUARDED[name])["spec"]["containers"]
    there = {port["containerPort"] for container in containers for port in container.get("ports", ())}
    assert {port["port"] for rule in SPECS[name]["ingress"] for port in rule["ports"]} == there


@pytest.mark.parametrize(("source", "target", "port"), connections())
def test_everybody_reaches_what_is_said_of_them_and_nothing_else(source: str, target: str, port: int) -> None:
    may = source in MAY[target, port]
    assert reaches(POLICIES, EVERYBODY[source], EVERYBODY[target], port) == may


def test_no_pod_is_kept_from_opening_connections() -> None:
    assert [spec["policyTypes"] for spec in SPECS.values()] == [["Ingress"]] * (len(GUARDED) + len(["anneal-groups"]))


@pytest.mark.parametrize(("target", "port"), MAY)
def test_a_port_that_no_rule_names_is_closed_to_all(target: str, port: int) -> None:
    assert not any(reaches(POLICIES, pod, EVERYBODY[target], port + 1000) for pod in EVERYBODY.values())


def test_what_no_policy_chooses_is_open() -> None:
    assert all(reaches(POLICIES, pod, EVERYBODY["trainer"], 80) for pod in EVERYBODY.values())


def test_pods_that_share_an_engine_reach_each_other_at_all_ports_and_nobody_else_does() -> None:
    [group] = golden("serving-group")[:1]
    template = group["spec"]["leaderWorkerTemplate"]
    leader, worker = (Pod(TEAM, template[f"{name}Template"]["metadata"]["labels"]) for name in ("leader", "worker"))
    assert all(
        reaches(POLICIES, *pair, port) for pair in ((leader, worker), (worker, leader)) for port in (8000, 29501)
    )
    assert not any(reaches(POLICIES, pod, worker, 29501) for pod in EVERYBODY.values())
    assert not any(reaches(POLICIES, pod, leader, 29501) for pod in EVERYBODY.values())
    assert {name for name, pod in EVERYBODY.items() if reaches(POLICIES, pod, leader, 8000)} == MAY["engine", 8000]
    assert {name for name, pod in EVERYBODY.items() if reaches(POLICIES, pod, worker, 8000)} == {"operator"}
