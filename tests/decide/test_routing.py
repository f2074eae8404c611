"""Where a model's clients go, as a table of versions and experiments."""

from typing import Any

import pytest

from anneal_operator.api.ab_experiment import ABExperimentSpec, ABExperimentStatus, DecisionStatus
from anneal_operator.api.conditions import Condition
from anneal_operator.decide.routing import Experiment, Version, default_of, split_of


def _version(name: str, number: int, *aliases: str, ready: bool = True) -> Version:
    return Version(name, "m", number, aliases, ready)


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


ONE, TWO = _version("one", 1, "production"), _version("two", 2, "candidate")
LOADING = _version("two", 2, "production", ready=False)
NOBODY = _version("one", 1)


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
        ([_version("one", 1, ready=False), LOADING], [], "one", "two"),
        ([LOADING], [], None, "two"),
        # nobody holds it for a moment, or for ever
        ([NOBODY, _version("two", 2)], [], "one", "one"),
        ([_version("two", 2), _version("ten", 10)], [], "one", "ten"),
        # a decision is the route until the alias has followed
        ([ONE, TWO], [_experiment("Promoted", "b")], "one", "two"),
        ([ONE, TWO], [_experiment("Promoted", "b", alias=("False", "Moving"))], "one", "two"),
        ([ONE, TWO], [_experiment("Promoted", "b", alias=("True", "Moved"))], "two", "one"),
        ([ONE, TWO], [_experiment("Promoted", "b", alias=("False", "HeldByAnother"))], "two", "one"),
        ([ONE], [_experiment("Promoted", "b")], "one", "one"),
        ([ONE, TWO], [_experiment("RolledBack", "a")], "one", "one"),
        ([ONE, TWO], [_experiment("Promoted", "b", modelName="other")], "one", "one"),
    ],
)
def test_who_answers_the_bare_name(
    versions: list[Version], experiments: list[Experiment], last: str | None, default: str | None
) -> None:
    assert default_of("m", versions, experiments, {"m": last} if last else {}) == default


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
        (_experiment("Promoted", "b"), [ONE, TWO], False),
        (_experiment(modelName="other"), [ONE, TWO], False),
    ],
)
def test_who_splits(experiment: Experiment, versions: list[Version], splits: bool) -> None:
    assert (split_of("m", versions, [experiment]) is not None) is splits


def test_the_salt_follows_from_the_name_so_that_a_restore_moves_nobody() -> None:
    cases: list[tuple[str, dict[str, Any]]] = [("team/x", {}), ("s", {"assignment": {"salt": "s"}})]
    for salt, changes in cases:
        split = split_of("m", [ONE, TWO], [_experiment(**changes)])
        assert split is not None
        assert split.salt == salt
