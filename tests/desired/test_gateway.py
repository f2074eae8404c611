"""The way to a router through a Gateway is what the Gateway API takes.

`httproute-1.6.1.json` is the spec of an HTTPRoute in its v1.6.1's standard channel, and takes no other fields.
"""

import json
from pathlib import Path

import jsonschema

from anneal_operator.desired.gateway import GatewayEnvironment, http_route

SCHEMA = json.loads((Path(__file__).parent / "httproute-1.6.1.json").read_text())
PARENT = {"name": "public", "namespace": "gateways", "sectionName": "https", "port": 443}
OWNER = {"apiVersion": "anneal.dev/v1alpha1", "kind": "ModelVersion", "metadata": {"name": "one", "uid": "u"}}


def test_the_gateway_api_takes_it() -> None:
    hosts = ["{namespace}.models.example.com", "models-{namespace}.example.com"]
    spec = http_route("team", [OWNER], GatewayEnvironment([PARENT], hosts))["spec"]
    jsonschema.validate(spec, SCHEMA)
    assert spec["hostnames"] == ["team.models.example.com", "models-team.example.com"]


def test_it_ends_no_stream() -> None:
    (rule,) = http_route("team", [OWNER], GatewayEnvironment([PARENT], ["{namespace}.example.com"]))["spec"]["rules"]
    assert rule["timeouts"] == {"request": "0s"}, "which the Gateway API reads as no limit"
