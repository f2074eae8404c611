"""What a model said in an answer, choice by choice: of a whole answer or of a stream, of any of
the three ways in which a model is asked. Thoughts are no part of what it said.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from serving_runtime.scoring import Answered

__all__ = ["Choice", "choices_of"]

_THOUGHT = re.compile(r"\A\s*<think(?:ing)?>.*?</think(?:ing)?>", re.DOTALL)
_DATA = re.compile(r"^data: ?(\{.*)$", re.MULTILINE)


@dataclass
class Choice:
    """One of the answers that a request got."""

    text: str = ""
    refusal: str = ""
    finish: str = ""
    has_calls: bool = False

    @property
    def said(self) -> str:
        """Without thoughts."""
        return _THOUGHT.sub("", self.text).strip()

    @property
    def is_call(self) -> bool:
        """Whether it calls a function, and says nothing."""
        return self.has_calls and not self.said


def choices_of(answered: Answered) -> list[Choice]:
    """Return what was said; raise an error of a value, type or key of what is no answer."""
    objects = list(_objects(answered))
    found = _of_responses(objects) if answered.kind == "responses" else _of_choices(objects)
    if not found:
        raise ValueError("the answer has no choices")
    return found


def _objects(answered: Answered) -> Iterator[dict[str, Any]]:
    texts = _DATA.findall(answered.answer) if answered.stream else [answered.answer]
    for text in texts:
        told = json.loads(text)
        if not isinstance(told, dict):
            raise TypeError("an answer is an object")
        yield told


def _of_choices(objects: list[dict[str, Any]]) -> list[Choice]:
    found: dict[int, Choice] = {}
    for told in objects:
        for one in told.get("choices") or ():
            choice = found.setdefault(int(one.get("index") or 0), Choice())
            message = one.get("message") or one.get("delta") or {}
            choice.text += _text(one.get("text")) + _text(message.get("content"))
            choice.refusal += _text(message.get("refusal"))
            choice.has_calls |= bool(message.get("tool_calls"))
            choice.finish = _text(one.get("finish_reason")) or choice.finish
    return [found[index] for index in sorted(found)]


def _of_responses(objects: list[dict[str, Any]]) -> list[Choice]:
    """A stream tells the whole answer at its end."""
    told = objects[-1].get("response") or objects[-1]
    choice = Choice(finish=_text((told.get("incomplete_details") or {}).get("reason")))
    for item in told["output"]:
        choice.has_calls |= item.get("type") == "function_call"
        for part in item.get("content") or () if item.get("type") == "message" else ():
            choice.text += _text(part.get("text"))
            choice.refusal += _text(part.get("refusal"))
    return [choice]


def _text(told: object) -> str:
    return told if isinstance(told, str) else ""
