"""The page that says how the task API is asked, from its OpenAPI document: nothing of it comes from elsewhere."""

import json
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

__all__ = ["page"]

_REFERENCE = "#/components/schemas/"
_STYLE = (
    "body{font:16px/1.5 sans-serif;margin:2rem auto;max-width:60rem;padding:0 1rem;color:#222}"
    "pre{background:#f4f4f4;overflow:auto;padding:.8rem}table{border-collapse:collapse}"
    "td,th{border:1px solid #ccc;padding:.3rem .6rem;text-align:left;vertical-align:top}"
)


def page(document: Mapping[str, Any]) -> str:
    """Return it as HTML."""
    title = escape(document["info"]["title"])
    parts = "".join(_operations(document))
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{title}</title>'
    intro = '<p>Errors are JSON, as OpenAI\'s clients read them. All of this as <a href="openapi.json">OpenAPI</a>.</p>'
    body = f"<h1>{title}</h1>{intro}{parts}"
    return f'<!doctype html><html lang="en"><head>{head}<style>{_STYLE}</style></head><body>{body}</body></html>'


def _operations(document: Mapping[str, Any]) -> Iterator[str]:
    schemas = document["components"]["schemas"]
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield f"<h2>{method.upper()} {escape(path)}</h2><p>{escape(operation.get('description', ''))}</p>"
            for name, content in (("Body", operation.get("requestBody")), ("Answer", operation["responses"]["200"])):
                schema = _schema(content, schemas)
                if schema:
                    yield f"<h3>{name}</h3>{_fields(schema)}{_examples(schema)}"


def _schema(content: Mapping[str, Any] | None, schemas: Mapping[str, Any]) -> Mapping[str, Any] | None:
    told = ((content or {}).get("content") or {}).get("application/json", {}).get("schema", {})
    found = schemas.get(str(told.get("$ref", "")).removeprefix(_REFERENCE))
    return found if isinstance(found, Mapping) else None


def _fields(schema: Mapping[str, Any]) -> str:
    rows = "".join(
        f"<tr><td><code>{escape(name)}</code></td><td>{escape(_kind(field))}</td>"
        f"<td>{escape(field.get('description', ''))}</td></tr>"
        for name, field in schema.get("properties", {}).items()
    )
    return f"<table><tr><th>field</th><th></th><th></th></tr>{rows}</table>"


def _kind(field: Mapping[str, Any]) -> str:
    kinds = [one.get("type", "object") for one in field.get("anyOf", [field])]
    bounds = [f"{word} {field[name]}" for name, word in (("minimum", "from"), ("maximum", "to")) if name in field]
    default = [f"default {json.dumps(field['default'])}"] if field.get("default") is not None else []
    return ", ".join([" or ".join(kinds), *bounds, *default])


def _examples(schema: Mapping[str, Any]) -> str:
    texts = (json.dumps(example, ensure_ascii=False, indent=2) for example in schema.get("examples", ()))
    return "".join(f"<pre>{escape(text)}</pre>" for text in texts)
