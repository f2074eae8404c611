"""What users were like before the experiment, taken out of the spread of what they say in it (Deng, Xu, Kohavi 2013).

Who has no history counts as in the middle of the range: any constant will do that is not taken from the values.
"""

from dataclasses import astuple, dataclass

from .sums import Scale, Sums

__all__ = ["History", "adjusted_pair"]


@dataclass(frozen=True, slots=True)
class History:
    """Of the users with a value, those with a history: how many, the sum of their values, and of what they were like
    before, its squares, and products with the values.
    """

    h: int = 0
    yh: int = 0
    x: int = 0
    xx: int = 0
    xy: int = 0


@dataclass(frozen=True, slots=True)
class _Joint:
    """Values and what users were like before: their number, sums, and sums of squares and products."""

    n: int
    y: int
    x: int
    yy: int
    xx: int
    xy: int

    def __add__(self, other: "_Joint") -> "_Joint":
        return _Joint(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))

    @property
    def spread(self) -> tuple[int, int, int]:
        """Of values, of what was before, and of both together: n(n-1) times variances and covariance."""
        return (
            self.n * self.yy - self.y**2,
            self.n * self.xx - self.x**2,
            self.n * self.xy - self.y * self.x,
        )


def adjusted_pair(
    pair: tuple[Sums, Sums], histories: tuple[History, History], scale: Scale
) -> list[tuple[float, float]]:
    """Return mean and variance of both arms' values less what was to be expected of their users.

    By how much is the same for both, from both together; the control's mean is left as it is, so that the difference of
    the means is that of the arms.
    """
    joints = [_joint(sums, history, scale) for sums, history in zip(pair, histories, strict=True)]
    _, before, both = (joints[0] + joints[1]).spread
    theta = both / before if before else 0.0
    usual, unit = joints[0].x / joints[0].n, scale.width / scale.parts
    return [
        (
            scale.low + unit * (one.y / one.n - theta * (one.x / one.n - usual)),
            unit**2 * _variance(one, theta),
        )
        for one in joints
    ]


def _variance(one: _Joint, theta: float) -> float:
    values, before, both = one.spread
    return max(0.0, (values - 2 * theta * both + theta**2 * before) / (one.n * (one.n - 1)))


def _joint(sums: Sums, history: History, scale: Scale) -> _Joint:
    without, middle = sums.n - history.h, scale.parts // 2
    x = history.x + without * middle
    xx = history.xx + without * middle**2
    xy = history.xy + (sums.y - history.yh) * middle
    return _Joint(sums.n, sums.y, x, sums.yy, xx, xy)
