"""What vLLM says of its own interface, as far as the router passes it on.

The copy beside this file is made from the `/openapi.json` of an engine that writes, and of one that makes vectors:
`python -m tests.router.openapi FILE FILE`. Where both say something of a schema, the first holds. When an engine says
something else, tests/e2e/test_demo.py fails.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

__all__ = ["PATHS", "VERSION", "document", "main", "trimmed"]

VERSION = "0.32.0"
PATHS = ("/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/responses", "/tokenize", "/detokenize")
_FILE = Path(__file__).parent / f"vllm-{VERSION}.json"
_SCHEMAS = "#/components/schemas/"
_PROSE = {"description", "title", "summary", "example", "examples", "tags"}


def document() -> dict[str, Any]:
    """The copy."""
    kept: dict[str, Any] = json.loads(_FILE.read_text())
    return kept


def trimmed(whole: dict[str, Any], version: str) -> dict[str, Any]:
    """Of an engine's document, what requests the router's paths take; not its prose, nor its answers."""
    paths = {path: {"post": _asked(whole["paths"][path]["post"])} for path in PATHS if path in whole["paths"]}
    known, wanted = whole["components"]["schemas"], set(_referenced(paths))
    schemas: dict[str, Any] = {}
    while missing := sorted(wanted - set(schemas)):
        schemas |= {name: _without_prose(known[name], is_named=False) for name in missing}
        wanted = set(_referenced([paths, schemas]))
    told = {"openapi": whole["openapi"], "info": {"title": "vLLM", "version": version}, "paths": paths}
    return {**told, "components": {"schemas": schemas}}


def _asked(operation: dict[str, Any]) -> dict[str, Any]:
    body = _without_prose(operation["requestBody"], is_named=False)
    return {"requestBody": body, "responses": {"200": {"description": "an answer"}}}


def _without_prose(node: Any, *, is_named: bool) -> Any:
    """A schema without what only people read; the names of properties are none of that."""
    if isinstance(node, list):
        return [_without_prose(item, is_named=False) for item in node]
    if not isinstance(node, dict):
        return node
    kept = {name: value for name, value in node.items() if is_named or name not in _PROSE}
    return {name: _without_prose(value, is_named=name == "properties" and not is_named) for name, value in kept.items()}


def _referenced(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        for name, value in node.items():
            if name == "$ref" and isinstance(value, str):
                yield value.removeprefix(_SCHEMAS)
            else:
                yield from _referenced(value)
    elif isinstance(node, list):
        for item in node:
            yield from _referenced(item)


def _lines(kept: dict[str, Any]) -> str:
    """As JSON, a path or a schema to a line."""
    text = json.dumps(kept, ensure_ascii=False, separators=(",", ":"))
    for name in [*kept["paths"], *kept["components"]["schemas"]]:
        text = text.replace(f'"{name}":{{', f'\n"{name}":{{')
    return text + "\n"


def main(files: list[str]) -> None:
    """Write the copy anew."""
    first, *others = [json.loads(Path(file).read_text()) for file in files]
    for other in others:
        first["paths"] = other["paths"] | first["paths"]
        first["components"]["schemas"] = other["components"]["schemas"] | first["components"]["schemas"]
    _FILE.write_text(_lines(trimmed(first, VERSION)))


if __name__ == "__main__":
    main(sys.argv[1:])
