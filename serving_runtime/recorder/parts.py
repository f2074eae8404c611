"""What one user adds to their arm's lists, by name; NAMES says what the numbers of each are.

Some is *open*: it changes with each answer, and the list by how much (`open_parts`, `late_part`). The rest is *closed*:
it enters once, when the user's window is over (`closed_parts`).
"""

import sqlite3
from collections.abc import Iterable, Mapping, Sequence

from .columns import COUNTS, WINDOWED
from .measures import MEASURES
from .quantiles import THRESHOLDS
from .sums import on_grid

__all__ = ["NAMES", "Values", "closed_parts", "late_part", "list_of", "open_parts", "rated_parts"]

_CELL = 104
NAMES: Mapping[str, Sequence[str]] = {
    "users": ("exposed", "failed"),
    "left": ("left",),
    "closed": ("users",),
    "late": ("values",),
    "ratio": ("n", "m", "d", "mm", "dd", "md"),
    "value": ("n", "y", "yy", "h", "yh", "x", "xx", "xy"),
    "quick": (
        *("n", "d", "dd"),
        *(f"{kind}{number}" for kind in ("c", "cc", "cd") for number in range(THRESHOLDS)),
    ),
}
"""By the first word of a list's name.

`users`: those who were exposed, and those of them who had a failure. `left`: those who left an answer before its end;
of users who did so before a release that counts them nothing is known. `closed`: those whose window is over. `late`:
values that came later. `ratio` of a measure: users who have it, the sums of totals, counts, their squares and product.
`value` of a metric, each user's mean on the grid: users with one, sum, squares; and of those with a history the users,
their sum of y, and x, its squares, and products. `quick`: users, answers, their squares; answers within each threshold,
their squares, and products with the answers.
"""
Values = tuple[dict[str, list[int]], list[tuple[str, int]]]
"""Lists, and cells of histograms."""


def list_of(kind: str, metric: str) -> str:
    """Return the name of a metric's list."""
    return f"{kind} {metric}"


def open_parts(counts: Sequence[int], quick: Sequence[int] | None) -> dict[str, list[int]]:
    """Return what a user's row adds."""
    told = dict(zip(COUNTS, counts, strict=True))
    parts = {"users": [1, int(told["failures"] > 0)]}
    if told["departed"]:
        parts["left"] = [1]
    for name, measure in MEASURES.items():
        m, d = measure.total(told), measure.count(told)
        if d:
            parts[list_of("ratio", name)] = [1, m, d, m * m, d * d, m * d]
    if quick:
        d, *within = quick
        parts["quick"] = [1, d, d * d, *within, *(c * c for c in within), *(c * d for c in within)]
    return parts


def late_part(connection: sqlite3.Connection, user: int) -> dict[str, list[int]]:
    """Return what a user's late values add."""
    rows = connection.execute("SELECT metric, late FROM ratings WHERE user = ? AND late > 0", (user,))
    return {list_of("late", metric): [late] for metric, late in rows}


def closed_parts(
    connection: sqlite3.Connection, user: int, counts: Sequence[int], ranges: Mapping[str, tuple[int, int]]
) -> Values:
    """Return what a user adds whose window is over; `counts` is what it held, as WINDOWED says."""
    told = dict(zip(WINDOWED, counts, strict=True))
    measured = [(name, measure.total(told), measure.count(told), 0, measure.most) for name, measure in MEASURES.items()]
    lists, cells = _values(connection, user, [*measured, *_rated(connection, user, ranges)])
    return {"closed": [1], **lists}, cells


def rated_parts(connection: sqlite3.Connection, user: int, ranges: Mapping[str, tuple[int, int]]) -> Values:
    """Return the part of it that feedback makes."""
    return _values(connection, user, _rated(connection, user, ranges))


_Measured = tuple[str, int, int, int, int]


def _rated(connection: sqlite3.Connection, user: int, ranges: Mapping[str, tuple[int, int]]) -> Iterable[_Measured]:
    rows = connection.execute("SELECT metric, window_total, window_count FROM ratings WHERE user = ?", (user,))
    return [(name, int(total), count, *ranges[name]) for name, total, count in rows if name in ranges]


def _values(connection: sqlite3.Connection, user: int, measured: Iterable[_Measured]) -> Values:
    rows = connection.execute("SELECT name, total, count FROM histories WHERE user = ?", (user,))
    before = {name: (int(total), count) for name, total, count in rows}
    lists, cells = {}, []
    for name, total, count, low, high in measured:
        if not count:
            continue
        y = on_grid(total, count, low, high)
        history = [0] * 5
        if name in before:
            x = on_grid(*before[name], low, high)
            history = [1, y, x, x * x, x * y]
        lists[list_of("value", name)] = [1, y, y * y, *history]
        cells.append((name, round(y / _CELL)))
    return lists, cells
