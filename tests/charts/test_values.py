"""The chart's values: what its schema takes and refuses, and that templates read no value that there is not.

Helm judges values by the schema itself, at every install and upgrade: test_helm.py has it do so.
"""

import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from anneal_operator.__main__ import _STATUS_PORT
from anneal_operator.desired.keys import Keys
from anneal_operator.desired.routing import RouterEnvironment, router_objects
from anneal_operator.settings import Settings
from serving_runtime.plan import RouteTable

CHART = Path(__file__).parents[2] / "charts/anneal"
VALUES = yaml.safe_load((CHART / "values.yaml").read_text())
SCHEMA = json.loads((CHART / "values.schema.json").read_text())
WRONG = [
    ("image", {"operator": "anneal/operator:1"}),
    ("images.operater", "anneal/operator:1"),
    ("images.operator", "anneal/operator :1"),
    ("images.pullPolicy", "Sometimes"),
    ("operator.replicas", "2"),
    ("operator.replicas", -1),
    ("operator.resources.limits.memory", "512 MB"),
    ("operator.resources.limits.memory", "1K"),
    ("operator.resources.limit", {"memory": "1Gi"}),
    ("pricePerGpuHour", -1),
    ("pricePerGpuHour", "2.5 EUR"),
    ("pricePerGpuHour", {"nvidia.com/gpus": 2.5}),
    ("pricePerGpuHour", {"nvidia.com/gpu": "much"}),
    ("server.environment.VLLM_CPU_KVCACHE_SPACE", 4),
    ("server.sources", ["s3://models"]),
    ("server.sources", ["https://models/"]),
    ("server.sources", "pvc://"),
    ("server.backends", ["https://api.example.com"]),
    ("server.backends", ["https://"]),
    ("server.backends", ["https://user:secret@api.example.com/"]),
    ("server.backends", ["//api.example.com/"]),
    ("server.triggers", ["Prometheus"]),
    ("router.httpRoute.hostnames", ["models.example.com"]),
    ("router.httpRoute.hostnames", ["https://{namespace}.example.com"]),
    ("router.httpRoute", {"parentRefs": [{"name": "public"}], "hostnames": []}),
    ("router.httpRoute", {"parentRefs": [{"name": "public"}]}),
    ("router.httpRoute", {"parentRefs": [{"namespace": "gateways"}], "hostnames": ["{namespace}.example.com"]}),
    ("server.endpoints", ["https://s3.example.com"]),
    ("server.endpoints", ["s3.example.com/"]),
    ("server.endpoints", ["https://user:word@s3.example.com/"]),
    ("server.authorities.configMap", "Our CA"),
    ("server.authorities.key", ""),
    ("networkPolicies.scrapers", {"namespaceSelector": {}}),
    ("networkPolicies.scraper", []),
    ("mlflow.url", "mlflow.example.com"),
    ("mlflow.storage.size", True),
]
RIGHT = [
    ("images.operator", "registry.example.com:5000/anneal/operator@sha256:00"),
    ("operator.replicas", 2),
    ("operator.resources.limits.cpu", 1.5),
    ("operator.resources.limits.memory", "1e9"),
    ("pricePerGpuHour", 2.5),
    ("pricePerGpuHour", "2.5"),
    ("pricePerGpuHour", {"nvidia.com/gpu": 2.5, "nvidia.com/mig-1g.10gb": "0.4"}),
    ("server.environment.VLLM_CPU_KVCACHE_SPACE", "4"),
    (
        "server.sources",
        ["mlflow-artifacts:/", "pvc://", "s3://models/", "oci://registry.example.com:5000/team/", "hf://"],
    ),
    ("server.triggers", ["prometheus", "azure-servicebus"]),
    ("server.backends", ["https://api.example.com/", "https://api.example.com/v1/", "http://10.0.0.7:8000/"]),
    (
        "router.httpRoute",
        {
            "parentRefs": [{"name": "public", "namespace": "gateways", "sectionName": "https"}],
            "hostnames": ["{namespace}.models.example.com", "models-{namespace}.example.com"],
        },
    ),
    ("server.endpoints", ["https://s3.eu-central-1.amazonaws.com/", "http://minio.storage.svc:9000/", "https://"]),
    ("server.endpoints", []),
    ("server.authorities.configMap", "our-authorities"),
    ("networkPolicies.scrapers", [{"namespaceSelector": {}, "podSelector": {}}, {"ipBlock": {"cidr": "10.0.0.0/8"}}]),
    ("mlflow.url", "https://mlflow.example.com/team"),
    ("global", {"registry": "of an umbrella chart"}),
]


def _with(path: str, value: object) -> dict[str, Any]:
    values: dict[str, Any] = json.loads(json.dumps(VALUES))
    *parents, last = path.split(".")
    place = values
    for name in parents:
        place = place.setdefault(name, {})
    place[last] = value
    return values


def _paths(values: dict[str, Any], prefix: str = "") -> Iterator[str]:
    for name, value in values.items():
        yield f"{prefix}{name}"
        if isinstance(value, dict):
            yield from _paths(value, f"{prefix}{name}.")


def test_the_schema_takes_the_values_that_the_chart_brings() -> None:
    jsonschema.Draft7Validator.check_schema(SCHEMA)
    jsonschema.validate(VALUES, SCHEMA, jsonschema.Draft7Validator)


@pytest.mark.parametrize(("path", "value"), RIGHT, ids=[path for path, _ in RIGHT])
def test_the_schema_takes_what_users_set(path: str, value: object) -> None:
    jsonschema.validate(_with(path, value), SCHEMA, jsonschema.Draft7Validator)


@pytest.mark.parametrize(("path", "value"), WRONG, ids=[f"{path} {value}" for path, value in WRONG])
def test_the_schema_refuses_a_wrong_value_and_names_it(path: str, value: object) -> None:
    with pytest.raises(jsonschema.ValidationError) as refused:
        jsonschema.validate(_with(path, value), SCHEMA, jsonschema.Draft7Validator)
    named = ".".join(map(str, refused.value.absolute_path))
    assert named == path or named.startswith(f"{path}.") or path.rpartition(".")[2] in refused.value.message


@pytest.mark.parametrize(
    ("peer", "is_right"),
    [
        ({"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}}, True),
        ({"ipBlock": {"cidr": "255.255.255.255/32"}}, True),
        ({"ipBlock": {"cidr": "fd00::/8"}}, True),
        ({"ipBlock": {"cidr": "10.0.0.1"}}, False),
        ({"ipBlock": {"cidr": "10.0.0/8"}}, False),
        ({"ipBlock": {"cidr": "10.0.0.0.8"}}, False),
        ({"ipBlock": {"cidr": "10.0.0.256/32"}}, False),
        ({"ipBlock": {"cidr": "10.0.0.0/33"}}, False),
        ({"ipBlock": {"cidr": "prometheus/32"}}, False),
        ({"ipBlock": {"cidr": "fd00::/129"}}, False),
        ({"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1"]}}, False),
        ({"ipBlock": {"cidr": "10.0.0.0/8"}, "podSelector": {}}, False),
    ],
)
def test_a_scraper_that_the_api_server_would_refuse_is_refused(peer: dict[str, Any], is_right: bool) -> None:
    values = _with("networkPolicies.scrapers", [peer])
    assert jsonschema.Draft7Validator(SCHEMA).is_valid(values) is is_right


def _rights(rules: list[dict[str, Any]]) -> set[tuple[str, str, str]]:
    return {right for rule in rules for right in itertools.product(rule["apiGroups"], rule["resources"], rule["verbs"])}


def test_the_operator_holds_each_right_that_it_gives_a_router() -> None:
    """It could give no other: the API server refuses such a Role."""
    text = re.sub(r"{{.*?}}", "x", (CHART / "templates/access.yaml").read_text())
    held = next(made for made in yaml.safe_load_all(text) if made["kind"] == "ClusterRole")
    table = RouteTable(targets={}, models={})
    stamp = table.stamped("2026-03-01T12:00:00Z", 1)
    objects = router_objects("team", [], table, stamp, RouterEnvironment("router:1", "Never", Keys("e", "a", "u", "t")))
    given = next(made for made in objects if made["kind"] == "Role")
    assert _rights(given["rules"]) <= _rights(held["rules"])


def test_the_chart_names_the_ports_that_the_operator_listens_at() -> None:
    template = (CHART / "templates/operator.yaml").read_text()
    progress = Settings.model_fields["progress_port"].default
    pods = re.findall(r"name: (\w+), containerPort: (\d+)}", template)
    assert dict(pods) == {"progress": str(progress), "metrics": str(_STATUS_PORT)}
    assert re.findall(r"name: (\w+), port: (\d+), targetPort: \1}", template) == [pods[1], pods[0]]


def test_templates_read_the_values_that_there_are_and_no_others() -> None:
    templates = "".join(file.read_text() for file in (CHART / "templates").iterdir())
    read = set(re.findall(r"\.Values\.([\w.]+)", templates))
    assert read <= set(_paths(VALUES))
    leaves = {path for path in _paths(VALUES) if not any(other.startswith(f"{path}.") for other in _paths(VALUES))}
    assert [leaf for leaf in leaves if not any(leaf == path or leaf.startswith(f"{path}.") for path in read)] == []
