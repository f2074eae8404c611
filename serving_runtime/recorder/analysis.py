"""What an analysis of an experiment needs, from its sums alone: it can be done again from this, and later, and offline.

A few rows per variant and day, however many users and answers there were, and histograms.
"""

import json
import sqlite3
from typing import Any

from .measures import INFINITE
from .parts import NAMES
from .quantiles import LATENCY
from .sums import unscaled

__all__ = ["sums"]

_SCOPE = "SELECT id, control, thresholds FROM scopes WHERE experiment = ?"
_SUMS = "SELECT variant, day, name, parts FROM sums WHERE scope = ? ORDER BY variant, day, name"
_CELLS = "SELECT variant, name, cell, count FROM cells WHERE scope = ? ORDER BY variant, name, cell"
_OF_ANSWERS = "answers."


def sums(connection: sqlite3.Connection, experiment: str, metric: str) -> dict[str, Any]:
    """Return, for a metric of feedback and what is measured of answers, lists by variant and day of enrolment (days
    since 1970), each number by its name (parts.py), and histograms by variant, of the number in each cell.

    `thresholds` are those of `quick`, in microseconds, None until they are set; `range` is the metric's.
    """
    connection.execute("BEGIN")  # all of it is of one moment
    try:
        return _sums(connection, experiment, metric)
    finally:
        connection.execute("COMMIT")


def _sums(connection: sqlite3.Connection, experiment: str, metric: str) -> dict[str, Any]:
    scope, control, thresholds = connection.execute(_SCOPE, (experiment,)).fetchone() or (None, None, None)
    limits = "SELECT low, high FROM ranges WHERE scope = ? AND metric = ?"
    row = connection.execute(limits, (scope, metric)).fetchone()
    variants: dict[str, Any] = {}
    for variant, day, name, parts in connection.execute(_SUMS, (scope,)):
        kind, _, of = name.partition(" ")
        if _is_asked(of, metric):
            days = _of(variants, variant)["days"]
            days.setdefault(day, {})[name] = dict(zip(NAMES[kind], json.loads(parts), strict=True))
    for variant, name, cell, count in connection.execute(_CELLS, (scope,)):
        if _is_asked(name, metric):
            place = "inf" if name == LATENCY and cell == INFINITE else str(cell)
            _of(variants, variant)["cells"].setdefault(name, {})[place] = count
    return {
        "control": control,
        "range": {"min": unscaled(int(row[0])), "max": unscaled(int(row[1]))} if row else None,
        "thresholds": json.loads(thresholds) if thresholds else None,
        "variants": variants,
    }


def _is_asked(name: str, metric: str) -> bool:
    return not name or name == metric or name.startswith(_OF_ANSWERS)


def _of(variants: dict[str, Any], variant: str) -> dict[str, Any]:
    found: dict[str, Any] = variants.setdefault(variant, {"days": {}, "cells": {}})
    return found
