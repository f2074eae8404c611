"""What came of scoring answers: how many were taken, scored and not, and how much of a judge's budget is spent.

The scores themselves are values like those that users say (feedback.py), under names that no client can say. Of the
answers' texts nothing comes here. A budget is one of a day, and durable: a scorer that begins anew goes on with it.
"""

import sqlite3
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from serving_runtime.scoring import SCORE

from .feedback import Said
from .sums import scaled

__all__ = ["SCORINGS", "Ask", "Report", "Scores", "add", "may_ask", "scoring"]

_DAY_SECONDS = 86400
_MOST = 1 << 40
_Name = Annotated[str, Field(min_length=1, max_length=63)]
_Count = Annotated[int, Field(ge=0, le=1 << 31)]
_WHOLE = "INTEGER NOT NULL DEFAULT 0"
_COUNTS = ("taken", "scored", "failed", "dropped")
SCORINGS = f"""
CREATE TABLE IF NOT EXISTS scorings (
    experiment TEXT NOT NULL, metric TEXT NOT NULL, {", ".join(f"{name} {_WHOLE}" for name in _COUNTS)},
    day {_WHOLE}, asked {_WHOLE}, denied {_WHOLE},
    PRIMARY KEY (experiment, metric)
) WITHOUT ROWID
"""
_ADD = (
    f"INSERT INTO scorings (experiment, metric, {', '.join(_COUNTS)}) VALUES (?, ?, ?, ?, ?, ?)"  # noqa: S608
    f" ON CONFLICT DO UPDATE SET {', '.join(f'{name} = {name} + excluded.{name}' for name in _COUNTS)}"
)
_LOOK = (
    f"SELECT {', '.join(_COUNTS)}, day, asked, denied FROM scorings"  # noqa: S608
    " WHERE experiment = ? AND metric = ?"
)


class _Score(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    exposure: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
    metric: _Name
    value: Annotated[float, Field(ge=0, le=1)]


class Scores(BaseModel):
    """Scores of answers; of one answer and metric the last holds, so they may be sent again."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    scores: Annotated[list[_Score], Field(max_length=1000)]

    def said(self) -> list[Said]:
        """Return them as they are counted."""
        return [Said(f"{SCORE}{one.metric}", scaled(one.value), one.exposure) for one in self.scores]


class Report(BaseModel):
    """What became of answers since the last report."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)

    metric: _Name
    taken: _Count = 0
    scored: _Count = 0
    failed: _Count = 0
    """Not scored, as the judge gave no score."""
    dropped: _Count = 0
    """Not scored, as there was no room, or no budget."""


class Ask(BaseModel):
    """One request that a judge is to be sent."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)

    metric: _Name
    most: Annotated[int, Field(ge=1, le=_MOST)]
    """How many there may be in a day."""


def add(connection: sqlite3.Connection, experiment: str, report: Report) -> None:
    """Add up what a scorer reports."""
    connection.execute(_ADD, (experiment, report.metric, *(getattr(report, name) for name in _COUNTS)))


def may_ask(connection: sqlite3.Connection, experiment: str, ask: Ask, now: float) -> bool:
    """Return whether there is budget for a request today (UTC), and spend it."""
    day, key = int(now // _DAY_SECONDS), (experiment, ask.metric)
    row = connection.execute("SELECT day, asked FROM scorings WHERE experiment = ? AND metric = ?", key).fetchone()
    if row is None:
        connection.execute("INSERT INTO scorings (experiment, metric, day) VALUES (?, ?, ?)", (*key, day))
    elif day > row[0]:  # a clock that was set back gives no second budget
        connection.execute(
            "UPDATE scorings SET day = ?, asked = 0, denied = 0 WHERE experiment = ? AND metric = ?", (day, *key)
        )
    may = row is None or day > row[0] or row[1] < ask.most
    column = "asked" if may else "denied"
    connection.execute(f"UPDATE scorings SET {column} = {column} + 1 WHERE experiment = ? AND metric = ?", key)  # noqa: S608
    return bool(may)


def scoring(connection: sqlite3.Connection, experiment: str, metric: str) -> dict[str, Any] | None:
    """Return what is known of the scoring of a metric, by the name of its values; None where nothing is."""
    row = connection.execute(_LOOK, (experiment, metric.removeprefix(SCORE))).fetchone()
    if row is None or not metric.startswith(SCORE):
        return None
    return dict(zip((*_COUNTS, "day", "asked", "denied"), row, strict=True))
