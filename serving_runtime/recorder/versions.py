"""What each version answered, whoever asked: in an experiment or not, and whether they said who they are.

Counted with the position that the lines reach to, so each counts once. It names nobody: nothing of it is ever erased.
"""

import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

__all__ = ["add", "answered"]

_COUNTS = ("requests", "prompt_tokens", "completion_tokens")
_ADD = """
INSERT INTO versions (name, requests, prompt_tokens, completion_tokens) VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET
    requests = requests + excluded.requests,
    prompt_tokens = prompt_tokens + excluded.prompt_tokens,
    completion_tokens = completion_tokens + excluded.completion_tokens
"""
_LOOK = "SELECT requests, prompt_tokens, completion_tokens FROM versions WHERE name = ?"


def add(connection: sqlite3.Connection, answers: Iterable[Mapping[str, Any]]) -> None:
    """Count answers for their versions; of those that came to none, as nothing was to answer them, nothing."""
    changes: dict[str, list[int]] = defaultdict(lambda: [0] * len(_COUNTS))
    for answer in answers:
        if version := answer.get("version"):
            tokens = (int(answer.get(name) or 0) for name in _COUNTS[1:])
            changes[version] = [old + new for old, new in zip(changes[version], (1, *tokens), strict=True)]
    connection.executemany(_ADD, [(name, *counts) for name, counts in changes.items()])


def answered(connection: sqlite3.Connection, version: str) -> dict[str, int]:
    """Return a version's requests, and the tokens of what was asked and answered."""
    row = connection.execute(_LOOK, (version,)).fetchone()
    return dict(zip(_COUNTS, row or (0, 0, 0), strict=True))
