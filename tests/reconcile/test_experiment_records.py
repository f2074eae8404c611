"""What MLflow keeps of an experiment: all of it, in what its database takes."""

import json
import random
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from anneal_operator.api.ab_experiment import ABExperimentSpec
from anneal_operator.api.ab_experiment_status import ABExperimentStatus
from anneal_operator.decide.ab_experiment import decide
from anneal_operator.decide.experiment_sample import verdict_of
from anneal_operator.decide.experiment_terms import terms_of
from anneal_operator.decide.observed_experiment import ObservedExperiment, Pin, Record, Returned, Stored
from anneal_operator.decide.statistics.comparison import Comparison
from anneal_operator.decide.statistics.cuped import History
from anneal_operator.decide.statistics.guarded import Guardrail, Guards, Ratio, Source
from anneal_operator.decide.statistics.guardrails import breach
from anneal_operator.decide.statistics.packed import packed
from anneal_operator.decide.statistics.recomputed import recomputed
from anneal_operator.decide.statistics.snapshot import Snapshot, shown
from anneal_operator.decide.statistics.sums import Scale, Sums
from anneal_operator.decide.statistics.terms import EQUALS_RULE, MEASURED_RULE, Counts, Cut
from anneal_operator.desired.experiments import record_name, record_name_with_ramp, start_kept
from anneal_operator.reconcile.experiment_records import record_of, remembered_in, start_of, text_of

COLUMN = 5000
"""Characters of `registered_model_tags.value` in MLflow's database; its client lets 100,000 pass."""


MOST_USERS, LARGEST = 10**8, 10**12
"""The greatest sample that may be asked for, and the greatest value that the recorder takes."""
PARTS = 2520 * 10**9
"""The recorder's."""
GRID = 1_048_320


def _largest_spec(direction: str) -> ABExperimentSpec:
    """As many variants as the API takes, and every name as long as it may be."""
    most = ABExperimentSpec.model_json_schema()["properties"]["variants"]["maxItems"]
    names = [f"{number:x}".rjust(63, "v") for number in range(most)]
    primary = {
        "name": "r" * 63,
        "direction": direction,
        "range": {"min": -999999999999.9999, "max": 999999999999.9999},
        "minimumDetectableEffect": 999999999999.9999,
    }
    return ABExperimentSpec.parse(
        {
            "modelName": "m" * 63,
            "control": names[0],
            "variants": [{"name": name, "modelVersionRef": {"name": name}, "weight": 10000} for name in names],
            "metrics": {"primary": primary},
            "stopping": {"confidence": 0.9999, "minUsersPerVariant": MOST_USERS},
        }
    )


def _largest(direction: str, sign: int, *, is_closed: bool = False) -> Record:
    """The record of a decision whose numbers have as many digits as there are."""
    spec = _largest_spec(direction)
    names, terms = [variant.name for variant in spec.variants], terms_of(spec)
    total = MOST_USERS * LARGEST * PARTS
    sums = (Sums(MOST_USERS, sign * total, total * LARGEST * PARTS),) * len(names)
    counted = (10 * MOST_USERS,) * len(names)
    latches = frozenset({"sampleRatio", "response"})
    counts = Counts(counted, counted, counted, sums, Scale(PARTS), moved=MOST_USERS, latched=latches)
    if is_closed:
        most = (MOST_USERS, MOST_USERS * GRID, MOST_USERS * GRID**2)
        sums, cut = (Sums(*most),) * len(names), (None, *[Cut(len(names), Sums(*most))] * (len(names) - 1))
        histories = (History(*most[:2], most[1], most[2], most[2]),) * len(names)
        scale = Scale(GRID, -999999999999.9999, 1999999999999.9998)
        counts = replace(counts, sums=sums, scale=scale, histories=histories, cut=cut)
        terms = replace(terms, closed=True)
    widest = shown(Comparison(-1.23e-100, -1.23e-100, -1.23e-100, 1.2e-300), "Feedback")
    why = f"users of one variant give {'r' * 63} more often than those of another"
    reason = f"{names[1]} looks better than {names[0]}, but {why}: {'r' * 63} {widest}"
    snapshot = Snapshot("r" * 63, tuple(names), terms, counts)
    now = datetime(2026, 3, 1, tzinfo=UTC)
    decision = verdict_of("Inconclusive", names[0], "sequence-0.9999", reason, snapshot, now)
    pins = {name: Pin(str(2**31), "sha256:" + "f" * 64) for name in names}
    started = "2026-03-01T12:00:00Z"
    return Record(started, decision, pins, is_closed=True, uid="u" * 36, terms=terms, latches=latches)


@pytest.mark.parametrize("direction", ["Increase", "Decrease"])
@pytest.mark.parametrize(("sign", "is_closed"), [(1, False), (-1, False), (1, True)])
def test_the_largest_record_fits_into_a_tag_of_mlflow_s_and_is_read_again(
    direction: str, sign: int, is_closed: bool
) -> None:
    record = _largest(direction, sign, is_closed=is_closed)
    assert len(text_of(record)) <= COLUMN
    assert remembered_in(text_of(record)) == record
    assert record.decision is not None
    assert len(record.decision.model_dump_json(by_alias=True)) <= COLUMN, "on the version that won"


def _guarded(record: Record) -> Record:
    """The same with as many guardrails as the API takes, and with numbers of which no two digits are alike."""
    assert record.decision is not None
    assert record.terms is not None
    rng = random.Random(1)
    sources: tuple[Source, ...] = ("Errors", "Latency", "TimeToFirstToken", "TimePerOutputToken")
    guardrails = tuple(Guardrail(f"{n}".rjust(63, "g"), one, regression=0.123456789) for n, one in enumerate(sources))
    terms = replace(record.terms, guardrails=guardrails, rule=2)
    digits = (8, 17, 10, 26, 13, 20)
    ratios: dict[str, tuple[Ratio, ...]] = {
        one: tuple(Ratio(*(rng.randrange(10**n) for n in digits)) for _ in terms.shares) for one in sources
    }
    guards = Guards(tuple(rng.randrange(10**8) for _ in terms.shares), ratios, dict.fromkeys(sources, 1048576))
    before = Snapshot.read(json.loads(record.decision.snapshot))
    snapshot = replace(before, terms=terms, counts=replace(before.counts, guards=guards)).text()
    return replace(record, terms=terms, decision=record.decision.model_copy(update={"snapshot": snapshot}))


def test_the_largest_record_with_guardrails_is_packed_and_read_again() -> None:
    record = _guarded(_largest("Increase", 1, is_closed=True))
    assert record.decision is not None
    told = record.decision.model_dump_json(by_alias=True)
    assert len(told) > COLUMN
    assert len(text_of(record)) <= COLUMN
    assert len(packed(told)) <= COLUMN, "on the version that won"
    assert remembered_in(text_of(record)) == record
    assert recomputed(packed(told)) == recomputed(told)


def test_the_largest_record_of_an_a_a_test_in_which_all_was_found_is_read_again() -> None:
    record = _guarded(_largest("Increase", 1, is_closed=True))
    assert record.decision is not None
    assert record.terms is not None
    terms = replace(record.terms, rule=EQUALS_RULE)
    names = [one.name for one in terms.guardrails]
    latches = record.latches | {breach(name, place) for name in names for place in range(1, len(terms.shares))}
    before = Snapshot.read(json.loads(record.decision.snapshot))
    snapshot = replace(before, terms=terms, counts=replace(before.counts, latched=latches))
    found = snapshot.conclusion()
    assert found is not None
    assert found.outcome == "Unsound"
    decision = verdict_of("Unsound", None, found.rule, found.sentence, snapshot, datetime(2026, 3, 1, tzinfo=UTC))
    kept = replace(record, terms=terms, decision=decision, latches=latches)
    assert len(text_of(kept)) <= COLUMN
    assert remembered_in(text_of(kept)) == kept
    assert recomputed(decision.model_dump_json(by_alias=True))[1]


def test_the_largest_record_of_what_is_measured_of_answers_is_packed_and_read_again() -> None:
    """With four guardrails of other sources all five are told; nobody says anything then."""
    record = _guarded(_largest("Decrease", 1))
    assert record.decision is not None
    assert record.terms is not None
    terms = replace(record.terms, source="OutputTokens", rule=MEASURED_RULE, increases=False, width=None, effect=0.1)
    before = Snapshot.read(json.loads(record.decision.snapshot))
    guards, nobody = before.counts.guards, (Sums(),) * len(terms.shares)
    assert guards is not None
    rng = random.Random(2)
    ratios = tuple(Ratio(*(rng.randrange(10**n) for n in (8, 17, 10, 26, 13, 20))) for _ in terms.shares)
    told = replace(guards, ratios={**guards.ratios, "OutputTokens": ratios}, parts={**guards.parts, "OutputTokens": 1})
    counts = replace(before.counts, sums=nobody, guards=told)
    snapshot = replace(before, terms=terms, counts=counts).text()
    record = replace(record, terms=terms, decision=record.decision.model_copy(update={"snapshot": snapshot}))
    assert len(text_of(record)) <= COLUMN
    assert remembered_in(text_of(record)) == record


@pytest.mark.parametrize("spoilt", ["zlib:", "zlib:%%%", "zlib:aGVsbG8=", "zlib:" + "x" * 6000])
def test_what_nobody_packed_is_as_if_mlflow_had_nothing(spoilt: str) -> None:
    assert remembered_in(spoilt) is None
    with pytest.raises(ValueError, match=r".+"):
        recomputed(spoilt)


@pytest.mark.parametrize(
    ("users", "latches"),
    [((*[MOST_USERS] * 7, 1), frozenset[str]()), ((MOST_USERS,) * 8, frozenset({"response"}))],
)
def test_what_was_missing_as_the_time_was_over_is_told_as_long_as_a_record_holds(
    users: tuple[int, ...], latches: frozenset[str]
) -> None:
    spec, now = _largest_spec("Increase"), datetime(2026, 3, 1, tzinfo=UTC)
    begun = Record("2026-01-01T00:00:00Z", terms=terms_of(spec), latches=latches)
    asked, sums = (10 * MOST_USERS,) * 8, (Sums(MOST_USERS, 5 * MOST_USERS, 26 * MOST_USERS),) * 8
    seen = ObservedExperiment(
        1,
        spec,
        ABExperimentStatus(phase="Running", started_at=begun.started_at),
        observations=Counts(users, asked, (0, *asked[1:]), sums, moved=MOST_USERS, latched=latches),
        stored=Stored("router", now, now),
        record=begun,
    )
    decision = decide(seen, now).status.decision
    assert decision is not None
    assert decision.reason.startswith("maxDuration passed: ")
    longest = _largest("Increase", 1, is_closed=True)
    assert longest.decision is not None
    largest = replace(longest, decision=longest.decision.model_copy(update={"reason": decision.reason}))
    assert len(text_of(largest)) <= COLUMN


MANIFEST = {"metadata": {"name": "x", "namespace": "n"}, "spec": _largest_spec("Increase").dump()}


@pytest.mark.parametrize("closes", [False, True])
def test_a_config_map_has_the_whole_record(closes: bool) -> None:
    record = replace(_largest("Increase", 1), is_closed=closes)
    assert record.decision is not None
    made = start_kept(MANIFEST, start_of(record), record.decision.dump(), closes=closes).manifest
    read = record_of(made, "x")
    assert read is not None
    assert read.content == record
    assert read.kept_as == made["metadata"]["name"]


def test_records_of_an_earlier_build_are_read() -> None:
    earlier = '{"closed":false,"decision":null,"startedAt":"t","uid":"u","variants":{"a":{"digest":"d","number":"1"}}}'
    record = Record("t", pins={"a": Pin("1", "d")}, uid="u")
    assert remembered_in(earlier) == record
    assert text_of(record) == earlier, "else MLflow would be told anew"
    made = start_kept(MANIFEST, start_of(record)).manifest
    assert list(made["data"]) == ["start.json"]
    assert "terms" not in made["data"]["start.json"]
    read = record_of(made, "x")
    assert read is not None
    assert read.content == record


def test_a_record_has_no_characters_to_spare() -> None:
    assert text_of(Record("t")) == '{"closed":false,"decision":null,"startedAt":"t","uid":"","variants":{}}'


def test_a_record_is_found_in_whatever_order_the_testers_are_named() -> None:
    """The API server takes them for a set, and so another order for no change."""

    def named(*users: str) -> str:
        override = {"header": "X-Variant", "users": list(users)}
        return record_name({**MANIFEST, "spec": {**MANIFEST["spec"], "assignment": {"override": override}}})

    assert named("ann", "bob") == named("bob", "ann") != named("ann", "eve")


def test_what_may_change_while_an_experiment_runs_is_not_in_its_record_s_name() -> None:
    def named(**changes: object) -> str:
        return record_name({**MANIFEST, "spec": {**MANIFEST["spec"], **changes}})

    ramp, other = [{"coverage": 5, "for": "1h"}, {"coverage": 100}], [{"coverage": 100}]
    recommends = {**MANIFEST["spec"]["decision"], "mode": "Recommend"}
    assert named() == named(suspend=True) == named(abort=True, suspend=True)
    assert named(assignment={"ramp": ramp}) == named(assignment={"ramp": other}) == named(assignment={}) == named()
    assert named(decision=recommends) == named(
        decision=recommends | {"approve": MANIFEST["spec"]["variants"][1]["name"]}
    )
    assert len({named(), named(decision=recommends), named(assignment={"salt": "s"})}) == 3


def test_records_of_an_earlier_build_have_the_names_that_it_gave_them() -> None:
    """As that build computed them: over all that the spec says."""
    spec = {
        "modelName": "m",
        "control": "a",
        "variants": [{"name": n, "modelVersionRef": {"name": f"m-{n}"}, "weight": 1} for n in "ab"],
        "metrics": {"primary": {"name": "rating"}},
    }

    def named(**changes: object) -> tuple[str, str]:
        made = {"metadata": {"name": "x"}, "spec": {**spec, **changes}}
        return record_name(made), record_name_with_ramp(made)

    assert named() == named(type="AB") == ("x-record-951ed159", "x-record-951ed159")
    salted = {"salt": "s", "ramp": [{"coverage": 5, "for": "1h"}, {"coverage": 100}]}
    assert named(assignment=salted) == ("x-record-72a4d8c9", "x-record-64c58dd0")
    assert named(assignment={"ramp": [{"coverage": 50}]}) == ("x-record-951ed159", "x-record-ff6193e8")


def test_a_recommendation_and_a_return_are_kept_and_read_again() -> None:
    decided = _largest("Increase", 1)
    assert decided.decision is not None
    advised = replace(decided, decision=None, recommendation=decided.decision, is_closed=False)
    returned = replace(decided, returned=Returned("Aborted", "it was aborted"))
    for record in (advised, returned):
        decision = record.decision.dump() if record.decision else None
        made = start_kept(MANIFEST, start_of(record), decision, closes=record.is_closed).manifest
        read = record_of(made, "x")
        assert read is not None
        assert read.content == record
        assert remembered_in(text_of(record)) == record
        assert len(text_of(record)) <= COLUMN


@pytest.mark.parametrize(
    ("direction", "is_the_same"), [({"direction": "Increase"}, True), ({"direction": "Decrease"}, False)]
)
def test_a_record_is_found_again_where_an_earlier_build_s_api_filled_in_that_more_is_better(
    direction: dict[str, str], is_the_same: bool
) -> None:
    names = [
        record_name({**MANIFEST, "spec": {**MANIFEST["spec"], "metrics": {"primary": {"name": "r", **told}}}})
        for told in ({}, direction)
    ]
    assert (names[0] == names[1]) is is_the_same
