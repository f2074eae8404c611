"""Random data of an experiment, by a seed: whole numbers as a recorder adds them up, and user by user for others."""

import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from anneal_operator.decide.statistics.cuped import History
from anneal_operator.decide.statistics.guarded import Ratio
from anneal_operator.decide.statistics.sums import Scale, Sums
from tests.support.counted import PARTS, ratio_over

__all__ = ["Drawn", "Users", "drawn"]

_MIDDLE = PARTS // 2


@dataclass(frozen=True)
class Users:
    """Of one variant, user by user: what they say, what they were like before, and totals and counts of a ratio."""

    values: list[int]
    before: list[int | None]
    totals: list[int]
    counts: list[int]

    @property
    def sums(self) -> Sums:
        return Sums(len(self.values), sum(self.values), sum(y * y for y in self.values))

    @property
    def history(self) -> History:
        known = [(y, x) for y, x in zip(self.values, self.before, strict=True) if x is not None]
        xs, products = [x for _, x in known], [x * y for y, x in known]
        return History(len(known), sum(y for y, _ in known), sum(xs), sum(x * x for x in xs), sum(products))

    @property
    def ratio(self) -> Ratio:
        return ratio_over(self.totals, self.counts)

    def told(self, scale: Scale) -> dict[str, list[float]]:
        """Return it for a peer, in the values' own unit; who has no history counts as in the middle."""

        def natural(places: Sequence[int]) -> list[float]:
            return [scale.low + scale.width * place / scale.parts for place in places]

        before = [_MIDDLE if x is None else x for x in self.before]
        ratio: dict[str, list[float]] = {"totals": [*self.totals], "counts": [*self.counts]}
        return {"values": natural(self.values), "before": natural(before)} | ratio


@dataclass(frozen=True)
class Drawn:
    """The control's users first; and numbers of the start and of failures."""

    arms: tuple[Users, ...]
    scale: Scale
    level: float
    planned: int
    power: float
    failed: tuple[int, int]
    """Users whose first failure is the challenger's, and the control's."""
    share: float
    """How often it would be the challenger's."""

    def told(self) -> dict[str, Any]:
        """Return it for a peer."""
        numbers = {name: value for name, value in asdict(self).items() if name not in {"arms", "scale"}}
        return numbers | {"arms": [users.told(self.scale) for users in self.arms]}


def drawn(seed: int) -> Drawn:
    """Return the data of a seed: two to five variants of 20 to 5,000 users who do not all say the same."""
    rng = random.Random(seed)
    scale = Scale(PARTS, rng.uniform(-5, 5), rng.uniform(0.5, 10))
    shape = rng.choice([_fractions, _stars, _rare])
    return Drawn(
        arms=tuple(_users(rng, shape(rng, _number(rng))) for _ in range(rng.choice([2, 2, 3, 5]))),
        scale=scale,
        level=rng.uniform(0.001, 0.2),
        planned=_number(rng),
        power=rng.uniform(0.6, 0.95),
        failed=(rng.randint(0, 200), rng.randint(0, 200)),
        share=rng.uniform(0.05, 0.95),
    )


def _number(rng: random.Random) -> int:
    return int(20 * 250 ** rng.random())


def _users(rng: random.Random, values: list[int]) -> Users:
    likeness, habit, known = rng.random(), rng.uniform(0.1, 0.9), rng.uniform(0.3, 1)
    counts = [1 + int(rng.expovariate(0.2)) for _ in values]
    likely = [round(likeness * y + (1 - likeness) * rng.randint(0, PARTS)) for y in values]
    return Users(
        values=values,
        before=[x if rng.random() < known else None for x in likely],
        totals=[sum(rng.random() < habit for _ in range(d)) + (n == 0) for n, d in enumerate(counts)],
        counts=counts,
    )


def _fractions(rng: random.Random, n: int) -> list[int]:
    peak = rng.random()
    return [round(rng.triangular(0, PARTS, PARTS * peak)) for _ in range(n)]


def _stars(rng: random.Random, n: int) -> list[int]:
    weights = [rng.random() for _ in range(5)]
    return [star * PARTS // 4 for star in rng.choices(range(5), weights, k=n)]


def _rare(rng: random.Random, n: int) -> list[int]:
    rate = rng.uniform(0.01, 0.5)
    return [0, PARTS, *(PARTS if rng.random() < rate else 0 for _ in range(n - 2))]
