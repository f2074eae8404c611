"""Whether an answer keeps to the dictionary that its row brings: JSON, objects within each other, lists innermost."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from training_runtime.plan import PromptPlan, ResponseDictionaryPlan

from .conversations import Message, at_path

__all__ = ["dictionary_of", "outside"]


def dictionary_of(rule: ResponseDictionaryPlan, prompt: PromptPlan, messages: Sequence[Message]) -> str:
    """Return the dictionary that a row is asked with: its own, else the default."""
    given: Mapping[str, Any] = messages[0].get("variables", {})
    return str(given.get(rule.context) or prompt.defaults.get(rule.context, ""))


def outside(rule: ResponseDictionaryPlan, answer: str, dictionary: str) -> str:
    """Return the first words of an answer that lead out of the dictionary; empty where none do.

    An answer that names nothing keeps to every dictionary: whether it has to is the schema's affair.
    """
    try:
        named = at_path(answer, rule.field)
    except KeyError:
        return ""
    words = _parsed(dictionary)
    for one in named if isinstance(named, list) else [named]:
        if one is not None and (path := _leads_out(one, rule.levels, words)):
            return path
    return ""


def _leads_out(named: Any, levels: Sequence[str], place: Any) -> str:  # noqa: ANN401 - JSON holds anything
    if not isinstance(named, dict):
        return _shown(named)
    path: list[str] = []
    for level in levels:
        word = named.get(level)
        path.append(word if word and isinstance(word, str) else _shown(word))
        if not isinstance(word, str) or not isinstance(place, dict | list) or word not in place:
            return " / ".join(path)
        place = place[word] if isinstance(place, dict) else None
    return ""


def _shown(named: Any) -> str:  # noqa: ANN401 - JSON holds anything
    try:
        return json.dumps(named, ensure_ascii=False)
    except RecursionError:
        return "JSON that is too deeply nested"


def _parsed(dictionary: str) -> Any:  # noqa: ANN401 - JSON holds anything
    try:
        return json.loads(dictionary)
    except (ValueError, RecursionError):
        return None
