"""An experiment of type Shadow: what is told of its copies, when it ends, and that nothing follows."""

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from anneal_operator.api.ab_experiment import ABExperimentSpec
from anneal_operator.api.ab_experiment_status import ABExperimentStatus
from anneal_operator.decide.ab_experiment import decide
from anneal_operator.decide.compared import Compared
from anneal_operator.decide.experiment_end import kept_versions
from anneal_operator.decide.observed_experiment import KeepDecision, KeepStart, ObservedExperiment, Stored
from anneal_operator.decide.statistics.recomputed import recomputed

from .contested import NOW, STARTED, condition, seen_of

HALF = Compared(
    requests=100,
    failures=4,
    compared=90,
    equal=45,
    similarity=81_000_000,
    timed=90,
    ln_latency=90 * 7 * 1000,
    control_ln_latency=90 * 6 * 1000,
    counted=90,
    tokens=900,
    control_tokens=450,
    json_asked=10,
    json_valid=9,
    control_json_valid=10,
    similarity_parts=1_000_000,
    logarithm_parts=1000,
)
BOTH = {"b": HALF, "c": HALF}
STALE = Stored("r", NOW - timedelta(hours=1), NOW)


def _spec(**changes: Any) -> ABExperimentSpec:
    variants = [{"name": name, "modelVersionRef": {"name": f"m-{n}"}, "weight": 1} for n, name in enumerate("abc", 1)]
    spec = {"type": "Shadow", "modelName": "m", "control": "a", "variants": variants, "decision": {"mode": "Observe"}}
    stopping = {"minDuration": "1h", "maxDuration": "24h"}
    return ABExperimentSpec.parse({**spec, "stopping": stopping, **changes})


def _seen(**changes: Any) -> ObservedExperiment:
    return seen_of(changes.pop("spec", _spec()), **{"shadowed": BOTH} | changes)


def test_what_is_compared_is_told_of_each_challenger_and_decides_nothing() -> None:
    verdict = decide(_seen(), NOW)
    status = verdict.status
    assert (status.phase, status.decision, verdict.apply, verdict.effects) == ("Running", None, (), ())
    assert condition(status, "DataFresh") == ("True", "RecordsStored")
    assert condition(status, "SampleSufficient") == ("True", "Sufficient")
    control, challenger, _ = status.variants
    assert control.shadow is None
    told = challenger.shadow
    assert told is not None
    assert (told.copies, told.failed, told.compared, told.identical, told.similarity) == (100, 4, 90, 0.5, 0.9)
    assert (told.latency_seconds, told.control_latency_seconds) == (1.097, 0.4034)
    assert (told.first_token_seconds, told.tokens, told.control_tokens) == (None, 10, 5)
    assert (told.json_asked, told.json_valid, told.control_json_valid) == (10, 9, 10)
    assert status.coverage is None


def test_it_begins_once_every_router_copies_and_keeps_its_record() -> None:
    fresh = ABExperimentStatus(phase="WarmingUp")
    verdict = decide(_seen(record=None, previous=fresh), NOW)
    assert [type(intent) for intent in verdict.apply] == [KeepStart]
    assert (verdict.status.phase, verdict.status.started_at) == ("Running", "2026-03-01T12:00:00Z")
    assert condition(verdict.status, "RouteProgrammed") == ("True", "Programmed")


@pytest.mark.parametrize(
    ("wanted", "told", "after", "is_over"),
    [
        (90, BOTH, 1, True),
        (91, BOTH, 1, False),
        (90, {"b": HALF}, 1, False),
        (90, BOTH, 0.9, False),
        (None, BOTH, 23, False),
        (None, BOTH, 24, True),
        (91, BOTH, 24, True),
        (None, {}, 24, True),
    ],
)
def test_it_ends_with_its_comparisons_or_its_time(
    wanted: int | None, told: dict[str, Compared], after: float, is_over: bool
) -> None:
    spec = _spec(shadow={"comparisons": wanted}) if wanted else _spec()
    at = NOW - timedelta(hours=2) + timedelta(hours=after)
    stored = Stored("r", at, at)
    verdict = decide(_seen(spec=spec, shadowed=told, stored=stored), at)
    assert (verdict.status.phase == "Observed") == is_over
    if is_over:
        decision = verdict.status.decision
        assert decision is not None
        assert (decision.outcome, decision.winner) == ("Observed", None)
        assert verdict.apply == (KeepDecision(decision, closes=True),)
        assert verdict.effects == ()
        assert kept_versions(spec, verdict.status) is None
        assert json.loads(decision.snapshot)["shadow"]["b"]["compared"] == (90 if told else 0)
        text, agrees = recomputed(decision.model_dump_json(by_alias=True))
        assert agrees
        assert "not a matter of numbers" in text


def test_numbers_that_are_not_fresh_end_nothing_and_at_its_time_are_waited_for() -> None:
    spec = _spec(shadow={"comparisons": 90})
    for changes in ({"stored": STALE}, {"shadowed": None}):
        verdict = decide(_seen(spec=spec, **changes), NOW)
        assert verdict.status.phase == "Running"
        assert condition(verdict.status, "DataFresh")[0] != "True"
    over = NOW + timedelta(hours=22)
    silent = _seen(shadowed=None, stored=Stored("r", over, over))
    assert decide(silent, over).status.phase == "Running"
    late = decide(silent, over + timedelta(minutes=10)).status
    assert (late.phase, late.decision and late.decision.reason) == (
        "Observed",
        "maxDuration passed: what was counted could not be read since",
    )


def test_it_rests_and_is_aborted_as_others_are() -> None:
    rests = decide(_seen(spec=_spec(suspend=True)), NOW).status
    assert (rests.phase, rests.decision) == ("Paused", None)
    ended = decide(_seen(spec=_spec(abort=True)), NOW).status
    assert (ended.phase, ended.decision and ended.decision.outcome) == ("Aborted", "Aborted")
    replaced = decide(_seen(production="7"), NOW).status
    assert (replaced.phase, replaced.decision and replaced.decision.outcome) == ("Aborted", "ControlReplaced")


@pytest.mark.parametrize("previous", [ABExperimentStatus(), None])
def test_a_challenger_that_routers_cannot_send_copies_is_told(previous: ABExperimentStatus | None) -> None:
    seen = _seen(**({} if previous is None else {"previous": previous, "record": None}))
    blind = {name: replace(found, takes_copies=name == "c") for name, found in seen.variants.items()}
    verdict = decide(replace(seen, variants=blind), NOW)
    assert (verdict.status.phase, verdict.apply) == ("Running" if previous is None else "Pending", ())
    assert condition(verdict.status, "VariantsReady") == ("False", "VersionCannotShadow")
    assert next(one for one in verdict.status.conditions if one.type == "VariantsReady").message.startswith(
        "ModelVersion m-2 has `backend.caCertificateRef`"
    )
    control = {name: replace(found, takes_copies=name != "a") for name, found in seen.variants.items()}
    assert condition(decide(replace(seen, variants=control), NOW).status, "VariantsReady")[0] == "True"


def test_its_end_stands_whatever_is_counted_later() -> None:
    spec = _spec(shadow={"comparisons": 90})
    ended = decide(_seen(spec=spec), NOW).status
    assert ended.decision is not None
    seen = _seen(spec=spec, previous=ended)
    assert seen.record is not None
    seen = replace(seen, record=replace(seen.record, decision=ended.decision, is_closed=True))
    again = decide(replace(seen, remembered=seen.record.content if seen.record else None), NOW + timedelta(hours=9))
    assert (again.status, again.apply, again.effects, again.progress) == (ended, (), (), "Settled")
    assert ended.started_at == STARTED
