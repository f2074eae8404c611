"""Which schemas xgrammar cannot bind, one of them."""

from typing import Any


def has_xgrammar_unsupported_json_features(schema: dict[str, Any]) -> bool:
    return "patternProperties" in schema
