"""What a peer says of data, in the peer's environment: `python peer_program.py gbstats`, a line of JSON in, one out.

Each answers by the names of methods, those of ours that it has, too. It imports nothing of ours.
"""

import json
import math
import sys
from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["main"]

Data = Mapping[str, Any]
Answer = Mapping[str, list[float]]


def main() -> None:
    """Answer until nobody asks any more."""
    peers: dict[str, Callable[[Data], Answer]] = {
        "gbstats": _gbstats,
        "tea-tasting": _tea_tasting,
        "spotify-confidence": _spotify_confidence,
        "confseq": _confseq,
    }
    for line in sys.stdin:
        print(json.dumps(peers[sys.argv[1]](json.loads(line))), flush=True)


def _gbstats(data: Data) -> Answer:
    from gbstats.frequentist import tests
    from gbstats.models import statistics

    def sums(values: list[float]) -> Any:
        return statistics.SampleMeanStatistic(len(values), math.fsum(values), _product(values, values))

    def found(test: Any) -> list[float]:
        result = test.compute_result()
        return [*result.ci, result.p_value]

    level, planned, pair = data["level"], data["planned"], data["arms"][:2]
    fixed = tests.FrequentistConfig(difference_type="absolute", alpha=level)
    sequential = tests.SequentialConfig(difference_type="absolute", alpha=level, sequential_tuning_parameter=planned)
    plain = [sums(arm["values"]) for arm in pair]
    ratios = [
        statistics.RatioStatistic(
            len(arm["totals"]), sums(arm["totals"]), sums(arm["counts"]), _product(arm["totals"], arm["counts"])
        )
        for arm in pair
    ]
    adjusted = [
        statistics.RegressionAdjustedStatistic(
            len(arm["values"]), sums(arm["values"]), sums(arm["before"]), _product(arm["values"], arm["before"]), 0.0
        )
        for arm in pair
    ]
    theta = statistics.compute_theta(*adjusted)
    for arm in adjusted:
        arm.theta = theta
    return {
        "welch": found(tests.TwoSidedTTest(*plain, fixed)),
        "welch_above": [tests.OneSidedTreatmentGreaterTTest(*plain, fixed).p_value],
        "sequence": found(tests.SequentialTwoSidedTTest(*plain, sequential)),
        "ratio_welch": found(tests.TwoSidedTTest(*ratios, fixed)),
        "cuped_welch": found(tests.TwoSidedTTest(*adjusted, fixed)),
        "cuped_sequence": found(tests.SequentialTwoSidedTTest(*adjusted, sequential)),
    }


def _tea_tasting(data: Data) -> Answer:
    import tea_tasting
    from tea_tasting.aggr import Aggregates

    def aggregated(arm: Mapping[str, list[float]]) -> Any:
        variances = {name: _covariance(values, values) for name, values in arm.items()}
        covariances = {(a, b): _covariance(arm[a], arm[b]) for a in arm for b in arm if a < b}
        means = {name: math.fsum(values) / len(values) for name, values in arm.items()}
        return Aggregates(len(arm["values"]), means, variances, covariances)

    def found(metric: Any) -> list[float]:
        result = metric.analyze_aggregates(*pair)
        return [result.effect_size_ci_lower, result.effect_size_ci_upper, result.pvalue]

    how = {"use_t": True, "equal_var": False, "confidence_level": 1 - data["level"]}
    pair = [aggregated(arm) for arm in data["arms"][:2]]
    ratio = pair[1].count() / pair[0].count()
    asked = {"alternative": "greater", "use_t": False, "alpha": data["level"] / 2, "power": data["power"]}
    planned = tea_tasting.Mean("values", ratio=ratio, n_obs=pair[0].count() + pair[1].count(), **asked)
    return {
        "welch": found(tea_tasting.Mean("values", **how)),
        "welch_above": found(tea_tasting.Mean("values", alternative="greater", **how))[2:],
        "ratio_welch": found(tea_tasting.RatioOfMeans("totals", "counts", **how)),
        "cuped_welch": found(tea_tasting.Mean("values", "before", **how)),
        "effect": [planned.solve_power_from_aggregates(pair[0], "effect_size")[0].effect_size],
    }


def _spotify_confidence(data: Data) -> Answer:
    import pandas
    from spotify_confidence import StudentsTTest

    rows = [
        {"variant": f"v{place}", "sum": math.fsum(y), "squares": _product(y, y), "n": len(y)}
        for place, y in enumerate(arm["values"] for arm in data["arms"])
    ]

    def found(several: list[dict[str, Any]], level: float) -> Any:
        table = pandas.DataFrame(several)
        test = StudentsTTest(
            table, "sum", "squares", "n", ["variant"], interval_size=1 - level, correction_method="holm"
        )
        return test.multiple_difference(level="v0", absolute=True, level_as_reference=True)

    one = found(rows[:2], data["level"]).iloc[0]
    return {
        "welch": [one["ci_lower"], one["ci_upper"], one["p-value"]],
        "holm": [*found(rows, data["level"])["adjusted p-value"]],
    }


def _confseq(data: Data) -> Answer:
    from confseq import boundaries

    level, planned = data["level"], data["planned"]
    values = [arm["values"] for arm in data["arms"][:2]]
    control, challenger = (math.fsum(y) / len(y) for y in values)
    users, error = sum(map(len, values)), math.sqrt(sum(_covariance(y, y) / len(y) for y in values))
    at = (challenger - control) / error * math.sqrt(users)
    (failed, others), share = data["failed"], data["share"]
    p_q = share * (1 - share)
    first = failed - share * (failed + others), (failed + others) * p_q
    prior = (2 / min(share, 1 - share) + 1) * p_q
    v_opt = prior * (2 * math.log(10) + math.log1p(2 * math.log(10)))
    half = boundaries.normal_mixture_bound(users, level, planned, alpha_opt=level, is_one_sided=False)
    evidence = boundaries.normal_log_mixture(at, users, planned, alpha_opt=level, is_one_sided=False)
    return {
        "half": [half / math.sqrt(users) * error],
        "log_p": [-min(max(evidence, 0.0), 300 * math.log(10))],
        "evidence_above": [boundaries.normal_log_mixture(at, users, planned, alpha_opt=level / 2, is_one_sided=True)],
        "failures": [boundaries.beta_binomial_log_mixture(*first, v_opt, share, 1 - share)],
    }


def _product(ones: list[float], others: list[float]) -> float:
    return math.fsum(a * b for a, b in zip(ones, others, strict=True))


def _covariance(ones: list[float], others: list[float]) -> float:
    usual, others_usual = math.fsum(ones) / len(ones), math.fsum(others) / len(others)
    pairs = zip(ones, others, strict=True)
    return math.fsum((a - usual) * (b - others_usual) for a, b in pairs) / (len(ones) - 1)


if __name__ == "__main__":
    main()
