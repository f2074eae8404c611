"""Experiments as their statuses would tell of them, for the tests of reports.

`python -m tests.desired.report.examples FOLDER` writes their pages, to be looked at.
"""

import math
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from anneal_operator.api.ab_experiment import ABExperimentSpec
from anneal_operator.api.ab_experiment_status import (
    ABExperimentStatus,
    DecisionStatus,
    Power,
    SampleRatio,
    VariantCost,
)
from anneal_operator.api.conditions import Condition
from anneal_operator.api.model_version import Answered
from anneal_operator.api.schema import timestamp
from anneal_operator.decide.experiment_guardrails import guardrails_told, with_dropped
from anneal_operator.decide.experiment_sample import decision_of, variants_told
from anneal_operator.decide.experiment_terms import terms_of
from anneal_operator.decide.statistics.judgement import judge
from anneal_operator.decide.statistics.snapshot import Snapshot
from anneal_operator.decide.statistics.sums import Scale
from anneal_operator.decide.statistics.terms import Counts
from anneal_operator.desired.experiments import DECISION_KEY
from anneal_operator.desired.report.looks import Looks, look_at
from anneal_operator.desired.report.page import Papers, page
from tests.support.counted import PARTS, failures, sums_of

__all__ = ["BEGAN", "EXAMPLES", "GUARDED", "SPEC", "experiment", "papers", "with_condition"]

BEGAN = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
SPEC: dict[str, Any] = {
    "modelName": "spam-filter",
    "control": "stable",
    "variants": [
        {"name": "stable", "modelVersionRef": {"name": "spam-filter-6"}, "weight": 50},
        {"name": "tuned", "modelVersionRef": {"name": "spam-filter-7"}, "weight": 50},
    ],
    "metrics": {"primary": {"name": "user_rating", "minimumDetectableEffect": 0.1}},
    "stopping": {"minUsersPerVariant": 200, "minDuration": "168h", "maxDuration": "336h"},
}
_PHASES = {
    "Winner": "Promoted",
    "ControlWins": "RolledBack",
    "GuardrailBreach": "RolledBack",
    "Sound": "Observed",
    "Unsound": "Observed",
}
_HEALTH = (
    ("VariantsReady", "AllReady", "every variant answers"),
    ("RouteProgrammed", "Programmed", "every router splits users by weight"),
    ("DataFresh", "RecordsStored", "what routers counted is stored within 300 s"),
    ("AssignmentHealthy", "AsWeighted", "users are spread as the weights say (p = 1)"),
    ("SampleSufficient", "Sufficient", "the smallest variant has as many users with user_rating as it takes"),
)


def experiment(spec: dict[str, Any], name: str = "base-or-tuned") -> dict[str, Any]:
    """Return the object."""
    metadata = {"name": name, "namespace": "team", "uid": "uid-1"}
    return {"apiVersion": "anneal.dev/v1alpha1", "kind": "ABExperiment", "metadata": metadata, "spec": spec}


def papers(
    *,
    hours: int,
    lifts: tuple[float, ...] = (0.3,),
    decides: bool = False,
    per_hour: int = 7,
    failing: tuple[int, ...] = (),
    **changes: Any,
) -> Papers:
    """Return what there is of an experiment that has run for so long, by challengers that are better by `lifts`.

    Of the users of each variant one in so many is `failing`.
    """
    told = SPEC | changes
    spec, made = ABExperimentSpec.parse(told), experiment(told)
    looks, status = Looks.begun(timestamp(BEGAN), spec), ABExperimentStatus()
    counts = _counts(0, lifts, per_hour, failing)
    for minute in range(0, hours * 60 + 1, 20):
        counts = _counts(minute, lifts, per_hour, failing)
        status = _status(spec, counts)
        if (look := look_at(spec, status, BEGAN + timedelta(minutes=minute))) and looks.is_due(look):
            looks = looks.having(look)
    now = BEGAN + timedelta(hours=hours)
    if not decides:
        return Papers(made, spec, status, now, looks)
    names = tuple(variant.name for variant in spec.variants)
    decision = decision_of(Snapshot(spec.metrics.primary.name, names, terms_of(spec), counts), now)
    assert decision is not None
    phase = _PHASES.get(decision.outcome, "Inconclusive")
    status = _status(spec, counts, is_over=True).having(phase=phase, decision=decision)
    metadata = {"name": "base-or-tuned-record-1a2b3c4d", "namespace": "team", "resourceVersion": "7"}
    record = {
        "kind": "ConfigMap",
        "metadata": metadata,
        "data": {DECISION_KEY: decision.model_dump_json(by_alias=True)},
    }
    return Papers(made, spec, status, now + timedelta(hours=3), looks, record)


def _counts(minute: int, lifts: tuple[float, ...], per_hour: int, failing: tuple[int, ...]) -> Counts:
    """Values wander about their mean as they do: by less the more there are."""
    sums = []
    for place, lift in enumerate((0.0, *lifts)):
        n = minute * per_hour // 60 + (minute + place) % 3 if minute and per_hour else 0
        wander = math.sin(minute / 311 + 2 * place) / math.sqrt(n + 1)
        sums.append(sums_of(n, 3.4 + lift + wander, n * 1.1) if n else sums_of(0, 0.0, 0.0))
    users = tuple(2 * one.n + place if per_hour else 0 for place, one in enumerate(sums))
    guards = failures(*((n, n // every) for n, every in zip(users, failing, strict=True))) if failing else None
    return Counts(users, tuple(5 * n for n in users), tuple(0 for _ in users), tuple(sums), Scale(PARTS), guards=guards)


def _status(spec: ABExperimentSpec, counts: Counts, *, is_over: bool = False) -> ABExperimentStatus:
    terms = terms_of(spec)
    judged = judge(terms, counts)
    is_told = is_over or (spec.stopping.method == "Sequential" and judged.has_sample)
    compared = {v.name: one for v, one in zip(spec.variants, judged.compared, strict=True) if one and is_told}
    zero = Answered(requests=0, tokens=0)
    costs = {
        v.name: VariantCost(amount=12.5, answered=zero, amount_before=0.0, answered_before=zero) for v in spec.variants
    }
    condition = {"status": "True", "lastTransitionTime": timestamp(BEGAN), "observedGeneration": 1}
    conditions = [{**condition, "type": kind, "reason": reason, "message": said} for kind, reason, said in _HEALTH]
    at = {"estimated_decision_time": "2026-03-09T12:00:00Z"}
    stand = {
        v.name: guardrails_told(judged, place, terms.level, is_told=is_told) for place, v in enumerate(spec.variants)
    }
    status = ABExperimentStatus.parse({"phase": "Running", "reason": "Sufficient", "conditions": conditions}).having(
        started_at=timestamp(BEGAN),
        users=sum(counts.users),
        variants=variants_told(
            spec, counts, compared, costs, stand, has_means=is_told or spec.stopping.method == "Sequential"
        ),
        sample_ratio=SampleRatio(p_value=judged.spread_p),
        power=Power(required_users_per_variant=judged.powered, **at) if judged.powered else None,
    )
    return with_dropped(spec, status, judged.latched)


def _with(*names: str) -> dict[str, Any]:
    added = [
        {"name": name, "modelVersionRef": {"name": f"spam-filter-{number}"}, "weight": 50}
        for number, name in enumerate(names, 8)
    ]
    return {"variants": [*SPEC["variants"], *added]}


_EQUALS: dict[str, Any] = {
    "type": "AA",
    "decision": {"mode": "Observe"},
    "variants": [{**variant, "modelVersionRef": {"name": "spam-filter-6"}} for variant in SPEC["variants"]],
}
GUARDED: dict[str, Any] = {
    "metrics": {
        **SPEC["metrics"],
        "guardrails": [
            {"name": "failures", "source": "Errors", "max": 0.05},
            {"name": "beside", "source": "Errors", "maxRegressionPercent": 50},
        ],
    }
}


def with_condition(made: Papers, kind: str, status: str, word: str, message: str, **changes: Any) -> Papers:
    """Return them with one more condition, and what else the status says."""
    told = {"type": kind, "status": status, "reason": word, "message": message}
    more = [Condition.parse({**told, "lastTransitionTime": timestamp(made.now), "observedGeneration": 1})]
    kept = [one for one in made.status.conditions if one.type != kind]
    return replace(made, status=made.status.having(conditions=[*kept, *more], **changes))


def _ended(outcome: str, reason: str) -> Papers:
    made = papers(hours=60)
    told = {"outcome": outcome, "rule": outcome.lower(), "reason": reason, "snapshot": "{}"}
    decision = DecisionStatus.parse({**told, "decidedAt": timestamp(made.now)})
    return replace(made, status=made.status.having(phase="Aborted", decision=decision))


_NAMES = ("bold", "brief", "careful", "a-name-that-takes-all-of-its-room", "mild", "odd")
_BAKES = "clients get ModelVersion spam-filter-7, but for 10 % at most who stay with the control"
_RETURNED = "it was aborted by `abort` while the winner baked, so everybody returned to the control"
_APPROVE = "set `decision.approve: tuned` to promote it: tuned is better than stable"

EXAMPLES = {
    "pending": Papers(experiment(SPEC), ABExperimentSpec.parse(SPEC), ABExperimentStatus(), BEGAN),
    "running": papers(hours=60),
    "sound": papers(hours=336, lifts=(0.0,), per_hour=200, decides=True, **_EQUALS),
    "unsound": papers(hours=168, decides=True, **_EQUALS),
    "promoted": papers(hours=168, decides=True),
    "three": papers(hours=100, lifts=(0.3, -0.25), **_with("bold")),
    "fixed": papers(hours=60, stopping={**SPEC["stopping"], "method": "FixedHorizon"}),
    "fixed-over": papers(hours=336, per_hour=20, decides=True, stopping={**SPEC["stopping"], "method": "FixedHorizon"}),
    "paused": with_condition(
        papers(hours=60),
        "RouteProgrammed",
        "False",
        "Suspended",
        "`suspend` is set",
        phase="Paused",
        reason="Suspended",
        paused_at="2026-03-04T20:00:00Z",
    ),
    "recommended": with_condition(
        papers(hours=168),
        "AwaitingApproval",
        "True",
        "Recommended",
        _APPROVE,
        recommended="tuned",
        reason="Recommended",
    ),
    "baking": with_condition(papers(hours=168, decides=True), "Baked", "False", "Baking", _BAKES, phase="Baking"),
    "returned": with_condition(
        papers(hours=168, decides=True), "Baked", "False", "Aborted", _RETURNED, phase="Aborted"
    ),
    "aborted": _ended("Aborted", "somebody has set `abort`"),
    "replaced": _ended("ControlReplaced", "`production` of m was given to version 9, which is not the control"),
    "guarded": papers(
        hours=100, lifts=(0.3, -0.25, 0.1), failing=(30, 34, 2, 22), **_with("bold", "careful"), **GUARDED
    ),
    "guarded-fixed": papers(
        hours=60, failing=(9, 9), stopping={**SPEC["stopping"], "method": "FixedHorizon"}, **GUARDED
    ),
    "breach": papers(hours=30, failing=(10_000, 2), decides=True, **GUARDED),
    "eight": papers(hours=60, lifts=(0.3, 0.2, -0.4, 0.1, 0.0, 0.5, -0.1), per_hour=20, **_with(*_NAMES)),
    "nobody": papers(hours=2, per_hour=0),
}


def main(folder: Path) -> None:
    """Write them."""
    for name, made in EXAMPLES.items():
        (folder / f"{name}.html").write_text(page(made))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
