"""The NetworkPolicies choose the pods that are made, and let in those who ask them."""

import pytest

from .connections import EVERYBODY, MAY, connections, golden, pod_template
from .reachability import chooses, reaches

POLICIES = golden("policies")
SPECS = {made["metadata"]["name"]: made["spec"] for made in POLICIES}
GUARDED = {
    "anneal-router": "router",
    "anneal-engines": "serving",
    "anneal-shared-engines": "serving-shared",
    "anneal-weights": "weights-ahead",
    "anneal-recorder": "recorder",
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
    assert [spec["policyTypes"] for spec in SPECS.values()] == [["Ingress"]] * len(GUARDED)


@pytest.mark.parametrize(("target", "port"), MAY)
def test_a_port_that_no_rule_names_is_closed_to_all(target: str, port: int) -> None:
    assert not any(reaches(POLICIES, pod, EVERYBODY[target], port + 1000) for pod in EVERYBODY.values())


def test_what_no_policy_chooses_is_open() -> None:
    assert all(reaches(POLICIES, pod, EVERYBODY["trainer"], 80) for pod in EVERYBODY.values())
