"""The NetworkPolicies choose the pods that are made, and let in those who ask them."""

from typing import Any

import pytest
import yaml

from anneal_operator.desired.pods import labels

from .examples import GOLDEN


def _golden(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((GOLDEN / f"{name}.yaml").read_text()))


def _pod(name: str) -> dict[str, Any]:
    (made,) = [made for made in _golden(name) if made["kind"] == "Deployment"]
    found: dict[str, Any] = made["spec"]["template"]
    return found


def _chooses(selector: dict[str, Any], found: dict[str, str]) -> bool:
    exist = [rule["key"] for rule in selector.get("matchExpressions", ()) if rule["operator"] == "Exists"]
    return selector.get("matchLabels", {}).items() <= found.items() and set(exist) <= set(found)


POLICIES = {made["metadata"]["name"]: made["spec"] for made in _golden("policies")}
POD_OF = {"anneal-router": "router", "anneal-engines": "serving"}
LABELS = {name: _pod(made)["metadata"]["labels"] for name, made in POD_OF.items()}
LABELS["anneal-recorder"] = labels("recorder", "anneal-recorder")


@pytest.mark.parametrize("name", POLICIES)
def test_each_guards_the_pods_that_it_is_for_and_no_others(name: str) -> None:
    for other, found in LABELS.items():
        assert _chooses(POLICIES[name]["podSelector"], found) == (other == name)


@pytest.mark.parametrize("name", POD_OF)
def test_each_port_of_the_pod_has_a_rule(name: str) -> None:
    containers = _pod(POD_OF[name])["spec"]["containers"]
    there = {port["containerPort"] for container in containers for port in container.get("ports", ())}
    assert {port["port"] for rule in POLICIES[name]["ingress"] for port in rule["ports"]} == there


@pytest.mark.parametrize("name", ["anneal-engines", "anneal-recorder"])
def test_of_the_namespace_the_routers_alone_come_to_engines_and_recorder(name: str) -> None:
    (rule,) = POLICIES[name]["ingress"]
    own = [peer for peer in rule["from"] if "namespaceSelector" not in peer]
    assert [_chooses(peer["podSelector"], LABELS["anneal-router"]) for peer in own] == [True]


def test_clients_come_to_the_router_from_anywhere_and_to_one_port() -> None:
    (open_,) = [rule for rule in POLICIES["anneal-router"]["ingress"] if "from" not in rule]
    assert open_["ports"] == [{"protocol": "TCP", "port": 8080}]
