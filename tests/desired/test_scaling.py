"""What has KEDA scale a version is what KEDA takes, and nobody else says how many pods there are.

`scaledobject-2.18.3.json` is the spec of a ScaledObject in KEDA's v2.18.3, and takes no other fields.
"""

import json
from pathlib import Path

import jsonschema

from .connections import golden

SCHEMA = json.loads((Path(__file__).parent / "scaledobject-2.18.3.json").read_text())
WORKLOAD, SCALED = golden("serving-keda")


def test_keda_takes_it() -> None:
    assert SCALED["apiVersion"] == "keda.sh/v1alpha1"
    jsonschema.validate(SCALED["spec"], SCHEMA)


def test_it_scales_what_serves_the_version_which_says_nothing_itself() -> None:
    target = {"apiVersion": WORKLOAD["apiVersion"], "kind": "Deployment", "name": WORKLOAD["metadata"]["name"]}
    assert SCALED["spec"]["scaleTargetRef"] == target
    assert "replicas" not in WORKLOAD["spec"]


def test_its_times_are_those_of_the_version() -> None:
    assert (SCALED["spec"]["cooldownPeriod"], SCALED["spec"]["minReplicaCount"]) == (1200, 0)
    behaviour = SCALED["spec"]["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
    assert behaviour["scaleDown"]["stabilizationWindowSeconds"] == 120
