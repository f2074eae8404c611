"""Intervals against published values and other libraries', and against what happens when rows are drawn anew."""

import random

import pytest
from scipy.stats import binomtest
from sklearn.metrics import precision_recall_fscore_support

from training_runtime.evaluate.intervals import Interval, resampled, wilson
from training_runtime.evaluate.scores import Aggregate, Average, ClassAverage, Scores, difference

AVERAGES: tuple[Average, ...] = ("precision", "recall", "f1")


@pytest.mark.parametrize(("hits", "count"), [(0, 10), (10, 10), (81, 263), (1, 1), (112, 120), (500, 1000)])
def test_the_interval_of_a_share_is_wilson_s(hits: int, count: int) -> None:
    known = binomtest(hits, count).proportion_ci(0.95, "wilson")
    found = Scores.of([1.0] * hits + [0.0] * (count - hits)).interval(1)
    assert (found.low, found.high) == pytest.approx((known.low, known.high), abs=1e-9)


def test_the_interval_of_other_means_is_drawn_from_the_rows_and_the_same_for_the_same_seed() -> None:
    values = [float(value) for value in (1, 2, 3, 4, 5) for _ in range(40)]
    found = Scores.of(values, (1.0, 5.0)).interval(7)
    assert found == Scores.of(values, (1.0, 5.0)).interval(7)
    error = 1.96 * 2**0.5 / 200**0.5  # a normal mean's
    assert (found.low, found.high) == pytest.approx((3 - error, 3 + error), abs=0.03)


def test_an_interval_holds_what_it_promises() -> None:
    rng = random.Random(11)
    held = 0
    for _ in range(200):
        values = [rng.random() ** 3 for _ in range(60)]
        found = resampled(Scores.of(values).over, Scores.of(values).strata, 1, times=400)
        held += found.low <= 0.25 <= found.high  # the mean of a cube of [0, 1]
    assert 0.9 * 200 <= held < 200


@pytest.mark.parametrize(
    ("scores", "interval"),
    [
        (Scores.of([1.0] * 20), wilson(1.0, 20)),
        (Scores.of([0.5] * 20), wilson(0.5, 20)),
        (Scores.of([5.0] * 20, (1.0, 5.0)), Interval(1 + 4 * wilson(1.0, 20).low, 5.0)),
        (ClassAverage(["a", "b"] * 10, ["a", "b"] * 10, "f1"), wilson(1.0, 20)),
    ],
)
def test_rows_that_all_agree_are_no_certainty(scores: Scores | ClassAverage, interval: Interval) -> None:
    found = scores.interval(1)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))


@pytest.mark.parametrize("kind", AVERAGES)
def test_an_average_over_labels_is_scikit_learn_s_over_any_rows(kind: Average) -> None:
    import numpy as np

    rng = random.Random(5)
    truth = [rng.choice("aaabbc") for _ in range(80)]
    predicted = [one if rng.random() < 0.7 else rng.choice("abc?") for one in truth]
    scores = ClassAverage(truth, predicted, kind)
    for rows in ([*range(80)], [rng.randrange(80) for _ in range(80)], [3, 3, 3]):
        true, said = [truth[row] for row in rows], [predicted[row] for row in rows]
        known = precision_recall_fscore_support(true, said, labels=sorted(set(true)), average="macro", zero_division=0)
        assert scores.over(np.array(rows)) == pytest.approx(known[AVERAGES.index(kind)])
    found = scores.interval(1)
    assert found.low < scores.value < found.high


def test_what_another_library_makes_of_the_rows_has_an_interval_too() -> None:
    scores = Aggregate([(n, n % 3) for n in range(60)], lambda pairs: max(b for _, b in pairs) + len(pairs) / 60)
    assert scores.value == 3.0
    assert scores.interval(1) == Interval(3.0, 3.0)


def test_two_models_are_compared_on_the_same_labels() -> None:
    truth = ["a", "b", "c", "d"] * 30
    tuned = ClassAverage(truth, truth, "f1")
    base = ClassAverage(truth, ["a"] * 120, "f1")
    found = difference(tuned, base, 1)
    assert found.value == pytest.approx(0.9)
    assert 0.8 < found.low <= found.value <= found.high <= 1.0


def test_a_rare_label_has_its_part_in_a_macro_average_s_interval() -> None:
    truth = ["common"] * 90 + [f"rare {number}" for number in range(10)]
    wrong = ClassAverage(truth, ["common"] * 90 + ["common"] * 10, "recall")
    found = wrong.interval(1)
    assert wrong.value == pytest.approx(1 / 11)
    assert found.low < wrong.value < found.high
