"""Statistics of an experiment, read from the arms' sums: a few rows, however many users and answers there were.

In one statement, so that a look is of one moment, and does not wait at each of several for the thread that counts.
"""

import json
import sqlite3
from typing import Any

from .columns import ARM
from .sums import Moments, mean_log, unscaled

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
    (SELECT json_group_object(reason, count) FROM dead_letters)
"""  # noqa: S608


def statistics(connection: sqlite3.Connection, experiment: str, metric: str) -> dict[str, Any]:
    """Return per variant its users, requests, what became of these, and of users' mean values the count, mean and
    squared deviations. `moved_users` were given more than one variant: 0 unless assignment is broken.

    `newest` is when the newest answer was asked for, and `reported` when a router last told of any (seconds since 1970,
    None: never), by which it is seen whether the numbers are fresh. `feedback` is the namespace's: what waits for its
    answer, and what was given up. `control` and `range` are what the experiment was said to measure, if it was.
    """
    newest, arms, metrics, control, limits, reported, waiting, dead = connection.execute(
        _LOOK, (experiment, metric)
    ).fetchone()
    counted = {name: dict(zip(ARM, arm, strict=True)) for name, *arm in json.loads(arms)}
    variants = {name: _told(arm) for name, arm in counted.items() if arm["users"]}
    for name, *moments in json.loads(metrics):
        variants[name]["metric"] = Moments(*map(int, moments)).told()
    return {
        "variants": variants,
        "moved_users": sum(arm["moved"] for arm in counted.values()),
        "control": control,
        "range": dict(zip(("min", "max"), map(unscaled, map(int, json.loads(limits))), strict=True))
        if limits
        else None,
        "newest": newest,
        "reported": reported,
        "feedback": {"waiting": waiting, "dead": json.loads(dead)},
    }


def _told(arm: dict[str, int]) -> dict[str, Any]:
    told: dict[str, Any] = {name: arm[name] for name in ("users", "requests", "failures", "fallbacks")}
    outcomes = {"complete": "complete", "broken": "broken", "left": "departed", "error": "errors"}
    told["outcomes"] = {name: arm[column] for name, column in outcomes.items()}
    told["tokens"] = {"prompt": arm["prompt_tokens"], "completion": arm["completion_tokens"]}
    if count := arm["latencies"]:
        told["latency"] = {"answers": count, "mean_ln_ms": mean_log(count, arm["ln_latency"])}
    return told
