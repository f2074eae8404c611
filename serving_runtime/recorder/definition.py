"""What an experiment measures, as the operator says: its control, and between what values a metric lies.

It is told before the first user, but nothing waits for it: said later, closed values enter the sums then, from the rows
of those whose window is over. It never changes, as an experiment does not.
"""

import sqlite3
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from .columns import State
from .parts import rated_parts
from .sums import scaled, stored
from .totals import Totals

__all__ = ["Definition", "Range", "Ranges", "define", "ranges_of"]

Ranges = dict[str, tuple[int, int]]
"""By metric, scaled (sums.py)."""
_DAY_SECONDS = 86400
_Bound = Annotated[float, Field(allow_inf_nan=False, ge=-1e12, le=1e12)]
_Metric = Annotated[str, Field(pattern=r"^(score[.])?[a-z][a-z0-9_]{0,62}$")]


class Range(BaseModel):
    """Between what values a metric lies."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    min: _Bound
    max: _Bound

    @model_validator(mode="after")
    def _has_width(self) -> Self:
        if scaled(self.min) >= scaled(self.max):
            raise ValueError("`max` must be above `min`")
        return self


class Definition(BaseModel):
    """What an experiment measures."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    control: Annotated[str, Field(min_length=1, max_length=63)]
    ranges: Annotated[dict[_Metric, Range], Field(max_length=16)] = {}


def define(connection: sqlite3.Connection, experiment: str, definition: Definition) -> bool:
    """Keep it; return whether it is what was said before, if anything was. The caller holds the transaction."""
    connection.execute("INSERT OR IGNORE INTO scopes (experiment) VALUES (?)", (experiment,))
    row = connection.execute("SELECT id, control FROM scopes WHERE experiment = ?", (experiment,)).fetchone()
    scope, control = row
    ranges = {name: (scaled(one.min), scaled(one.max)) for name, one in definition.ranges.items()}
    if control is not None:
        return bool(control == definition.control and ranges_of(connection, scope) == ranges)
    connection.execute("UPDATE scopes SET control = ? WHERE id = ?", (definition.control, scope))
    rows = [(scope, name, stored(low), stored(high)) for name, (low, high) in ranges.items()]
    connection.executemany("INSERT INTO ranges (scope, metric, low, high) VALUES (?, ?, ?, ?)", rows)
    if ranges:
        _make_up(connection, scope, ranges)
    return True


def ranges_of(connection: sqlite3.Connection, scope: int) -> Ranges:
    """Return an experiment's ranges."""
    rows: list[Any] = connection.execute("SELECT metric, low, high FROM ranges WHERE scope = ?", (scope,)).fetchall()
    return {metric: (int(low), int(high)) for metric, low, high in rows}


def _make_up(connection: sqlite3.Connection, scope: int, ranges: Ranges) -> None:
    """Have what was said by users whose window is over enter the sums."""
    totals = Totals(connection)
    select = "SELECT id, variant, first FROM users WHERE scope = ? AND state = ?"
    for user, variant, first in connection.execute(select, (scope, State.CLOSED)).fetchall():
        lists, cells = rated_parts(connection, user, ranges)
        totals.add((scope, variant), int(first // _DAY_SECONDS), lists)
        for name, cell in cells:
            totals.count((scope, variant), name, cell)
    totals.write()
