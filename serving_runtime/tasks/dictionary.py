"""The category dictionary of a request: read, and written into the schema that binds the answer.

It is what training checked rows with: objects within each other by their words, lists innermost. An answer names its
words by the levels of an object, the outermost first, so for each way into the dictionary there is one form that such
an object may have.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from serving_runtime.task_table import TaskDictionary

__all__ = ["MOST_NAMED", "DictionaryError", "narrowed", "read"]

MOST_NAMED = 5
"""So many words of a dictionary does one answer name."""
_MOST_WORDS = 5000
Json = Mapping[str, Any]


class DictionaryError(Exception):
    """It is none; the message says why."""


def read(text: str, rule: TaskDictionary) -> list[tuple[tuple[str, ...], list[str]]]:
    """Return the ways into a dictionary, each with the words at its end; raise DictionaryError where there is none."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DictionaryError(f"it is no JSON: {error}") from error
    if not isinstance(found, dict | list) or not found:
        raise DictionaryError("it is empty, or no object: send objects within each other, lists innermost")
    ways = [way for way in _ways(found, len(rule.levels), ()) if way[1]]
    if not ways:
        told = ", ".join(rule.levels)
        raise DictionaryError(
            f"it leads nowhere: it needs {len(rule.levels)} levels of words ({told}), lists innermost"
        )
    if sum(len(words) for _, words in ways) > _MOST_WORDS:
        raise DictionaryError(f"it has more than {_MOST_WORDS} words: send fewer")
    return ways


def _ways(place: Any, levels: int, before: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], list[str]]]:  # noqa: ANN401 - JSON holds anything
    if levels == 1:
        words = place if isinstance(place, list | dict) else []
        yield before, list(dict.fromkeys(word for word in words if isinstance(word, str)))
    elif isinstance(place, dict):
        for word, inner in place.items():
            yield from _ways(inner, levels - 1, (*before, word))


def narrowed(schema: Json, text: str, rule: TaskDictionary) -> dict[str, Any]:
    """Return the schema with the words of this dictionary alone where an answer names them."""
    ways, made = read(text, rule), json.loads(json.dumps(schema))
    place = _place(made, rule.field.split("."))
    if place is None:
        raise DictionaryError(f"the version's response schema has no `{rule.field}`, where its words would stand")
    if place.get("type") == "array" or "items" in place:
        items = place.get("items") or {}
        place["maxItems"] = min(MOST_NAMED, place.get("maxItems", MOST_NAMED))
        place["items"] = _one_of(items, ways, rule.levels)
    else:
        form = _one_of(place, ways, rule.levels)
        place.clear()
        place.update(form)
    return dict(made)


def _place(schema: dict[str, Any], path: Sequence[str]) -> dict[str, Any] | None:
    for name in path:
        inner = (schema.get("properties") or {}).get(name)
        if not isinstance(inner, dict):
            return None
        schema = inner
    return schema


def _one_of(form: Json, ways: Sequence[tuple[tuple[str, ...], list[str]]], levels: Sequence[str]) -> dict[str, Any]:
    """Such an object, once for each way."""
    made = [_bound(form, dict(zip(levels, [*([word] for word in way), words], strict=True))) for way, words in ways]
    return made[0] if len(made) == 1 else {"anyOf": made}


def _bound(form: Json, words: Mapping[str, list[str]]) -> dict[str, Any]:
    """An object whose levels have these words: its fields in their order, and all levels required."""
    own = form.get("properties") or {}
    bound = {name: {"enum": words[name]} if name in words else own[name] for name in (*own, *words)}
    required = [name for name in bound if name in words or name in form.get("required", ())]
    return {"type": "object", "properties": bound, "required": required, "additionalProperties": False}
