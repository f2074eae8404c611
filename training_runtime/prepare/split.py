"""Holding rows out: the same rows and seed give the same parts, each stratum keeps its share in every part, and rows
of one group stay together."""

import random
from collections import defaultdict
from collections.abc import Sequence

from training_runtime.errors import DataError
from training_runtime.plan import SplitPlan
from training_runtime.workspace import PARTS

__all__ = ["split_rows"]


def split_rows(strata: Sequence[str], groups: Sequence[int] | None, rule: SplitPlan) -> bytearray:
    """Return each row's part as its number in PARTS; raise DataError where a wanted part stays empty.

    `strata` and `groups` have one entry per row; a group belongs to the stratum of its first row. Shares are taken
    stratum by stratum with the rounding carried over, so that many small strata do not all round the same way.
    """
    parts = bytearray(len(strata))
    owed = {1: 0.0, 2: 0.0}
    rng = random.Random(rule.seed)  # noqa: S311 - reproducible on purpose
    for waiting in _by_stratum(strata, groups):
        rng.shuffle(waiting)
        rows = sum(map(len, waiting))
        for part, share in ((1, rule.validation), (2, rule.test)):
            owed[part] += share * rows
            while waiting and owed[part] >= len(waiting[-1]) / 2:
                members = waiting.pop()
                owed[part] -= len(members)
                for position in members:
                    parts[position] = part
    for part, share in ((0, 1.0), (1, rule.validation), (2, rule.test)):
        if share > 0 and parts.count(part) == 0:
            raise DataError(f"{len(strata)} rows leave none for {PARTS[part]}: give more rows or a larger share")
    return parts


def _by_stratum(strata: Sequence[str], groups: Sequence[int] | None) -> list[list[list[int]]]:
    """For each stratum its groups, each as the positions of its rows; without groups each row is one."""
    units: dict[int, list[int]] = defaultdict(list)
    for position in range(len(strata)):
        units[groups[position] if groups is not None else position].append(position)
    by_stratum: dict[str, list[list[int]]] = defaultdict(list)
    for members in units.values():
        by_stratum[strata[members[0]]].append(members)
    return [by_stratum[stratum] for stratum in sorted(by_stratum)]
