"""What people may change of a version's engine, and what of that changes its pods."""

from typing import Any

import pytest

from anneal_operator.api.model_version import ModelVersionSpec
from anneal_operator.api.serving import Serving
from anneal_operator.decide.startup import startup_seconds
from anneal_operator.desired.keys import Keys
from anneal_operator.desired.serving import ServingEnvironment, deployment, wish_of

KEYS = Keys("engine", "admin", "user", "tasks")
ENV = ServingEnvironment("server:1", "IfNotPresent", "http://mlflow:5000", {}, KEYS)
PARENT = {"apiVersion": "anneal.dev/v1alpha1", "metadata": {"name": "one", "namespace": "team", "uid": "u"}}
PARENT |= {"kind": "ModelVersion"}
GPU = {"limits": {"nvidia.com/gpu": "1"}}
ARTIFACT = {"uri": "mlflow-artifacts:/1/r/artifacts/model", "format": "Full", "digest": "sha256:" + "0" * 64}
OF_PODS: dict[str, Any] = {
    "dtype": "FP32",
    "quantization": "FP8",
    "maxModelLength": 4096,
    "prefixCaching": False,
    "toolCallParser": "hermes",
    "reasoningParser": "qwen3",
    "trustRemoteCode": True,
    "engineArgs": [{"name": "max-num-seqs", "value": "64"}],
    "resources": {"requests": {"cpu": "2"}},
    "podTemplate": {"env": [{"name": "TEAM", "value": "a"}]},
    "startupDeadline": "1h",
    "warmUp": {"requests": 2},
    "canaryTolerance": 0.1,
    "drainSeconds": 60,
    "cache": {"claimName": "models"},
}
OF_NO_POD: dict[str, Any] = {
    "replicas": 3,
    "autoscaling": {"maxReplicas": 4},
    "rollout": "Recreate",
    "rollbackWindow": "2h",
    "retireAfter": "3h",
}
OF_SHARED_PODS = ("sharing", "adapters")
"""What a version has no pods of its own with: tests/desired/test_shared_base.py."""

UNCHANGED = ("nodes",)
"""What never changes of one version: tests/desired/test_groups.py."""


def _made(field: str, value: Any, changed: bool) -> tuple[str, Any]:
    """What people wish, and the pods made for it; quantization needs a GPU before and after."""
    asked = ({"resources": GPU} if field == "quantization" else {}) | ({field: value} if changed else {})
    spec = ModelVersionSpec.parse({"modelName": "spam", "artifact": ARTIFACT, "serving": asked})
    assert spec.serving is not None
    deadline = startup_seconds(spec.serving, spec.weights)
    made = deployment(PARENT, spec, spec.serving, 1, ENV, startup_seconds=deadline)
    return wish_of(spec.serving, KEYS), made["spec"]["template"]


def test_each_field_of_serving_is_known_to_change_pods_or_not_to() -> None:
    names = {info.alias or name for name, info in Serving.model_fields.items()}
    assert {*OF_PODS, *OF_NO_POD, *OF_SHARED_PODS, *UNCHANGED} == names


@pytest.mark.parametrize(("field", "value"), [*OF_PODS.items(), *OF_NO_POD.items()])
def test_what_people_wish_of_pods_changes_where_the_pods_do(field: str, value: Any) -> None:
    (wish, pods), (another_wish, other_pods) = (_made(field, value, changed) for changed in (False, True))
    assert (wish != another_wish, pods != other_pods) == (field in OF_PODS, field in OF_PODS)


def test_what_was_stored_under_the_old_default_is_nobody_s_wish() -> None:
    stored = wish_of(Serving.parse({"startupDeadline": "15m"}), KEYS)
    assert stored == wish_of(Serving.parse({}), KEYS), "else an upgrade replaces the pods of an experiment"


ROOM = 10 * 10**9 + (128 << 20)


@pytest.mark.parametrize(
    ("requests", "limits", "asked", "most"),
    [
        (None, None, ROOM, None),
        ("2Gi", None, (2 << 30) + ROOM, None),
        # as before an engine asked for the disk of its weights by itself: a node has to have no more than then
        ("40Gi", None, 40 << 30, None),
        ("40Gi", "60Gi", 40 << 30, 60 << 30),
        (None, "60Gi", 60 << 30, 60 << 30),
        ("8Gi", "12Gi", 12 << 30, 12 << 30),
        ("1Gi", "2Gi", (1 << 30) + ROOM, (2 << 30) + ROOM),
        (None, "2Gi", (2 << 30) + ROOM, (2 << 30) + ROOM),
        ("0", None, ROOM, None),
    ],
)
def test_weights_take_of_a_node_s_disk_what_people_did_not_ask_for_already(
    requests: str | None, limits: str | None, asked: int, most: int | None
) -> None:
    said = {"requests": requests, "limits": limits}
    resources = {side: {"ephemeral-storage": much} for side, much in said.items() if much}
    artifact = ARTIFACT | {"bytes": 10 * 10**9}
    spec = ModelVersionSpec.parse({"modelName": "m", "artifact": artifact, "serving": {"resources": resources}})
    made = deployment(PARENT, spec, spec.serving or Serving(), 1, ENV, startup_seconds=900)
    [engine] = made["spec"]["template"]["spec"]["containers"]
    found = {side: engine["resources"][side].get("ephemeral-storage") for side in ("requests", "limits")}
    assert found == {"requests": str(asked), "limits": str(most) if most else None}
