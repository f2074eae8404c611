"""What came of scoring answers: how many were taken, scored and not.

The scores themselves are values like those that users say (feedback.py), under names that no client can say. Of the
answers' texts nothing comes here.
"""

import sqlite3
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from serving_runtime.scoring import SCORE

from .feedback import Said
from .sums import scaled

__all__ = ["SCORINGS", "Report", "Scores", "add", "scoring"]

_Name = Annotated[str, Field(min_length=1, max_length=63)]
_Count = Annotated[int, Field(ge=0, le=1 << 31)]
_WHOLE = "INTEGER NOT NULL DEFAULT 0"
_COUNTS = ("taken", "scored", "failed", "dropped")
SCORINGS = f"""
CREATE TABLE IF NOT EXISTS scorings (
    experiment TEXT NOT NULL, metric TEXT NOT NULL, {", ".join(f"{name} {_WHOLE}" for name in _COUNTS)},
    PRIMARY KEY (experiment, metric)
) WITHOUT ROWID
"""
_ADD = (
    f"INSERT INTO scorings (experiment, metric, {', '.join(_COUNTS)}) VALUES (?, ?, ?, ?, ?, ?)"  # noqa: S608
    f" ON CONFLICT DO UPDATE SET {', '.join(f'{name} = {name} + excluded.{name}' for name in _COUNTS)}"
)
_LOOK = (
    f"SELECT {', '.join(_COUNTS)} FROM scorings"  # noqa: S608
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
    """Not scored, as nothing could be made of them."""
    dropped: _Count = 0
    """Not scored, as there was no room."""


def add(connection: sqlite3.Connection, experiment: str, report: Report) -> None:
    """Add up what a scorer reports."""
    connection.execute(_ADD, (experiment, report.metric, *(getattr(report, name) for name in _COUNTS)))


def scoring(connection: sqlite3.Connection, experiment: str, metric: str) -> dict[str, Any] | None:
    """Return what is known of the scoring of a metric, by the name of its values; None where nothing is."""
    row = connection.execute(_LOOK, (experiment, metric.removeprefix(SCORE))).fetchone()
    if row is None or not metric.startswith(SCORE):
        return None
    return dict(zip(_COUNTS, row, strict=True))
