"""A peer's verdict, in the peer's environment: `python peer_verdict.py gbstats`.

The first line it is told says what to judge; at each further one it judges that again, and answers what it took and
found. It imports nothing of ours.
"""

import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

__all__ = ["main"]

Verdict = Callable[[], tuple[float, float]]
"""Returns the interval of the difference."""


def main() -> None:
    """Judge until nobody asks any more."""
    peers = {"gbstats": _gbstats, "tea-tasting": _tea_tasting, "spotify-confidence": _spotify_confidence}
    told = json.loads(sys.stdin.readline())
    verdict = peers[sys.argv[1]](told["arms"], told["level"], told["planned"])
    for _ in sys.stdin:
        began = time.process_time()
        lower, upper = verdict()
        took = time.process_time() - began
        print(json.dumps({"seconds": took, "lower": lower, "upper": upper}), flush=True)


def _gbstats(arms: Sequence[Mapping[str, float]], level: float, planned: float) -> Verdict:
    from gbstats.frequentist.tests import SequentialConfig, SequentialTwoSidedTTest
    from gbstats.models.statistics import SampleMeanStatistic

    def verdict() -> tuple[float, float]:
        pair = [SampleMeanStatistic(n=arm["n"], sum=arm["sum"], sum_squares=arm["squares"]) for arm in arms]
        how = SequentialConfig(difference_type="absolute", alpha=level, sequential_tuning_parameter=planned)
        lower, upper = SequentialTwoSidedTTest(*pair, how).compute_result().ci
        return lower, upper

    return verdict


def _tea_tasting(arms: Sequence[Mapping[str, float]], level: float, _: float) -> Verdict:
    import tea_tasting
    from tea_tasting.aggr import Aggregates

    def verdict() -> tuple[float, float]:
        pair = [Aggregates(count_=arm["n"], mean_={"y": _mean(arm)}, var_={"y": _variance(arm)}) for arm in arms]
        mean = tea_tasting.Mean("y", use_t=True, equal_var=False, confidence_level=1 - level)
        found = mean.analyze_aggregates(*pair)
        return found.effect_size_ci_lower, found.effect_size_ci_upper

    return verdict


def _spotify_confidence(arms: Sequence[Mapping[str, float]], level: float, _: float) -> Verdict:
    import pandas
    from spotify_confidence import StudentsTTest

    def verdict() -> tuple[float, float]:
        table = pandas.DataFrame([{"variant": name, **arm} for name, arm in zip("ab", arms, strict=True)])
        test = StudentsTTest(table, "sum", "squares", "n", ["variant"], interval_size=1 - level)
        found: Any = test.difference(level_1="a", level_2="b", absolute=True).iloc[0]
        return found["ci_lower"], found["ci_upper"]

    return verdict


def _mean(arm: Mapping[str, float]) -> float:
    return arm["sum"] / arm["n"]


def _variance(arm: Mapping[str, float]) -> float:
    return (arm["squares"] - arm["sum"] ** 2 / arm["n"]) / (arm["n"] - 1)


if __name__ == "__main__":
    main()
