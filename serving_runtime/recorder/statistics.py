"""Statistics of an experiment, read from the arms' sums: a few rows, however many users and answers there were, and
a histogram of 10,081 cells at most.

In one statement, so that a look is of one moment, and does not wait at each of several for the thread that counts.
"""

import json
import sqlite3
from typing import Any

from .columns import ARM
from .measures import MEASURES
from .parts import NAMES
from .sums import GRID, Moments, mean_log, unscaled

__all__ = ["statistics"]

_LOOK = f"""
WITH scope AS (SELECT id, newest, control FROM scopes WHERE experiment = ?1)
SELECT
    (SELECT newest FROM scope),
    (SELECT json_group_array(json_array(variant, {", ".join(ARM)})) FROM arms WHERE scope = (SELECT id FROM scope)),
    (
        SELECT json_group_array(json_array(variant, users, total, squares)) FROM arm_metrics
        WHERE scope = (SELECT id FROM scope) AND metric = ?2 AND users > 0
    ),
    (SELECT control FROM scope),
    (SELECT json_array(low, high) FROM ranges WHERE scope = (SELECT id FROM scope) AND metric = ?2),
    (SELECT MAX(at) FROM sources),
    (SELECT COUNT(*) FROM waiting),
    (SELECT json_group_object(reason, count) FROM dead_letters),
    (
        SELECT json_group_array(json_array(variant, name, json(parts))) FROM sums
        WHERE scope = (SELECT id FROM scope)
        AND (name IN ('closed', 'value ' || ?2, 'users', 'left') OR name LIKE 'ratio answers.%')
    ),
    (
        SELECT json_group_array(json_array(variant, cell, count)) FROM cells
        WHERE scope = (SELECT id FROM scope) AND name = ?2
    )
"""  # noqa: S608


def statistics(connection: sqlite3.Connection, experiment: str, metric: str) -> dict[str, Any]:
    """Return per variant its users, requests, what became of these, and of users' mean values the count, mean and
    squared deviations; `closed` is the same of those whose window is over. `moved_users` were given more than one
    variant: 0 unless assignment is broken.

    `newest` is when the newest answer was asked for, and `reported` when a router last told of any (seconds since 1970,
    None: never), by which it is seen whether the numbers are fresh. `feedback` is the namespace's: what waits for its
    answer, and what was given up. `control` and `range` are what the experiment was said to measure, if it was.

    `open` is of all users, whether their window is over or not: how many had a failure, or left an answer, and the sums
    of each measure of answers (measures.py), of which `parts` make one.
    """
    newest, arms, metrics, control, limits, reported, waiting, dead, lists, cells = connection.execute(
        _LOOK, (experiment, metric)
    ).fetchone()
    counted = {name: dict(zip(ARM, arm, strict=True)) for name, *arm in json.loads(arms)}
    variants = {name: _told(arm) for name, arm in counted.items() if arm["users"]}
    for name, *moments in json.loads(metrics):
        variants[name]["metric"] = Moments(*map(int, moments)).told()
    by_days = json.loads(lists)
    for name, closed in _closed(by_days, json.loads(cells)).items():
        variants[name]["closed"] = closed
    return {
        "variants": variants,
        "open": {"variants": _open(by_days), "parts": {name: one.parts for name, one in MEASURES.items()}},
        "moved_users": sum(arm["moved"] for arm in counted.values()),
        "control": control,
        "range": dict(zip(("min", "max"), map(unscaled, map(int, json.loads(limits))), strict=True))
        if limits
        else None,
        "newest": newest,
        "reported": reported,
        "feedback": {"waiting": waiting, "dead": json.loads(dead)},
    }


def _closed(lists: list[Any], cells: list[Any]) -> dict[str, dict[str, Any]]:
    """Add up the days of enrolment."""
    found: dict[str, dict[str, Any]] = {}
    for variant, name, parts in lists:
        kind = name.partition(" ")[0]
        if kind not in {"closed", "value"}:
            continue
        closed = found.setdefault(variant, _nothing())
        if kind == "closed":
            closed["users"] += parts[0]
        else:
            closed["sums"] = {n: closed["sums"][n] + part for n, part in zip(NAMES[kind], parts, strict=True)}
    for variant, cell, count in cells:
        found[variant]["cells"][str(cell)] = count
    return found


def _open(lists: list[Any]) -> dict[str, dict[str, Any]]:
    """Add up the days of enrolment of what changes with each answer."""
    found: dict[str, dict[str, Any]] = {}
    for variant, name, parts in lists:
        kind, _, measure = name.partition(" ")
        if kind not in {"users", "left", "ratio"}:
            continue
        own = found.setdefault(variant, dict.fromkeys((*NAMES["users"], *NAMES["left"]), 0) | {"ratios": {}})
        into = own["ratios"].setdefault(measure, dict.fromkeys(NAMES[kind], 0)) if measure else own
        into |= {one: into[one] + part for one, part in zip(NAMES[kind], parts, strict=True)}
    return found


def _nothing() -> dict[str, Any]:
    return {"users": 0, "sums": dict.fromkeys(NAMES["value"], 0), "parts": GRID, "cells": {}}


def _told(arm: dict[str, int]) -> dict[str, Any]:
    told: dict[str, Any] = {name: arm[name] for name in ("users", "requests", "failures", "fallbacks")}
    outcomes = {"complete": "complete", "broken": "broken", "left": "departed", "error": "errors"}
    told["outcomes"] = {name: arm[column] for name, column in outcomes.items()}
    told["tokens"] = {"prompt": arm["prompt_tokens"], "completion": arm["completion_tokens"]}
    if count := arm["latencies"]:
        told["latency"] = {"answers": count, "mean_ln_ms": mean_log(count, arm["ln_latency"])}
    return told
