"""The API reference as a page: every field of the three kinds with its type, default, bounds and meaning."""

from collections.abc import Iterator
from typing import Any

__all__ = ["render_reference"]

Json = dict[str, Any]


def render_reference(crds: list[Json]) -> str:
    """Return docs/reference.md for these CustomResourceDefinitions."""
    lines = [
        "# API reference",
        "",
        "Made from the API's models by `make generate`; `kubectl explain` shows the same.",
        "",
    ]
    for made in crds:
        names, version = made["spec"]["names"], made["spec"]["versions"][0]
        schema = version["schema"]["openAPIV3Schema"]
        lines += [f"## {names['kind']}", "", schema["description"], ""]
        api = f"{made['spec']['group']}/{version['name']}"
        lines += [f"`apiVersion: {api}`, `kind: {names['kind']}`, short name `{names['shortNames'][0]}`.", ""]
        for part in ("spec", "status"):
            lines += [
                f"### {names['kind']} {part}",
                "",
                "| field | type | default | meaning |",
                "| --- | --- | --- | --- |",
            ]
            lines += _rows(schema["properties"][part], "")
            lines += ["", *_rules(schema["properties"][part], part)]
    return "\n".join(lines).rstrip() + "\n"


def _rows(schema: Json, path: str) -> Iterator[str]:
    for name, field in schema.get("properties", {}).items():
        here = f"{path}{name}"
        required = name in schema.get("required", ())
        yield f"| `{here}` | {_type(field)} | {_default(field, required=required)} | {field['description']} |"
        yield from _rows(field, f"{here}.")
        yield from _rows(field.get("items", {}), f"{here}[].")


def _type(field: Json) -> str:
    if "enum" in field:
        return " \\| ".join(f"`{value}`" for value in field["enum"])
    if "x-kubernetes-int-or-string" in field:
        return "integer or string"
    if field["type"] == "array" and "enum" in field["items"]:
        return f"list of {_type(field['items'])}"
    kind = f"list of {field['items']['type']}s" if field["type"] == "array" else str(field["type"])
    low, high = field.get("minimum"), field.get("maximum")
    return f"{kind}, {low} to {high}" if high is not None else kind


def _default(field: Json, *, required: bool) -> str:
    if required:
        return "required"
    hidden = "properties" in field or field.get("default") in (None, [])
    return "" if hidden else f"`{field['default']}`"


def _rules(schema: Json, path: str) -> list[str]:
    found = [f"- `{where}`: {rule['message']}" for where, rule in _walk_rules(schema, path)]
    return ["Rules:", "", *found, ""] if found else []


def _walk_rules(schema: Json, path: str) -> Iterator[tuple[str, Json]]:
    for rule in schema.get("x-kubernetes-validations", ()):
        yield path, rule
    for name, field in schema.get("properties", {}).items():
        yield from _walk_rules(field, f"{path}.{name}")
        yield from _walk_rules(field.get("items", {}), f"{path}.{name}[]")
