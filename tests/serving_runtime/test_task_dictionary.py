"""Answers that a narrowed schema lets pass never leave the dictionary, whatever that is."""

import json
import random
from typing import Any

import jsonschema
import pytest

from serving_runtime.task_table import TaskDictionary
from serving_runtime.tasks.dictionary import DictionaryError, narrowed, read

LEVELS = ["large", "middle", "small"]
RULE = TaskDictionary(field="categories", levels=LEVELS, context="words")
WORDS = ["시공", "재발", "문의", "비용", "a", "b", '"', "\\", "대 분류"]
SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["categories"],
    "properties": {
        "summary": {"type": "string"},
        "categories": {
            "type": "array",
            "maxItems": 9,
            "items": {
                "type": "object",
                "properties": {**{level: {"type": "string"} for level in LEVELS}, "proof": {"type": "string"}},
                "required": ["proof"],
            },
        },
    },
}


def _dictionary(chance: random.Random) -> dict[str, Any]:
    def some() -> list[str]:
        return chance.sample(WORDS, chance.randint(1, 4))

    return {large: {middle: some() for middle in some()} for large in some()}


def test_of_500_dictionaries_each_lets_its_own_words_pass_and_no_others() -> None:
    chance = random.Random(0)
    for _ in range(500):
        words = _dictionary(chance)
        bound = jsonschema.Draft202012Validator(narrowed(SCHEMA, json.dumps(words, ensure_ascii=False), RULE))
        for _ in range(4):
            named = [chance.choice(WORDS) for _ in LEVELS]
            one = {**dict(zip(LEVELS, named, strict=True)), "proof": "x"}
            is_within = named[2] in words.get(named[0], {}).get(named[1], ())
            assert bound.is_valid({"categories": [one]}) == is_within, (words, named)


@pytest.mark.parametrize(("most", "expected"), [(9, 5), (3, 3), (None, 5)])
def test_no_more_than_five_are_named(most: int | None, expected: int) -> None:
    schema = json.loads(json.dumps(SCHEMA))
    schema["properties"]["categories"].pop("maxItems")
    if most:
        schema["properties"]["categories"]["maxItems"] = most
    made = narrowed(schema, '{"a": {"b": ["c"]}}', RULE)
    assert made["properties"]["categories"]["maxItems"] == expected


def test_an_answer_that_names_one_is_bound_likewise() -> None:
    schema = {"type": "object", "properties": {"categories": SCHEMA["properties"]["categories"]["items"]}}
    made = narrowed(schema, '{"a": {"b": ["c", "d"]}}', RULE)
    one = {"large": "a", "middle": "b", "small": "d", "proof": "x"}
    assert jsonschema.Draft202012Validator(made).is_valid({"categories": one})
    assert not jsonschema.Draft202012Validator(made).is_valid({"categories": {**one, "small": "e"}})


@pytest.mark.parametrize("text", ["", "{", "{}", "[]", "5", '"a"', "null", '{"a": []}', '{"a": {"b": []}}', "[" * 5000])
def test_what_is_no_dictionary_is_refused(text: str) -> None:
    with pytest.raises(DictionaryError):
        read(text, RULE)


def test_the_last_words_may_stand_in_an_object_and_others_that_end_early_are_left_out() -> None:
    assert read('{"a": {"b": {"c": 1}, "d": []}, "e": 5}', RULE) == [(("a", "b"), ["c"])]


def test_a_schema_without_the_field_binds_nothing() -> None:
    with pytest.raises(DictionaryError, match="no `categories`"):
        narrowed({"type": "object"}, '{"a": {"b": ["c"]}}', RULE)
