"""A recorder's file with millions of answers, written at once: by SQL in the order of nothing, as it would have grown.

Rows and sums are those that the recorder would have made of them. It is not measured: benchmarks/recorder.py goes on
with the file.
"""

import random
import sqlite3
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path

from serving_runtime.recorder.columns import ARM, COUNTS
from serving_runtime.recorder.ledger import add_moments
from serving_runtime.recorder.schema import connect
from serving_runtime.recorder.sums import Moments, log_of, scaled
from serving_runtime.recorder.upgrade import add_open_parts

__all__ = ["EXPERIMENT", "METRIC", "fill", "user_name", "variant_of"]

EXPERIMENT = "0b5c1a52-7c2e-4d53-9d0a-7a8f3c1de001"
METRIC = "user_rating"
_CHUNK = 100_000
_ID_BYTES = 16
_VALUES = range(1, 6)
_EACH = {"complete": 1, "latencies": 1, "ln_latency": log_of(1.0), "prompt_tokens": 200, "completion_tokens": 60}


def user_name(user: int) -> str:
    """As long as the router's hashes."""
    return f"{user:027x}="


def variant_of(user: int) -> str:
    """The arm of a user."""
    return "tuned" if user % 2 else "stable"


def _stars(user: int) -> float:
    return float(_VALUES[user % 5])


def fill(path: Path, answers: int, users: int, now: float, rating: Callable[[int], float] = _stars) -> None:
    """Write answers of so many users, all complete; each user has rated their first, by `rating`."""
    connection = connect(path)
    for pragma in ("journal_mode=OFF", "synchronous=OFF", "cache_size=-1500000"):
        connection.execute(f"PRAGMA {pragma}")
    with connection:
        scope = connection.execute(
            "INSERT INTO scopes (experiment, recorded) VALUES (?, ?)", (EXPERIMENT, now)
        ).lastrowid
        counts, firsts = array("I", bytes(4 * users)), array("I", bytes(4 * users))
        insert = "INSERT INTO answered (number, id, user, recorded) VALUES (?, ?, ?, ?)"
        connection.executemany(insert, _answers(answers, counts, firsts, now))
        columns = f"id, user, scope, variant, first, {', '.join(COUNTS)}"
        marks = ", ".join("?" * (5 + len(COUNTS)))
        connection.executemany(f"INSERT INTO users ({columns}) VALUES ({marks})", _users(counts, scope or 0, now))  # noqa: S608
        _sum_up(connection)
        add_open_parts(connection)
        _rate(connection, firsts, scope or 0, rating)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.close()


def _answers(
    count: int, counts: "array[int]", firsts: "array[int]", now: float
) -> Iterator[tuple[int, object, int, float]]:
    rng, users = random.Random(3), len(counts)  # noqa: S311 - reproducible
    for start in range(0, count, _CHUNK):
        drawn = rng.randbytes(_ID_BYTES * _CHUNK)
        for at in range(min(_CHUNK, count - start)):
            own = drawn[at * _ID_BYTES : (at + 1) * _ID_BYTES]
            user, number = int.from_bytes(own[:6]) % users, start + at + 1
            counts[user] += 1
            firsts[user] = firsts[user] or number
            yield number, own, user + 1, now


def _users(counts: "array[int]", scope: int, now: float) -> Iterator[tuple[object, ...]]:
    for user, requests in enumerate(counts):
        parts = [requests if name == "requests" else requests * _EACH.get(name, 0) for name in COUNTS]
        if requests:
            yield user + 1, user_name(user), scope, variant_of(user), now, *parts


def _sum_up(connection: sqlite3.Connection) -> None:
    sums = ", ".join("COUNT(*)" if name == "users" else f"SUM({name})" for name in ARM)
    columns = ", ".join(("scope", "variant", *ARM))
    connection.execute(f"INSERT INTO arms ({columns}) SELECT scope, variant, {sums} FROM users GROUP BY scope, variant")  # noqa: S608


def _rate(connection: sqlite3.Connection, firsts: "array[int]", scope: int, rating: Callable[[int], float]) -> None:
    said = [(user + 1, number, scaled(rating(user))) for user, number in enumerate(firsts) if number]
    columns = "user, answer, metric, event, value, in_window"
    rows = [(user, number, METRIC, f"{user:x}", value, value) for user, number, value in said]
    connection.executemany(f"INSERT INTO said ({columns}) VALUES (?, ?, ?, ?, ?, ?)", rows)  # noqa: S608
    columns = "user, metric, count, total, window_count, window_total"
    rated = [(user, METRIC, value, value) for user, _, value in said]
    connection.executemany(f"INSERT INTO ratings ({columns}) VALUES (?, ?, 1, ?, 1, ?)", rated)  # noqa: S608
    for arm in (0, 1):
        own = [Moments.of_user(1, value) for user, _, value in said if (user - 1) % 2 == arm]
        total = Moments(len(own), sum(each.total for each in own), sum(each.squares for each in own))
        add_moments(connection, "arm_metrics", (scope, variant_of(arm)), METRIC, total)
