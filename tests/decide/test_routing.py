"""Where a model's clients go, as a table of versions and experiments."""

from dataclasses import replace
from typing import Any

import pytest

from anneal_operator.api.ab_experiment import ABExperimentSpec
from anneal_operator.api.ab_experiment_status import ABExperimentStatus, DecisionStatus
from anneal_operator.api.conditions import Condition
from anneal_operator.api.route import Route
from anneal_operator.decide.routing import Experiment, Last, Version, route_of
from serving_runtime.plan import covered


def _version(name: str, number: int, *aliases: str, ready: bool = True, is_served: bool = True) -> Version:
    return Version(name, "m", number, aliases, ready, is_served)


def _experiment(
    phase: str = "Running",
    winner: str | None = None,
    ready: tuple[str, str] = ("True", "AllReady"),
    alias: tuple[str, str] | None = None,
    **changes: Any,
) -> Experiment:
    spec = {
        "modelName": "m",
        "control": "a",
        "variants": [
            {"name": "a", "modelVersionRef": {"name": "one"}, "weight": 1},
            {"name": "b", "modelVersionRef": {"name": "two"}, "weight": 1},
        ],
        "metrics": {"primary": {"name": "rating"}},
    }
    found = {"VariantsReady": ready} | ({"AliasMoved": alias} if alias else {})
    conditions = [
        Condition(type=kind, status=status, reason=reason, message="", last_transition_time="t", observed_generation=1)  # type: ignore[arg-type] # the table's strings
        for kind, (status, reason) in found.items()
    ]
    decision = winner and DecisionStatus(
        outcome="Winner", winner=winner, rule="r", reason="", decided_at="t", snapshot=""
    )
    status = ABExperimentStatus(phase=phase, conditions=conditions, decision=decision or None)
    return Experiment("x", "team", "uid", ABExperimentSpec.parse(spec | changes), status)


ARMS = [
    {"name": name, "modelVersionRef": {"name": version}, "weight": 1}
    for name, version in (("a", "one"), ("b", "two"), ("c", "three"))
]
ONE, TWO = _version("one", 1, "production"), _version("two", 2, "candidate")
LOADING = _version("two", 2, "production", ready=False)
NOBODY = _version("one", 1)
ASLEEP = replace(_version("one", 1, ready=False), is_asleep=True)
UNREAD = replace(_experiment(), status=ABExperimentStatus())
ELSEWHERE = UNREAD.spec.model_copy(update={"model_name": "other"})


@pytest.mark.parametrize(
    ("versions", "experiments", "last", "default"),
    [
        ([], [], None, None),
        ([TWO], [], None, "two"),
        ([_version("two", 2, ready=False)], [], None, None),
        ([ONE, TWO], [], None, "one"),
        ([ONE, TWO], [], "two", "one"),
        # an alias that moves is followed when its new holder answers
        ([NOBODY, LOADING], [], "one", "one"),
        ([NOBODY, _version("two", 2, "production")], [], "one", "two"),
        ([_version("one", 1, ready=False), LOADING], [], "one", "one"),
        ([NOBODY, _version("two", 2, "production", ready=False, is_served=False)], [], "one", "one"),
        ([_version("ten", 10), LOADING], [], "gone", None),
        (
            [_version("one", 1, ready=False), TWO, _version("idle", 3, "production", ready=False, is_served=False)],
            [],
            "one",
            "one",
        ),
        # while its holder is there, nobody is sent to one that nobody chose
        ([TWO, _version("idle", 3, "production", ready=False, is_served=False)], [], "idle", None),
        ([TWO, _version("idle", 3, "production", ready=False, is_served=False)], [], None, None),
        ([TWO, _version("one", 1, "production", ready=False, is_served=False)], [], "two", "two"),
        # as after a restore: what has not been heard of yet may hold it
        ([TWO, _version("new", 0, ready=False, is_served=False)], [], None, None),
        ([TWO, _version("new", 0, ready=False, is_served=False)], [], "two", "two"),
        ([ONE, _version("new", 0, ready=False, is_served=False)], [], None, "one"),
        ([LOADING], [], None, None),
        ([ONE, TWO], [UNREAD], None, None),
        ([ONE, TWO], [UNREAD], "one", "one"),
        ([ONE, TWO], [replace(UNREAD, spec=ELSEWHERE)], None, "one"),
        # two claim it, as one has yet to read that it was moved
        ([ONE, _version("two", 2, "production")], [], "one", "one"),
        ([ONE, _version("two", 2, "production")], [], None, "two"),
        # nobody holds it for a moment, or for ever
        ([NOBODY, _version("two", 2)], [], "one", "one"),
        ([_version("two", 2), _version("ten", 10)], [], "one", "ten"),
        # one that sleeps keeps its clients, as if it answered: they wake it
        ([ASLEEP, _version("two", 2)], [], "one", "one"),
        ([replace(ASLEEP, aliases=("production",)), _version("two", 2, "production")], [], "one", "one"),
        ([ASLEEP, _version("two", 2, "production")], [], "one", "two"),
        # a decision is the route until the alias has followed
        ([ONE, TWO], [_experiment("Promoted", "b")], "one", "two"),
        ([ONE, TWO], [_experiment("Promoted", "b", alias=("False", "Moving"))], "one", "two"),
        ([ONE, TWO], [_experiment("Promoted", "b", alias=("True", "Moved"))], "two", "one"),
        ([ONE, TWO], [_experiment("Promoted", "b", alias=("False", "HeldByAnother"))], "two", "one"),
        ([ONE], [_experiment("Promoted", "b")], "one", "one"),
        # but not where somebody, or another experiment, has given it to a third, compared or not
        ([NOBODY, TWO, _version("three", 3, "production")], [_experiment("Promoted", "b")], "three", "three"),
        (
            [NOBODY, TWO, _version("three", 3, "production")],
            [_experiment("Promoted", "b", variants=ARMS)],
            "three",
            "three",
        ),
        # and a winner that does not answer gets nobody who was not sent there already
        ([ONE, _version("two", 2, ready=False)], [_experiment("Promoted", "b")], "one", "one"),
        ([ONE, _version("two", 2, ready=False)], [_experiment("Promoted", "b")], "two", "two"),
        ([ONE, _version("two", 2, is_served=False)], [_experiment("Promoted", "b")], "one", "one"),
        ([ONE, TWO], [_experiment("RolledBack", "a")], "one", "one"),
        ([ONE, TWO], [_experiment("Promoted", "b", modelName="other")], "one", "one"),
    ],
)
def test_who_answers_the_bare_name(
    versions: list[Version], experiments: list[Experiment], last: str | None, default: str | None
) -> None:
    assert route_of("m", versions, experiments, Last(last)).default == default


@pytest.mark.parametrize(
    ("versions", "last", "named"),
    [
        ([ONE, TWO], {}, {"1": "one", "2": "two", "production": "one", "candidate": "two"}),
        # an alias is followed once its new holder answers, and named meanwhile
        (
            [ONE, _version("two", 2, "base", ready=False)],
            {"base": "one"},
            {"1": "one", "production": "one", "base": "one"},
        ),
        (
            [ONE, _version("two", 2, "base")],
            {"base": "one"},
            {"1": "one", "2": "two", "production": "one", "base": "two"},
        ),
        ([ONE, TWO], {"base": "one"}, {"1": "one", "2": "two", "production": "one", "candidate": "two"}),
        ([ONE, _version("two", 2, "base", is_served=False)], {"base": "two"}, {"1": "one", "production": "one"}),
        # a new holder that has no server takes no alias away
        (
            [ONE, _version("two", 2, "base", ready=False, is_served=False)],
            {"base": "one"},
            {"1": "one", "production": "one", "base": "one"},
        ),
        # what answered before is known by its number while it does not
        ([ONE, _version("two", 2, ready=False)], {"2": "two"}, {"1": "one", "2": "two", "production": "one"}),
        ([NOBODY], {}, {"1": "one"}),
    ],
)
def test_what_a_name_behind_the_at_sign_leads_to(
    versions: list[Version], last: dict[str, str], named: dict[str, str]
) -> None:
    assert route_of("m", versions, [], Last("one", last)).named == named


def test_production_names_whoever_the_clients_of_the_bare_name_get() -> None:
    loading = [NOBODY, _version("two", 2, "production", ready=False)]
    assert route_of("m", loading, [], Last("one")).named["production"] == "one"
    assert route_of("m", [ONE, TWO], [_experiment("Promoted", "b")], Last("one")).named["production"] == "two"


def test_of_another_model_nothing_is_routed() -> None:
    assert route_of("other", [ONE, TWO], [_experiment()], Last()) == Route(None, {})


@pytest.mark.parametrize(
    ("experiment", "versions", "splits"),
    [
        (_experiment(), [ONE, TWO], True),
        (_experiment("WarmingUp"), [ONE, TWO], True),
        (_experiment("WarmingUp", ready=("False", "VersionNotReady")), [ONE, TWO], False),
        (_experiment("Pending"), [ONE, TWO], False),
        (_experiment(ready=("False", "VersionNotReady")), [ONE, TWO], True),
        (_experiment(ready=("False", "VariantLost")), [ONE, TWO], False),
        (_experiment(), [ONE], False),
        (_experiment(), [ONE, _version("two", 2, is_served=False)], False),
        (_experiment("Promoted", "b"), [ONE, TWO], False),
        (_experiment(modelName="other"), [ONE, TWO], False),
    ],
)
def test_who_splits(experiment: Experiment, versions: list[Version], splits: bool) -> None:
    assert bool(route_of("m", versions, [experiment], Last()).splits) is splits


def test_of_two_winners_the_one_that_has_the_clients_or_was_found_first_keeps_them() -> None:
    versions = [ONE, TWO, _version("three", 3)]
    first, second = _experiment("Promoted", "b"), _experiment("Promoted", "c", variants=[ARMS[0], ARMS[2]])
    for experiments in ([_decided(first, 1), _decided(second, 2)], [_decided(second, 2), _decided(first, 1)]):
        assert route_of("m", versions, experiments, Last("one")).default == "two"
        assert route_of("m", versions, experiments, Last("three")).default == "three"


def _decided(experiment: Experiment, hour: int) -> Experiment:
    assert experiment.status.decision
    decision = experiment.status.decision.having(decided_at=f"2026-03-01T{hour:02}:00:00Z")
    return replace(experiment, status=experiment.status.having(decision=decision))


@pytest.mark.parametrize(
    ("uid", "step", "steps"), [("uid", 0, [0]), ("uid", 2, [2]), ("uid", 3, [3]), ("other", 2, [])]
)
def test_one_whose_status_was_lost_splits_as_it_did(uid: str, step: int, steps: list[int]) -> None:
    ramp = [{"coverage": 5, "for": "1h"}, {"coverage": 20, "for": "1h"}, {"coverage": 100}] if step else []
    lost = replace(_experiment(assignment={"ramp": ramp}), status=ABExperimentStatus())
    coverage = [100, 5, 20, 100][step]
    last = Last("one", split_by={uid: step}, covered={uid: covered(coverage)})
    found = [(split.step, split.coverage) for split in route_of("m", [ONE, TWO], [lost], last).splits]
    assert found == [(known, coverage) for known in steps]
    assert not route_of("m", [ONE], [lost], last).splits


def _in_layer(name: str, begin: int, end: int, **changes: Any) -> Experiment:
    layered = _experiment(assignment={"layer": {"name": "l", "from": begin, "to": end}}, **changes)
    return replace(layered, name=name, uid=f"uid-{name}")


@pytest.mark.parametrize(
    ("experiments", "splits"),
    [
        ([_in_layer("x", 0, 5000), _in_layer("y", 5000, 10000)], ["x", "y"]),
        ([_in_layer("x", 0, 5001), _in_layer("y", 5000, 10000)], ["x"]),
        ([_in_layer("x", 0, 5000), _experiment()], ["x"]),
        ([_experiment(), _in_layer("y", 0, 5000)], ["x"]),
        ([_in_layer("x", 0, 5000, phase="Pending"), _in_layer("y", 0, 5000)], ["y"]),
        ([_in_layer("x", 0, 5000, phase="Promoted", winner="b"), _in_layer("y", 5000, 10000)], ["y"]),
    ],
)
def test_experiments_with_other_users_split_at_once(experiments: list[Experiment], splits: list[str]) -> None:
    found = route_of("m", [ONE, TWO], experiments, Last()).splits
    assert [split.name for split in found] == splits
    assert {split.layer_salt for split in found} <= {"team/layers/l", ""}


@pytest.mark.parametrize(
    ("status", "last", "splits"),
    [
        (ABExperimentStatus(), {"uid-y": 0}, ["y"]),
        (ABExperimentStatus(phase="Running"), {"uid-y": 0}, ["y"]),
        (ABExperimentStatus(phase="Running"), {}, ["y"]),
        (ABExperimentStatus(phase="Pending", observed_generation=1), {"uid-y": 0}, ["x"]),
    ],
)
def test_who_has_users_or_had_them_before_a_restore_leaves_them_to_none_that_only_begins(
    status: ABExperimentStatus, last: dict[str, int], splits: list[str]
) -> None:
    """As one that waited for the other may do while that one's status is lost."""
    begins, had = _in_layer("x", 0, 5000, phase="WarmingUp"), replace(_in_layer("y", 0, 5000), status=status)
    beside = _in_layer("a", 5000, 10000)
    found = route_of("m", [ONE, TWO], [beside, begins, had], Last("one", split_by=last)).splits
    assert [split.name for split in found] == ["a", *splits]


def test_the_split_has_the_step_of_the_ramp_that_the_status_tells() -> None:
    ramp = [{"coverage": 5, "for": "1h"}, {"coverage": 20, "for": "1h"}, {"coverage": 100}]
    for coverage, step in ((None, 1), (5, 1), (20, 2), (100, 3)):
        begun = _experiment(assignment={"ramp": ramp})
        begun = replace(begun, status=begun.status.having(coverage=coverage))
        assert [split.step for split in route_of("m", [ONE, TWO], [begun], Last()).splits] == [step]
    assert [split.step for split in route_of("m", [ONE, TWO], [_experiment()], Last()).splits] == [0]


def test_the_salt_follows_from_the_name_so_that_a_restore_moves_nobody() -> None:
    cases: list[tuple[str, dict[str, Any]]] = [("team/x", {}), ("s", {"assignment": {"salt": "s"}})]
    for salt, changes in cases:
        (split,) = route_of("m", [ONE, TWO], [_experiment(**changes)], Last()).splits
        assert split.salt == salt


BAKING = _experiment("Baking", "b", decision={"bake": "1h"})
GONE = _version("one", 1, "production", is_served=False)


@pytest.mark.parametrize(
    ("versions", "experiment", "default", "baking"),
    [
        ([ONE, TWO], BAKING, "two", ["b"]),
        # before the winner answers nobody is led to it, nor held back from it
        ([ONE, _version("two", 2, ready=False)], BAKING, "one", []),
        # a control without a server can hold back nobody
        ([GONE, TWO], BAKING, "two", []),
        # somebody gave `production` to a third version, or to the winner
        ([NOBODY, TWO, _version("three", 3, "production")], BAKING, "three", []),
        ([NOBODY, _version("two", 2, "production")], BAKING, "two", ["b"]),
        # a challenger that lost may be gone
        ([ONE, TWO], _experiment("Baking", "b", variants=ARMS), "two", ["b"]),
        # once it is over, or everybody returned, nobody is held back
        ([ONE, TWO], _experiment("Promoted", "b"), "two", []),
        ([ONE, TWO], _experiment("Aborted", "b"), "one", []),
        ([ONE, TWO], _experiment("Paused"), "one", []),
    ],
)
def test_a_winner_that_bakes_has_all_clients_but_for_those_held_back(
    versions: list[Version], experiment: Experiment, default: str, baking: list[str]
) -> None:
    route = route_of("m", versions, [experiment], Last("one", split_by={"uid": 0}, covered={"uid": 10_000}))
    assert (route.default, [split.baking for split in route.splits]) == (default, baking)
    assert [split.uid for split in route.splits] == ["uid-bake"] * len(baking), "the verdict's numbers stay as they are"


def test_an_experiment_that_is_over_may_be_deleted_with_no_effect_on_routes() -> None:
    won, lost = [NOBODY, _version("two", 2, "production")], [ONE, TWO]
    for versions, experiment, default in (
        (won, _experiment("Promoted", "b", alias=("True", "Moved")), "two"),
        (lost, _experiment("Promoted", "b", alias=("False", "HeldByAnother")), "one"),
        (lost, _experiment("RolledBack", "a"), "one"),
        (lost, _experiment("Inconclusive", "a"), "one"),
        (lost, _experiment("Aborted", "b"), "one"),
        (lost, _experiment("Observed", "b"), "one"),
    ):
        there = route_of("m", versions, [experiment], Last(default))
        assert there == route_of("m", versions, [], Last(default)), experiment.status.phase
        assert there.default == default


def test_a_challenger_that_was_dropped_splits_on_and_needs_no_server_any_more() -> None:
    experiment = _experiment(variants=ARMS)
    dropped = replace(experiment, status=experiment.status.having(dropped=["c"]))
    assert route_of("m", [ONE, TWO], [experiment], Last("one")).splits == ()
    (split,) = route_of("m", [ONE, TWO], [dropped], Last("one")).splits
    assert split.dropped == {"c"}
