"""The recorder's workload: one writer, a volume that nobody owns, and nothing that a router waits for."""

from pathlib import Path
from typing import Any

import pytest

from anneal_operator.desired.keys import Keys
from anneal_operator.desired.recorder import (
    ADDRESS_FILE,
    RecorderEnvironment,
    address_mount,
    recorder_claim,
    recorder_objects,
)
from anneal_operator.desired.routing import RouterEnvironment, ServedVersion, route_table, router_objects
from serving_runtime import router as router_package

OWNER = {"apiVersion": "v1", "kind": "ModelVersion", "metadata": {"name": "one", "uid": "u"}}
KEYS = Keys("engine", "admin", "user", "tasks")
ENV = RecorderEnvironment("router:1", "Never", "claim", KEYS)


def _made(address: str | None = "10.0.0.3") -> dict[str, dict[str, Any]]:
    return {made["kind"]: made for made in recorder_objects("team", [OWNER], address, ENV)}


def _router() -> dict[str, Any]:
    """The template of a router's pod."""
    table = route_table([ServedVersion("one", "10.0.0.1")], {})
    stamp = table.stamped("2026-03-01T12:00:00Z", 1)
    made = router_objects("team", [], table, stamp, RouterEnvironment("router:1", "Never", KEYS))
    template: dict[str, Any] = made[-1]["spec"]["template"]
    return template


def test_what_users_said_is_owned_by_no_version_and_all_else_by_them() -> None:
    assert "ownerReferences" not in recorder_claim("team")["metadata"]
    assert [made["metadata"]["ownerReferences"][0]["uid"] for made in _made().values()] == ["u"] * 3


def test_its_database_has_one_writer() -> None:
    spec = _made()["Deployment"]["spec"]
    assert (spec["replicas"], spec["strategy"]) == (1, {"type": "Recreate"})
    volumes = {volume["name"]: volume for volume in spec["template"]["spec"]["volumes"]}
    assert volumes["data"]["persistentVolumeClaim"] == {"claimName": "claim"}


def test_service_and_deployment_choose_its_pods_and_no_others() -> None:
    spec, service = _made()["Deployment"]["spec"], _made()["Service"]["spec"]
    own = spec["template"]["metadata"]["labels"]
    assert service["selector"] == spec["selector"]["matchLabels"]
    assert all(own[name] == value and name.startswith("anneal.dev/") for name, value in service["selector"].items())
    labels = _router()["metadata"]["labels"]
    assert not service["selector"].items() <= labels.items()


@pytest.mark.parametrize(
    ("address", "told"), [("10.0.0.3", "10.0.0.3:8081"), ("fd00::3", "[fd00::3]:8081"), (None, None)]
)
def test_routers_are_told_its_address_once_it_has_one(address: str | None, told: str | None) -> None:
    assert _made(address).get("ConfigMap", {}).get("data") == (told and {"address": told})


def test_a_router_s_pod_starts_without_it_and_finds_its_address_where_nginx_looks_for_it() -> None:
    pod = _router()["spec"]
    assert {"name": "recorder", "configMap": {"name": "anneal-recorder", "optional": True}} in pod["volumes"]
    mounted = [made["name"] for made in pod["containers"] if address_mount() in made["volumeMounts"]]
    assert mounted == ["nginx", "shipper"]
    assert not any("persistentVolumeClaim" in volume for volume in pod["volumes"])
    assert f"{address_mount()['mountPath']}/address" == ADDRESS_FILE
    conf = Path(router_package.__file__).parent / "router.conf"
    assert f'feedback.start("{ADDRESS_FILE}")' in conf.read_text()
