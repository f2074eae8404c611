"""Statistics of an experiment, read from the arms' sums: a few rows, however many users and answers there were."""

import sqlite3
from typing import Any

from .schema import ARM
from .sums import Moments, mean_log

__all__ = ["statistics"]


def statistics(connection: sqlite3.Connection, experiment: str, metric: str) -> dict[str, Any]:
    """Return per variant its users, requests, what became of these, and of users' mean values the count, mean and
    squared deviations. `moved_users` were given more than one variant: 0 unless assignment is broken.

    `newest` is when the newest answer was asked for, and `reported` when a router last told of any (seconds since 1970,
    None: never), by which it is seen whether the numbers are fresh. `feedback` is the namespace's: what waits for its
    answer, and what was given up.
    """
    connection.execute("BEGIN")
    try:
        row = connection.execute("SELECT id, newest FROM scopes WHERE experiment = ?", (experiment,)).fetchone()
        scope, newest = row or (None, None)
        sums = f"SELECT variant, {', '.join(ARM)} FROM arms WHERE scope = ?"  # noqa: S608
        arms = {name: dict(zip(ARM, arm, strict=True)) for name, *arm in connection.execute(sums, (scope,))}
        variants = {name: _told(arm) for name, arm in arms.items() if arm["users"]}
        for name, moments in _moments(connection, scope, metric):
            variants[name]["metric"] = moments.told()
        return {
            "variants": variants,
            "moved_users": sum(arm["moved"] for arm in arms.values()),
            "newest": newest,
            "reported": connection.execute("SELECT MAX(at) FROM sources").fetchone()[0],
            "feedback": _feedback(connection),
        }
    finally:
        connection.execute("COMMIT")


def _told(arm: dict[str, int]) -> dict[str, Any]:
    told: dict[str, Any] = {name: arm[name] for name in ("users", "requests", "failures", "fallbacks")}
    outcomes = {"complete": "complete", "broken": "broken", "left": "departed", "error": "errors"}
    told["outcomes"] = {name: arm[column] for name, column in outcomes.items()}
    told["tokens"] = {"prompt": arm["prompt_tokens"], "completion": arm["completion_tokens"]}
    if count := arm["latencies"]:
        told["latency"] = {"answers": count, "mean_ln_ms": mean_log(count, arm["ln_latency"])}
    return told


def _moments(connection: sqlite3.Connection, scope: int | None, metric: str) -> list[tuple[str, Moments]]:
    select = "SELECT variant, users, total, squares FROM arm_metrics WHERE scope = ? AND metric = ? AND users > 0"
    rows = connection.execute(select, (scope, metric))
    return [(variant, Moments(users, int(total), int(squares))) for variant, users, total, squares in rows]


def _feedback(connection: sqlite3.Connection) -> dict[str, Any]:
    waiting = connection.execute("SELECT COUNT(*) FROM waiting").fetchone()[0]
    return {"waiting": waiting, "dead": dict(connection.execute("SELECT reason, count FROM dead_letters"))}
