"""Sums that are the same whatever the order in which their parts came: whole numbers throughout, fractions at the end.

A value is kept to nine decimals, as its nearest whole number of thousand-millionths. A user's mean is rounded to a
2,520th of these, the least number that 1 to 10 divide: means of up to ten values are exact, and one of more is off by
less than 2e-13, the same in every order, as it follows from the exact count and sum. So no range has to be known.

Where a range is known, a user's mean is a whole number of 1,048,320ths of it: so its squares' sum fits 64 bits for
8 million users, and means of up to ten whole ratings are exact.
"""

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

__all__ = ["GRID", "LOG_PARTS", "Moments", "log_of", "mean_log", "on_grid", "scaled", "stored", "unscaled"]

_PARTS = 10**9
_MEAN_PARTS = 2520
LOG_PARTS = 1 << 20
GRID = 1_048_320
"""104 times 10,080, which is 4 times 2,520."""
_LARGEST = (1 << 63) - 1


def scaled(value: float) -> int:
    """Return a value as it is summed."""
    return round(Fraction(value) * _PARTS)


def unscaled(value: int) -> float:
    """Return it as it was given."""
    return value / _PARTS


def on_grid(total: int, count: int, low: int, high: int) -> int:
    """Return a mean's place between `low` and `high`, rounded half to even; beyond them it is at the end."""
    above, unit = (total - low * count) * GRID, count * (high - low)
    place, rest = divmod(above, unit)
    place += 2 * rest > unit or (2 * rest == unit and place % 2 == 1)
    return min(max(place, 0), GRID)


def log_of(seconds: float) -> int:
    """Return the logarithm of a latency in milliseconds as it is summed; below a millisecond counts as one."""
    return round(math.log(max(seconds * 1000, 1.0)) * LOG_PARTS)


def mean_log(count: int, total: int) -> float:
    """Return the mean of logarithms from their sum."""
    return total / (count * LOG_PARTS)


def stored(number: int) -> int | str:
    """Return a whole number as SQLite holds it."""
    return number if -_LARGEST <= number <= _LARGEST else str(number)


@dataclass(frozen=True, slots=True)
class Moments:
    """How many users gave a metric a value, the sum of their means, and of these means' squares."""

    users: int = 0
    total: int = 0
    squares: int = 0

    @classmethod
    def of_user(cls, count: int, total: int) -> "Moments":
        """Return one user's part, of the count and the sum of their values."""
        if not count:
            return cls()
        mean = round(Fraction(total * _MEAN_PARTS, count))
        return cls(1, mean, mean * mean)

    def __add__(self, other: "Moments") -> "Moments":
        return Moments(self.users + other.users, self.total + other.total, self.squares + other.squares)

    def __sub__(self, other: "Moments") -> "Moments":
        return Moments(self.users - other.users, self.total - other.total, self.squares - other.squares)

    def told(self) -> dict[str, Any]:
        """Return the users, their values' mean, the sum of squared deviations from it, and all of it in whole numbers,
        of which `parts` make one; there is one user at least.
        """
        unit = _PARTS * _MEAN_PARTS
        squares = self.users * self.squares - self.total**2
        return {
            "users": self.users,
            "mean": self.total / (self.users * unit),
            "squares": squares / (self.users * unit**2),
            "sums": {"n": self.users, "y": self.total, "yy": self.squares},
            "parts": unit,
        }
