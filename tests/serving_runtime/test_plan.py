"""Assignment is a pure function of salt and user."""

from collections import Counter

from scipy import stats

from serving_runtime.plan import BUCKETS, boundaries, bucket


def test_golden_buckets() -> None:
    # `printf s:u1 | sha1sum` begins with 262b6431, which is 640377905.
    # The router's Lua is held to the same in tests/router/test_requests.py.
    assert [bucket("s", user) for user in ("u1", "user-2", "사용자", "")] == [7905, 4873, 8854, 2968]


def test_buckets_are_dealt_out_by_weight_and_all_of_them() -> None:
    assert boundaries([50, 50]) == [5000, 10_000]
    assert boundaries([1, 2]) == [3333, 10_000]
    assert boundaries([1, 9999]) == [1, 10_000]
    assert boundaries([3, 3, 3]) == [3333, 6666, 10_000]
    assert boundaries([1, 10_000]) == [1, 10_000]
    assert boundaries([10_000, 1]) == [9999, 10_000]


def test_buckets_are_even_and_independent_between_experiments() -> None:
    users = [f"user-{number}" for number in range(40_000)]
    first, second = ([bucket(salt, user) * 10 // BUCKETS for user in users] for salt in ("one", "two"))
    for buckets in (first, second):
        assert stats.chisquare(list(Counter(buckets).values())).pvalue > 0.001
    table = Counter(zip(first, second, strict=True))
    assert stats.chi2_contingency([[table[a, b] for b in range(10)] for a in range(10)]).pvalue > 0.001
