"""What a row comes to: a conversation, or why there is none.

A message has `role` and `content`, a text; an assistant's may have `reasoning_content` and `tool_calls`. The first may
carry `variables`: what the chat template is given beside the messages, such as `tools` or a row's context.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import orjson

__all__ = ["Conversation", "Message", "Part", "Rejected", "at_path", "question", "with_texts"]

Message = dict[str, Any]
_TEXTS = ("content", "reasoning_content")


class Part(NamedTuple):
    """The part of a turn that is its row's own: what stands before it, an instruction, is what all rows share."""

    turn: int
    start: int = 0


@dataclass(frozen=True)
class Conversation:
    """What training reads: the last message is the answer, or the only one a plain text."""

    messages: list[Message]
    parts: tuple[Part, ...]
    """What the row asks."""
    label: str
    group: str

    @property
    def asked(self) -> str:
        """What is compared when repetitions are looked for: the questions without what all rows share."""
        return "\n".join(self.messages[part.turn]["content"][part.start :] for part in self.parts)


def question(messages: Sequence[Mapping[str, Any]], *, system: bool = True) -> str:
    """Return all that is asked before the last message answers, as one text: the context by name, then the turns.

    Without the tools, and without the system's turns where `system` is False.
    """
    given = messages[0].get("variables", {})
    context = [f"{name}: {value}" for name, value in sorted(given.items()) if name != "tools" and value]
    turns = [message["content"] for message in messages[:-1] if system or message["role"] != "system"]
    return "\n".join([*context, *turns])


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


def with_texts(messages: list[Message], changed: Callable[[str], str]) -> list[Message]:
    """Return the messages with each text changed that a person may have written, in calls and variables too."""
    return [_with_texts(message, changed) for message in messages]


def _with_texts(message: Message, changed: Callable[[str], str]) -> Message:
    found: Message = {key: changed(value) if key in _TEXTS else value for key, value in message.items()}
    if "tool_calls" in found:
        found["tool_calls"] = [
            {**call, "function": {**function, "arguments": _within(function["arguments"], changed)}}
            for call in found["tool_calls"]
            for function in [call["function"]]
        ]
    if "variables" in found:
        given = found["variables"].items()
        found["variables"] = {name: value if name == "tools" else _within(value, changed) for name, value in given}
    return found


def _within(value: Any, changed: Callable[[str], str]) -> Any:  # noqa: ANN401 - JSON holds anything
    if isinstance(value, str):
        return changed(value)
    if isinstance(value, list):
        return [_within(item, changed) for item in value]
    return {key: _within(item, changed) for key, item in value.items()} if isinstance(value, dict) else value
