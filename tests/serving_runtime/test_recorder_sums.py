"""The sums are those of a naive count over everything, in whatever order it came, how often, and whoever is erased."""

import math
import sqlite3
import statistics
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving_runtime.recorder.columns import ARM, COUNTS
from serving_runtime.recorder.database import Database
from serving_runtime.recorder.feedback import Outcome, Said
from serving_runtime.recorder.line import Exposure
from serving_runtime.recorder.sums import Moments, scaled

Event = tuple[str, Any]
METRICS = ("rating", "speed")

answers = st.builds(
    lambda number, user, variant, experiment, at, fate, tokens: {
        "exposure": f"{number:032x}",
        "completion": f"cmpl-{number}" if number % 2 else f"chatcmpl-{number:032x}",
        "model": "m",
        "experiment": experiment,
        "variant": variant if experiment else None,
        "user": user,
        "at": at,
        "promptTokens": tokens,
        **fate,
    },
    number=st.integers(0, 60),
    user=st.sampled_from(["u1", "u2", "u3", "u4"]),
    variant=st.sampled_from(["a", "b"]),
    experiment=st.sampled_from(["e", "f", None]),
    at=st.sampled_from([1.0, 2.0, 90000.0]),
    fate=st.sampled_from(
        [
            {"status": 200, "outcome": "complete", "last": 0.7},
            {"status": 200, "outcome": "broken", "last": 3.1},
            {"status": 503, "outcome": "error"},
            {"status": 499, "outcome": "left"},
            {"status": 200},
        ]
    ),
    tokens=st.integers(0, 9) | st.none(),
)
said = st.tuples(
    st.integers(0, 30),
    st.sampled_from(METRICS),
    st.sampled_from([1.0, 2.5, 0.1, -3.0, 1e12, 1e-9, 5.0]),
    st.sampled_from(["one", "two", "three"]),
    st.booleans(),
)


def _line(answer: dict[str, Any]) -> dict[str, Any]:
    return Exposure.model_validate(answer).model_dump()


def _said(number: int, metric: str, value: float, event: str, by_completion: bool) -> Said:
    if by_completion:
        name = f"cmpl-{number}" if number % 2 else f"chatcmpl-{number:032x}"
        return Said(metric, scaled(value), completion=name, event=event)
    return Said(metric, scaled(value), f"{number:032x}", event=event)


@contextmanager
def _database() -> Iterator[tuple[Database, Path]]:
    with TemporaryDirectory() as name:
        path = Path(name) / "recorder.sqlite"
        database = Database(path)
        try:
            yield database, path
        finally:
            database.close()


def _naive(lines: Sequence[dict[str, Any]], values: Sequence[Any], experiment: str) -> dict[str, Any]:
    """From everything at once: the first answer's variant is the user's, and a user's value the mean of theirs."""
    known = {line["exposure"]: line for line in lines}
    users: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for line in known.values():
        if line["experiment"] == experiment:
            users[line["user"]].append(line)
    arms: dict[str, Any] = {}
    for theirs in users.values():
        variant = min((line["at"], line["variant"]) for line in theirs)[1]
        arm = arms.setdefault(
            variant, {"users": 0, "requests": 0, "failures": 0, "moved": 0, "prompt": 0, "values": {}}
        )
        arm["users"] += 1
        arm["requests"] += len(theirs)
        arm["moved"] += len({line["variant"] for line in theirs}) > 1
        arm["failures"] += sum(line["outcome"] == "broken" or line["status"] >= 500 for line in theirs)
        arm["prompt"] += sum(line["prompt_tokens"] or 0 for line in theirs)
        ids = {line["exposure"] for line in theirs}
        for metric in METRICS:
            own = [scaled(value) for number, name, value, _, _ in values if name == metric and f"{number:032x}" in ids]
            if own:
                arm["values"].setdefault(metric, []).append(Fraction(sum(own), len(own)) / 10**9)
    return arms


def _told(database: Database, experiment: str) -> dict[str, Any]:
    arms: dict[str, Any] = {}
    for metric in METRICS:
        told = database.statistics(experiment, metric)
        for variant, arm in told["variants"].items():
            kept = arms.setdefault(variant, {"metrics": {}, **arm})
            kept.pop("metric", None)
            if "metric" in arm:
                kept["metrics"][metric] = arm["metric"]
    return arms


def _play(database: Database, events: Sequence[Event], size: int) -> None:
    for start in range(0, len(events), size):
        batch = events[start : start + size]
        database.record_exposures("s", start, [_line(value) for kind, value in batch if kind == "answer"])
        outcomes = database.record_feedback([_said(*value) for kind, value in batch if kind == "said"])
        assert set(outcomes) <= {Outcome.RECORDED, Outcome.HELD}


@settings(max_examples=60, deadline=None)
@given(
    st.lists(answers, max_size=25, unique_by=lambda answer: answer["exposure"]),
    st.lists(said, max_size=25, unique_by=lambda one: (one[0], one[1], one[3])),
    st.data(),
)
def test_any_order_and_any_replay_gives_the_sums_of_a_naive_count(
    told: list[dict[str, Any]], values: list[Any], data: st.DataObject
) -> None:
    events: list[Event] = [("answer", answer) for answer in told] + [("said", value) for value in values]
    again = data.draw(st.lists(st.sampled_from(events), max_size=20)) if events else []
    with _database() as (database, path):
        _play(database, data.draw(st.permutations(events + again)), data.draw(st.integers(1, 9)))
        for experiment in ("e", "f"):
            naive = _naive([_line(answer) for answer in told], values, experiment)
            found = _told(database, experiment)
            assert found.keys() == naive.keys()
            moved = database.statistics(experiment, "rating")["moved_users"]
            assert moved == sum(arm["moved"] for arm in naive.values())
            for variant, arm in naive.items():
                assert {name: found[variant][name] for name in ("users", "requests", "failures")} == {
                    name: arm[name] for name in ("users", "requests", "failures")
                }
                assert found[variant]["tokens"]["prompt"] == arm["prompt"]
                assert found[variant]["metrics"].keys() == arm["values"].keys()
                for metric, means in arm["values"].items():
                    sums = found[variant]["metrics"][metric]
                    assert sums["users"] == len(means)
                    assert sums["mean"] == pytest.approx(float(statistics.mean(means)), rel=1e-12, abs=1e-12)
                    spread = sum((mean - statistics.mean(means)) ** 2 for mean in means)
                    assert sums["squares"] == pytest.approx(float(spread), rel=1e-9, abs=1e-9)
        _rows_and_residual_are_the_sums(path)


def _rows_and_residual_are_the_sums(path: Path) -> None:
    """Recompute every sum from the rows, and add what is left of rows that are gone."""
    connection = sqlite3.connect(path)
    arms: dict[tuple[int, str], list[int]] = defaultdict(lambda: [0] * len(ARM))
    moments: dict[tuple[int, str, str], Moments] = defaultdict(Moments)
    rows = f"SELECT scope, variant, 1, moved, {', '.join(COUNTS)} FROM users WHERE variant IS NOT NULL"  # noqa: S608
    for query in (rows, "SELECT * FROM residual"):
        for scope, variant, *part in connection.execute(query):
            arms[scope, variant] = [a + b for a, b in zip(arms[scope, variant], part, strict=True)]
    ratings = "SELECT scope, variant, metric, count, total FROM ratings JOIN users ON ratings.user = id"
    for scope, variant, metric, count, total in connection.execute(f"{ratings} WHERE variant IS NOT NULL"):
        moments[scope, variant, metric] += Moments.of_user(count, int(total))
    for scope, variant, metric, *part in connection.execute("SELECT * FROM residual_metrics"):
        moments[scope, variant, metric] += Moments(*map(int, part))
    kept = {(scope, variant): part for scope, variant, *part in connection.execute("SELECT * FROM arms")}
    sums = connection.execute("SELECT * FROM arm_metrics")
    measured = {(scope, variant, metric): Moments(*map(int, part)) for scope, variant, metric, *part in sums}
    connection.close()
    assert {arm: part for arm, part in kept.items() if any(part)} == {
        arm: part for arm, part in arms.items() if any(part)
    }
    assert {key: part for key, part in measured.items() if part != Moments()} == {
        key: part for key, part in moments.items() if part != Moments()
    }


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.just("answer"), answers) | st.tuples(st.just("said"), said), max_size=30),
    st.integers(0, 30),
    st.sampled_from(["u1", "u2"]),
)
def test_whoever_is_erased_leaves_sums_as_they_were_and_no_row(events: list[Event], cut: int, user: str) -> None:
    with _database() as (database, path):
        _play(database, events[:cut], 5)
        before = [_told(database, experiment) for experiment in ("e", "f")]
        database.erase(user)
        assert [_told(database, experiment) for experiment in ("e", "f")] == before
        connection = sqlite3.connect(path)
        for table in ("said", "ratings"):
            left = f"SELECT COUNT(*) FROM {table} WHERE user NOT IN (SELECT id FROM users)"  # noqa: S608
            assert connection.execute(left).fetchone() == (0,)
        assert connection.execute("SELECT COUNT(*) FROM users WHERE user = ?", (user,)).fetchone() == (0,)
        connection.close()
        replayed = [_line(value) for kind, value in events[:cut] if kind == "answer"]
        database.record_exposures("other", 1, replayed)
        assert [_told(database, experiment) for experiment in ("e", "f")] == before
        for kind, value in events[cut:]:
            if kind == "answer":
                database.record_exposures("s", 99, [_line(value)])
            else:
                database.record_feedback([_said(*value)])
        _rows_and_residual_are_the_sums(path)


def test_means_of_up_to_ten_values_are_exact_and_of_more_nearly() -> None:
    for count in range(1, 11):
        assert Moments.of_user(count, scaled(5.0)).told()["mean"] == 5.0 / count
    assert math.isclose(Moments.of_user(11, scaled(5.0)).told()["mean"], 5.0 / 11, rel_tol=1e-12)
    assert Moments.of_user(0, 0) == Moments()
