"""What a new definition no longer accepts, or no longer tells, that an older one did.

Objects that are stored, manifests in somebody's Git and readers of a status all hold on to a definition: it may grow,
and what shrinks is named here. It does not prove that two patterns or rules agree: a changed one counts as narrower.
"""

from collections.abc import Iterator
from typing import Any

__all__ = ["narrowings"]

Json = dict[str, Any]

_UPPER_BOUNDS = ("maximum", "maxLength", "maxItems", "maxProperties")
_LOWER_BOUNDS = ("minimum", "minLength", "minItems", "minProperties")
_FIXED = ("type", "format", "pattern", "x-kubernetes-list-type", "x-kubernetes-map-type", "x-kubernetes-list-map-keys")
_PERMISSIONS = ("nullable", "x-kubernetes-preserve-unknown-fields", "x-kubernetes-int-or-string")
_RULES = "x-kubernetes-validations"


def narrowings(old: Json, new: Json) -> list[str]:
    """Return a sentence for each way in which a CustomResourceDefinition accepts or tells less than an older one."""
    if old["spec"]["scope"] != new["spec"]["scope"]:
        return [f"the scope {old['spec']['scope']} became {new['spec']['scope']}"]
    served = {version["name"]: version for version in new["spec"]["versions"] if version["served"]}
    found: list[str] = []
    for version in old["spec"]["versions"]:
        if version["served"] and version["name"] not in served:
            found.append(f"{version['name']} is no longer served")
        elif version["served"]:
            found += _narrowed(_schema(version), _schema(served[version["name"]]), "")
    return found


def _schema(version: Json) -> Json:
    schema: Json = version["schema"]["openAPIV3Schema"]
    return schema


def _narrowed(old: Json, new: Json, path: str) -> Iterator[str]:
    yield from _narrowed_value(old, new, path or "the object")
    yield from _narrowed_fields(old, new, f"{path}." if path else "")
    for inner, mark in (("items", "[]"), ("additionalProperties", "{}")):
        if inner in old and inner in new:
            yield from _narrowed(old[inner], new[inner], f"{path}{mark}")


def _narrowed_value(old: Json, new: Json, path: str) -> Iterator[str]:
    for word in _FIXED:
        if word in new and old.get(word) != new[word]:
            yield f"{path}: {word} {old.get(word, 'of any kind')!s} became {new[word]!s}"
    for word in _PERMISSIONS:
        if old.get(word) and not new.get(word):
            yield f"{path}: {word} is gone"
    yield from _narrowed_bounds(old, new, path)
    yield from _narrowed_choice(old, new, path)


def _narrowed_bounds(old: Json, new: Json, path: str) -> Iterator[str]:
    for word in (*_UPPER_BOUNDS, *_LOWER_BOUNDS):
        if word in new and _tightens(word, old.get(word), new[word]):
            yield f"{path}: {word} {old.get(word, 'without bound')!s} became {new[word]!s}"


def _tightens(word: str, old: float | None, new: float) -> bool:
    if word in _UPPER_BOUNDS:
        return old is None or new < old
    return new > (old if old is not None else float("-inf") if word == "minimum" else 0)


def _narrowed_choice(old: Json, new: Json, path: str) -> Iterator[str]:
    if "enum" in new and "enum" not in old:
        yield f"{path}: any value became one of {', '.join(map(str, new['enum']))}"
    for value in old.get("enum", ()):
        if "enum" in new and value not in new["enum"]:
            yield f"{path}: the value {value} is gone"
    known = [rule["rule"] for rule in old.get(_RULES, ())]
    for rule in new.get(_RULES, ()):
        if rule["rule"] not in known:
            yield f"{path}: the rule {rule['rule']!r} is new"


def _narrowed_fields(old: Json, new: Json, prefix: str) -> Iterator[str]:
    fields = new.get("properties", {})
    for name, field in old.get("properties", {}).items():
        if name in fields:
            yield from _narrowed(field, fields[name], f"{prefix}{name}")
        else:
            yield f"{prefix}{name}: the field is gone"
    for name in new.get("required", ()):
        if name not in old.get("required", ()):
            yield f"{prefix}{name}: the field is required now"
