"""Where a version stands, and how many pods it should have."""

from datetime import UTC, datetime
from typing import Any

import pytest

from anneal_operator.api.ab_experiment import ABExperimentSpec, ABExperimentStatus, DecisionStatus
from anneal_operator.api.model_version import ModelVersionSpec, ModelVersionStatus, Registry
from anneal_operator.decide.model_version import Contest, ObservedVersion, judge, replicas_wanted

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
REGISTRY = Registry(version="3", url="u", aliases=["base"])


def _spec(**serving: Any) -> ModelVersionSpec:
    artifact = {"uri": "mlflow-artifacts:/1/r/artifacts/model", "format": "Full", "digest": "sha256:" + "0" * 64}
    return ModelVersionSpec.parse({"modelName": "m", "artifact": artifact, "serving": {"replicas": 2} | serving})


def _contest(winner: str | None, decided_at: str = "2026-03-01T11:00:00Z", phase: Any = "Promoted") -> Contest:
    spec = {
        "modelName": "m",
        "control": "a",
        "variants": [
            {"name": "a", "modelVersionRef": {"name": "m-1"}, "weight": 1},
            {"name": "b", "modelVersionRef": {"name": "m-2"}, "weight": 1},
        ],
        "metrics": {"primary": {"name": "rating"}},
        "decision": {"scaleDownDelay": "60s"},
    }
    decision = winner and DecisionStatus(
        outcome="Winner", winner=winner, rule="r", reason="", decided_at=decided_at, snapshot=""
    )
    status = ABExperimentStatus(phase=phase if winner else "Running", decision=decision or None)
    return Contest(ABExperimentSpec.parse(spec), status)


@pytest.mark.parametrize(
    ("name", "contests", "replicas"),
    [
        ("m-1", [], 2),
        ("m-1", [_contest(None)], 2),
        ("m-1", [_contest("b")], 0),
        ("m-2", [_contest("b")], 2),
        ("m-1", [_contest("b", decided_at="2026-03-01T11:59:30Z")], 2),
        ("m-1", [_contest("b", phase="Inconclusive")], 2),
        ("m-1", [_contest("b"), _contest(None)], 2),
        ("m-1", [_contest("b", "2026-03-01T10:00:00Z"), _contest("a")], 2),
        ("m-1", [_contest("a", "2026-03-01T10:00:00Z"), _contest("b")], 0),
    ],
)
def test_only_the_loser_of_the_last_promotion_is_scaled_down(name: str, contests: list[Contest], replicas: int) -> None:
    assert replicas_wanted(name, _spec(), contests, NOW) == replicas


@pytest.mark.parametrize(
    ("seen", "phase", "registered", "ready"),
    [
        ({"registry": None, "registry_problem": "MLflow is down"}, "Registering", "RegistryUnreachable", "Starting"),
        ({"registry": REGISTRY, "wanted": 2, "ready": 1}, "Loading", "Registered", "Starting"),
        ({"registry": REGISTRY, "wanted": 2, "ready": 2}, "Ready", "Registered", "Answers"),
        ({"registry": REGISTRY, "wanted": 2, "engine_problem": "it ended"}, "Failed", "Registered", "EngineFailed"),
        ({"registry": REGISTRY, "wanted": 0}, "Idle", "Registered", "ScaledDown"),
        ({"registry": REGISTRY, "spec": _spec(replicas=0)}, "Idle", "Registered", "NotServed"),
        # MLflow down later: what was known stays.
        (
            {"registry": None, "previous": ModelVersionStatus(registry=REGISTRY), "wanted": 1, "ready": 1},
            "Ready",
            "Registered",
            "Answers",
        ),
    ],
)
def test_phase_and_conditions(seen: dict[str, Any], phase: str, registered: str, ready: str) -> None:
    known: dict[str, Any] = {"spec": _spec(), "previous": ModelVersionStatus(), "wanted": 1} | seen
    status = judge(ObservedVersion(name="m-1", generation=4, **known), "2026-03-01T12:00:00Z")
    assert status.phase == phase
    assert {c.type: c.reason for c in status.conditions} == {"Registered": registered, "Ready": ready}
    assert status.observed_generation == 4
