"""What came of copies: of each challenger of an experiment that shadows, sums of whole numbers, and no text.

A copy is no answer that anybody got, so its line has a kind of its own. As answers are, copies are counted with the
position that the lines reach to, so each counts once. They name nobody: nothing of them is ever erased.
"""

import sqlite3
from collections import defaultdict
from collections.abc import Iterable
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from .sums import LOG_PARTS, log_of

__all__ = ["COPY", "SHADOWS", "Copy", "add", "shadowed"]

COPY = b'{"shadow":'
"""How such a line begins (serving_runtime/router/comparison.lua)."""
_Name = Annotated[str, Field(min_length=1, max_length=512)]
_Seconds = Annotated[float, Field(allow_inf_nan=False, ge=0, le=1e6)]
_Tokens = Annotated[int, Field(ge=0, le=1 << 31)]
_FAILED = {"error", "broken", "timeout"}
_MILLION = 1_000_000
_COUNTS = (
    "requests",
    "failures",
    "compared",
    "equal",
    "similarity",
    "timed",
    "ln_latency",
    "control_ln_latency",
    "firsts",
    "ln_first",
    "control_ln_first",
    "counted",
    "tokens",
    "control_tokens",
    "json_asked",
    "json_valid",
    "control_json_valid",
)
"""Of pairs of whole answers but for the first two. `similarity` is in millionths; `ln_latency` is a sum of logarithms
(sums.py) over `timed` pairs, `ln_first` the same of the time to the first content, over the `firsts` that were both
streams; `tokens` are those of `counted` pairs.
"""
SHADOWS = f"""
CREATE TABLE IF NOT EXISTS shadows (
    experiment TEXT NOT NULL, variant TEXT NOT NULL, {", ".join(f"{name} INTEGER NOT NULL" for name in _COUNTS)},
    PRIMARY KEY (experiment, variant)
) WITHOUT ROWID
"""
_COLUMNS = ", ".join(("experiment", "variant", *_COUNTS))
_ADD = (
    f"INSERT INTO shadows ({_COLUMNS}) VALUES ({', '.join('?' * (len(_COUNTS) + 2))})"  # noqa: S608
    f" ON CONFLICT DO UPDATE SET {', '.join(f'{name} = {name} + excluded.{name}' for name in _COUNTS)}"
)
_LOOK = f"SELECT variant, {', '.join(_COUNTS)} FROM shadows WHERE experiment = ?"  # noqa: S608


class _Copy(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)

    experiment: _Name
    variant: _Name
    outcome: _Name
    equal: bool | None = None
    """What follows is there where both answers are whole; nothing of an answer's text is."""
    similarity: Annotated[float, Field(ge=0, le=1)] = 0.0
    stream: bool = False
    first: _Seconds | None = None
    last: _Seconds | None = None
    tokens: _Tokens | None = None
    control_first: Annotated[_Seconds | None, Field(alias="controlFirst")] = None
    control_last: Annotated[_Seconds | None, Field(alias="controlLast")] = None
    control_tokens: Annotated[_Tokens | None, Field(alias="controlTokens")] = None
    json_valid: Annotated[bool | None, Field(alias="json")] = None
    control_json_valid: Annotated[bool | None, Field(alias="controlJson")] = None

    def counts(self) -> dict[str, int]:
        """Return what it adds."""
        made = {"requests": 1, "failures": int(self.outcome in _FAILED)}
        if self.equal is None:
            return made
        made |= {"compared": 1, "equal": int(self.equal), "similarity": round(self.similarity * _MILLION)}
        if self.last is not None and self.control_last is not None:
            made |= {"timed": 1, "ln_latency": log_of(self.last), "control_ln_latency": log_of(self.control_last)}
        if self.stream and self.first is not None and self.control_first is not None:
            made |= {"firsts": 1, "ln_first": log_of(self.first), "control_ln_first": log_of(self.control_first)}
        if self.tokens is not None and self.control_tokens is not None:
            made |= {"counted": 1, "tokens": self.tokens, "control_tokens": self.control_tokens}
        if self.json_valid is not None:
            valid = {"json_valid": int(self.json_valid), "control_json_valid": int(bool(self.control_json_valid))}
            made |= {"json_asked": 1, **valid}
        return made


class Copy(BaseModel):
    """A line about one copy of a request."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)

    shadow: _Copy


def add(connection: sqlite3.Connection, copies: Iterable[Copy]) -> None:
    """Count copies for their challengers."""
    changes: dict[tuple[str, str], dict[str, int]] = defaultdict(lambda: dict.fromkeys(_COUNTS, 0))
    for copy in copies:
        sums = changes[copy.shadow.experiment, copy.shadow.variant]
        for name, count in copy.shadow.counts().items():
            sums[name] += count
    connection.executemany(_ADD, [(*key, *sums.values()) for key, sums in changes.items()])


def shadowed(connection: sqlite3.Connection, experiment: str) -> dict[str, Any]:
    """Return the sums of each challenger of an experiment that was sent a copy; `parts` says how many make one."""
    rows = connection.execute(_LOOK, (experiment,)).fetchall()
    variants = {name: dict(zip(_COUNTS, counts, strict=True)) for name, *counts in rows}
    return {"variants": variants, "parts": {"similarity": _MILLION, "logarithm": LOG_PARTS}}
