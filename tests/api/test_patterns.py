"""Texts drawn from patterns match them."""

import json
import random
import re
from collections.abc import Iterator
from typing import Any

import pytest

from anneal_operator.api.resources import CUSTOM_RESOURCES

from .patterns import matching


def _patterns(schema: Any) -> Iterator[str]:
    if isinstance(schema, dict):
        if isinstance(schema.get("pattern"), str):
            yield schema["pattern"]
        for inner in schema.values():
            yield from _patterns(inner)
    elif isinstance(schema, list):
        for inner in schema:
            yield from _patterns(inner)


OURS = sorted({pattern for resource in CUSTOM_RESOURCES for pattern in _patterns(resource.spec.model_json_schema())})


@pytest.mark.parametrize("pattern", [*OURS, r"^$", r"^a{3}|b$", r"^[^a-z]\.\x41$", r"^[a-]*$"])
def test_a_text_drawn_from_a_pattern_matches_it(pattern: str) -> None:
    rng = random.Random(1)
    drawn = {matching(pattern, rng) for _ in range(50)}
    assert [text for text in drawn if not re.fullmatch(pattern, text)] == []


def test_every_alternative_is_drawn() -> None:
    rng = random.Random(1)
    assert {matching("^(a|b(c|d)|e?)$", rng) for _ in range(200)} == {"a", "bc", "bd", "e", ""}


@pytest.mark.parametrize("pattern", ["a", "^a", "a$", "^(a))$"])
def test_another_pattern_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match=r"unbalanced|has no"):
        matching(pattern, random.Random(1))


def test_what_is_drawn_follows_from_the_seed() -> None:
    drawn = [[matching(pattern, random.Random(7)) for pattern in OURS] for _ in range(2)]
    assert json.dumps(drawn[0]) == json.dumps(drawn[1])
