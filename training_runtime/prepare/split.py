"""Holding rows out: the same rows and seed give the same parts, and each stratum keeps its share in every part."""

import random
from collections import defaultdict
from collections.abc import Sequence

from training_runtime.errors import DataError
from training_runtime.plan import SplitPlan

__all__ = ["Parts", "split_rows"]

Parts = dict[str, list[int]]


def split_rows(strata: Sequence[str], rule: SplitPlan) -> Parts:
    """Return the positions of each part, in their order; raise DataError where a wanted part stays empty.

    `strata` has one entry per row. Shares are taken stratum by stratum with the rounding carried over, so that
    many small strata do not all round the same way.
    """
    groups: dict[str, list[int]] = defaultdict(list)
    for position, stratum in enumerate(strata):
        groups[stratum].append(position)
    parts: Parts = {"train": [], "validation": [], "test": []}
    owed = {"validation": 0.0, "test": 0.0}
    rng = random.Random(rule.seed)  # noqa: S311 - reproducible on purpose
    for stratum in sorted(groups):
        members = groups[stratum]
        rng.shuffle(members)
        for name, share in (("validation", rule.validation), ("test", rule.test)):
            owed[name] += share * len(groups[stratum])
            taken = min(round(owed[name]), len(members))
            owed[name] -= taken
            parts[name] += members[:taken]
            members = members[taken:]
        parts["train"] += members
    wanted = {"train": 1.0, "validation": rule.validation, "test": rule.test}
    for name, share in wanted.items():
        if share > 0 and not parts[name]:
            raise DataError(f"{len(strata)} rows leave none for {name}: give more rows or a larger share")
    return {name: sorted(positions) for name, positions in parts.items()}
