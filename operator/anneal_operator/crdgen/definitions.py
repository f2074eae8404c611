"""CustomResourceDefinitions from the models of `api`.

A CRD's structural schema knows no references, no unions and no titles, so the models' JSON schema is rewritten, and
refused where a CRD could not say it. Everything in a spec must be bounded (`maxLength`, `maxItems`, `maximum`), as the
API server estimates the cost of CEL rules from the bounds, and described, as `kubectl explain` is many users' manual.
In a status nothing is bounded and nothing has a default: it holds what was observed.
"""

from pathlib import Path
from typing import Any

import yaml
from typing_extensions import override

from anneal_operator.api.resources import CUSTOM_RESOURCES, GROUP, VERSION, CustomResource

from .reference import render_reference

__all__ = ["UnsupportedSchemaError", "crd", "generate", "structural"]

_DROPPED = ("title", "additionalProperties", "$defs")
_REFUSED = (
    "anyOf",
    "oneOf",
    "allOf",
    "not",
    "discriminator",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "patternProperties",
    "prefixItems",
)
_INT_OR_STRING = "x-kubernetes-int-or-string"
_LIST_TYPE = "x-kubernetes-list-type"
_BOUNDS = {"string": ("maxLength", "enum"), "array": ("maxItems",), "integer": ("maximum",), "number": ("maximum",)}

Json = dict[str, Any]


class UnsupportedSchemaError(ValueError):
    """A model says something that a CRD cannot hold; the message names the field."""


def crd(resource: CustomResource) -> Json:
    """Return the CustomResourceDefinition of a kind."""
    names = {"kind": resource.kind, "plural": resource.plural, "singular": resource.singular}
    columns: list[Json] = [{"name": name, "type": kind, "jsonPath": path} for name, kind, path in resource.columns]
    columns += [{"name": name, "type": kind, "jsonPath": path, "priority": 1} for name, kind, path in resource.wide]
    schema = {
        "type": "object",
        "description": resource.description,
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string", "description": f"`{GROUP}/{VERSION}`."},
            "kind": {"type": "string", "description": f"`{resource.kind}`."},
            "metadata": {"type": "object"},
            "spec": structural(resource.spec.model_json_schema(), "spec", bounded=True),
            "status": structural(resource.status.model_json_schema(), "status", bounded=False),
        },
        "x-kubernetes-validations": [resource.name_rule],
    }
    version = {
        "name": VERSION,
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": schema},
        "subresources": {"status": {}, **({"scale": resource.scale} if resource.scale else {})},
        "additionalPrinterColumns": columns,
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{resource.plural}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "names": {**names, "shortNames": [resource.short_name], "categories": ["anneal"]},
            "scope": "Namespaced",
            "versions": [version],
        },
    }


def structural(schema: Json, path: str, *, bounded: bool) -> Json:
    """Return a model's JSON schema as a structural schema; raise UnsupportedSchemaError where there is none."""
    return _rewrite(schema, schema.get("$defs", {}), path, bounded=bounded)


def _rewrite(schema: Json, definitions: Json, path: str, *, bounded: bool) -> Json:
    node = _resolve(schema, definitions)
    if "description" in node:
        node = {**node, "description": " ".join(node["description"].split())}
    if _INT_OR_STRING in node:
        return {key: value for key, value in node.items() if key not in _DROPPED}
    for word in _REFUSED:
        if word in node:
            raise UnsupportedSchemaError(f"{path}: a CRD cannot hold `{word}`; use optional sub-objects and a rule")
    result = {key: value for key, value in node.items() if key not in _DROPPED}
    if "const" in result:
        result["enum"] = [result.pop("const")]
    result |= _children(node, definitions, path, bounded=bounded)
    if "items" in node:
        result.setdefault(_LIST_TYPE, "atomic")
    _guard_fractional_bounds(result)
    _check_bounds(result, path, bounded=bounded)
    return result


def _children(node: Json, definitions: Json, path: str, *, bounded: bool) -> Json:
    """The schemas of an object's fields, a map's values, a list's items."""
    made: Json = {}
    if "properties" in node:
        required = node.get("required", ())
        made["properties"] = {
            name: _property(value, definitions, f"{path}.{name}", bounded=bounded, required=name in required)
            for name, value in node["properties"].items()
        }
    elif isinstance(node.get("additionalProperties"), dict):
        made["additionalProperties"] = _rewrite(node["additionalProperties"], definitions, path, bounded=bounded)
    if "items" in node:
        made["items"] = _rewrite(node["items"], definitions, f"{path}[]", bounded=bounded)
    return made


def _guard_fractional_bounds(node: Json) -> None:
    """The API server truncates a bound before it compares a whole number with it: 0 passes `minimum: 0.01`."""
    bounds = (("minimum", ">=", "greater"), ("maximum", "<=", "less"))
    rules = [
        {"rule": f"self {sign} {node[bound]!r}", "message": f"should be {word} than or equal to {node[bound]!r}"}
        for bound, sign, word in bounds
        if node.get("type") == "number" and node.get(bound, 0.0) % 1
    ]
    if rules:
        node["x-kubernetes-validations"] = [*node.get("x-kubernetes-validations", ()), *rules]


def _property(schema: Json, definitions: Json, path: str, *, bounded: bool, required: bool) -> Json:
    result = _rewrite(schema, definitions, path, bounded=bounded)
    if not result.get("description"):
        raise UnsupportedSchemaError(f"{path}: it needs a docstring; `kubectl explain` shows it")
    if not bounded or result.get("default", "") is None:
        result.pop("default", None)
    elif not required and "default" not in result and "properties" in result:
        # Made by a factory. The server would fill in an empty object, too, but judges its rules before it does.
        result["default"] = {n: field["default"] for n, field in result["properties"].items() if "default" in field}
    return result


def _resolve(schema: Json, definitions: Json) -> Json:
    """Inline a reference; an optional value is its own schema, as absence is all the null there is."""
    if "anyOf" in schema:
        rest = [option for option in schema["anyOf"] if option != {"type": "null"}]
        if len(rest) == 1 and len(schema["anyOf"]) == 2:
            others = {key: value for key, value in schema.items() if key != "anyOf"}
            return {**_resolve(rest[0], definitions), **others}
    if "$ref" in schema:
        target = definitions[schema["$ref"].rpartition("/")[2]]
        return {**target, **{key: value for key, value in schema.items() if key != "$ref"}}
    return schema


def _check_bounds(node: Json, path: str, *, bounded: bool) -> None:
    bounds = _BOUNDS.get(node.get("type", ""))
    if bounded and bounds and "enum" not in node and not any(bound in node for bound in bounds):
        raise UnsupportedSchemaError(f"{path}: it needs a bound ({' or '.join(bounds)}), for the cost of the rules")


class _Dumper(yaml.SafeDumper):
    """Writes no anchors: a CRD is read by people, too."""

    @override
    def ignore_aliases(self, data: Any) -> bool:
        return data is not None


def generate(root: Path) -> dict[Path, str]:
    """Return every generated file of a checkout with the content it must have."""
    crds = {resource.plural: crd(resource) for resource in CUSTOM_RESOURCES}
    header = "# Made from operator/anneal_operator/api by `make generate`; do not edit.\n"
    files = {
        root / "crds" / f"{plural}.yaml": header + yaml.dump(made, Dumper=_Dumper, sort_keys=False, width=120)
        for plural, made in crds.items()
    }
    return {**files, root / "docs/reference.md": render_reference(list(crds.values()))}
