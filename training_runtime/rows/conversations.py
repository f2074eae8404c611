"""What a row comes to: a conversation, or why there is none."""

from dataclasses import dataclass
from typing import Any

import orjson

__all__ = ["Conversation", "Message", "Rejected", "at_path"]

Message = dict[str, str]


@dataclass(frozen=True)
class Conversation:
    """What training reads, the last message the answer; without messages the row is plain text."""

    messages: list[Message]
    asked: str
    """What is compared when repetitions are looked for: the questions without what all rows share."""
    label: str
    group: str


class Rejected(Exception):  # noqa: N818 - a finding, no failure
    """Why a row is not used; `kind` is the word it is counted under."""

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind


def at_path(content: Any, path: str) -> Any:  # noqa: ANN401 - a row holds anything
    """Return what a dotted path points at, also inside JSON text; raise KeyError with the path where nothing is."""
    value = content
    for part in path.split("."):
        if isinstance(value, str) and value.lstrip().startswith("{"):
            try:
                value = orjson.loads(value)
            except ValueError:
                raise KeyError(path) from None
        if not isinstance(value, dict) or part not in value:
            raise KeyError(path)
        value = value[part]
    return value
