"""Assignment is a pure function of salt and user."""

import itertools
import json
from bisect import bisect
from collections import Counter
from pathlib import Path

import pytest
from scipy import stats

from serving_runtime.plan import (
    BUCKETS,
    FORMAT,
    PLAIN_FORMAT,
    ExperimentRoute,
    KeyRoute,
    LayerRoute,
    ModelRoute,
    OverrideRoute,
    RouteTable,
    VariantRoute,
    boundaries,
    bucket,
    covered,
    places,
)

GOLDEN = Path(__file__).parent / "golden/places.json"
"""The first 16 digits of `printf SALT:USER | sha1sum`, in two halves; tests/router holds the Lua to them, too."""
USERS = [f"user-{number}" for number in range(1_000_000)]


def _experiment(
    weights: tuple[int, ...] = (50, 50),
    coverage: int = 100,
    holdout: int = 0,
    layer: LayerRoute | None = None,
    salt: str = "team/x",
) -> ExperimentRoute:
    arms = [
        VariantRoute(name=f"arm-{number}", target=f"version-{number}", up_to=up_to)
        for number, up_to in enumerate(boundaries(weights))
    ]
    return ExperimentRoute(
        name="x",
        uid="uid",
        salt=salt,
        keys=[KeyRoute(kind="header", name="x-user-id")],
        control="arm-0",
        variants=arms,
        covered=covered(coverage, holdout),
        layer=layer,
    )


def test_golden_places() -> None:
    rows = json.loads(GOLDEN.read_text())
    assert [places(row["salt"], row["user"]) for row in rows] == [(row["bucket"], row["second"]) for row in rows]
    assert bucket("s", "u1") == 0x262B6431 % BUCKETS


def test_buckets_are_dealt_out_by_weight_and_all_of_them() -> None:
    assert boundaries([50, 50]) == [5000, 10_000]
    assert boundaries([1, 2]) == [3333, 10_000]
    assert boundaries([1, 9999]) == [1, 10_000]
    assert boundaries([3, 3, 3]) == [3333, 6666, 10_000]
    assert boundaries([1, 10_000]) == [1, 10_000]
    assert boundaries([10_000, 1]) == [9999, 10_000]
    assert boundaries([809, 1, 9052, 7098]) == [477, 478, 5814, 10_000]


@pytest.mark.parametrize("count", range(2, 9))
def test_every_variant_has_a_bucket_whatever_the_weights(count: int) -> None:
    """Without one nobody would be given it, and the users' spread could not be judged."""
    for weights in itertools.product((1, 9000, 10_000), repeat=count):
        ends = boundaries(weights)
        assert ends[-1] == BUCKETS
        assert all(begin < end for begin, end in itertools.pairwise([0, *ends])), weights


def test_buckets_are_even_and_independent_between_experiments() -> None:
    users = USERS[:40_000]
    first, second = ([bucket(salt, user) * 10 // BUCKETS for user in users] for salt in ("one", "two"))
    for buckets in (first, second):
        assert stats.chisquare(list(Counter(buckets).values())).pvalue > 0.001
    assert _are_independent(Counter(zip(first, second, strict=True)), 10)


def _are_independent(table: Counter[tuple[int, int]], parts: int) -> bool:
    return bool(stats.chi2_contingency([[table[a, b] for b in range(parts)] for a in range(parts)]).pvalue > 0.01)


@pytest.mark.parametrize(
    ("coverage", "holdout", "below"),
    [(100, 0, 10_000), (1, 0, 100), (10, 0, 1000), (100, 5, 9500), (10, 5, 950), (1, 90, 10), (33, 1, 3267)],
)
def test_coverage_is_a_share_of_who_is_not_held_out(coverage: int, holdout: int, below: int) -> None:
    assert covered(coverage, holdout) == below


def test_a_ramp_from_10_to_20_percent_moves_nobody_of_a_million_users() -> None:
    weights, told = (70, 20, 10), [places("team/x", user) for user in USERS]
    taken: list[set[int]] = []
    for coverage in (10, 20):
        experiment = _experiment(weights, coverage)
        ends = [variant.up_to for variant in experiment.variants]
        found = {number: bisect(ends, own) for number, (own, second) in enumerate(told) if second < experiment.covered}
        assert stats.binomtest(len(found), len(USERS), coverage / 100).pvalue > 0.01
        counts, expected = Counter(found.values()), [len(found) * weight / 100 for weight in weights]
        assert stats.chisquare([counts[arm] for arm in range(3)], expected).pvalue > 0.01
        for number in range(10_000):
            arm = found.get(number)
            assert experiment.assigned(USERS[number]) == ("arm-0" if arm is None else f"arm-{arm}", arm is not None)
        taken.append(set(found))
    assert taken[0] < taken[1], "who took part does so still; their variant is that of their bucket"
    assert _are_independent(Counter((own // 1000, second // 1000) for own, second in told[:200_000]), 10)


def test_a_single_bucket_has_its_share_at_any_coverage() -> None:
    """Shares are those of the weights, and not rounded to what a small coverage leaves of the buckets."""
    for coverage in (1, 7, 100):
        experiment = _experiment((1, 9999), coverage)
        assert [variant.up_to for variant in experiment.variants] == [1, 10_000]


def test_who_is_held_out_gets_the_control_at_every_coverage() -> None:
    users, full = USERS[:20_000], _experiment(holdout=5)
    held_out = {user for user in users if full.assigned(user) == ("arm-0", False)}
    assert stats.binomtest(len(held_out), len(users), 0.05).pvalue > 0.01
    for coverage in (10, 100):
        ramped = _experiment(coverage=coverage, holdout=5)
        assert {ramped.assigned(user) for user in held_out} == {("arm-0", False)}


def test_ranges_of_one_layer_share_out_its_users_and_leave_the_rest() -> None:
    users = USERS[:100_000]
    first = _experiment(layer=LayerRoute(salt="team/layers/l", begin=0, end=4000), salt="team/one")
    second = _experiment(layer=LayerRoute(salt="team/layers/l", begin=4000, end=9000), salt="team/two")
    found = Counter((first.assigned(user) is not None, second.assigned(user) is not None) for user in users)
    assert found[True, True] == 0
    shares = [found[True, False], found[False, True], found[False, False]]
    assert stats.chisquare(shares, [0.4 * len(users), 0.5 * len(users), 0.1 * len(users)]).pvalue > 0.01


def test_two_layers_are_independent() -> None:
    """And so are a layer and the split within it, so that one that follows in a range mixes its users anew."""
    users = USERS[:100_000]
    salts = ("team/layers/one", "team/layers/two", "team/x")
    deciles = [[bucket(salt, user) // 1000 for user in users] for salt in salts]
    for one, other in ((0, 1), (0, 2)):
        assert _are_independent(Counter(zip(deciles[one], deciles[other], strict=True)), 10)


def test_testers_have_their_variant_and_take_no_part() -> None:
    own = _experiment().model_copy(update={"override": OverrideRoute(header="x-variant", users=["u1"])})
    assert own.assigned("u1") == ("arm-0", False)
    assert own.assigned("u2") == ((_experiment().assigned("u2") or ("", False))[0], True)


@pytest.mark.parametrize(
    ("changes", "format_"),
    [
        ({}, PLAIN_FORMAT),
        ({"keys": [KeyRoute(kind="cookie", name="sid")]}, FORMAT),
        ({"keys": [KeyRoute(kind="header", name="x"), KeyRoute(kind="body", name="user")]}, FORMAT),
        ({"covered": 9999}, FORMAT),
        ({"epoch": 2}, FORMAT),
        ({"layer": LayerRoute(salt="l", begin=0, end=10_000)}, FORMAT),
        ({"override": OverrideRoute(header="x", users=["u"])}, FORMAT),
        ({"fallback": "arm-1"}, PLAIN_FORMAT),
        ({"fallback": "arm-1", "epoch": 2}, FORMAT),
    ],
)
def test_a_table_is_written_in_the_first_format_that_says_it_and_read_again(
    changes: dict[str, object], format_: int
) -> None:
    experiment = _experiment().model_copy(update=changes)
    routes = {"m": ModelRoute(default="one", named={"1": "one"}, experiments=[experiment])}
    table = RouteTable(targets={}, models={**routes, "other": ModelRoute(default=None, named={})})
    document = json.loads(json.dumps(table.document(table.stamped("2026-03-01T12:00:00Z", 1))))
    assert document["format"] == format_
    assert RouteTable.read(document) == table
    if format_ == PLAIN_FORMAT:
        told = document["models"]["m"]["experiment"]
        assert (set(told), told["headers"]) == (
            {"name", "uid", "salt", "headers", "control", "variants", *changes},
            ["x-user-id"],
        )
        assert document["models"]["other"] == {"default": None, "named": {}, "experiment": None}


def test_two_experiments_on_a_model_are_of_the_newer_format() -> None:
    both = ModelRoute(default="one", named={}, experiments=[_experiment(), _experiment(salt="team/y")])
    assert RouteTable(targets={}, models={"m": both}).format == FORMAT
