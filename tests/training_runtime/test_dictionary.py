"""Answers keep to the dictionary that their row brings, in the data and where the model is asked."""

import json
from typing import Any

import pytest

from training_runtime.evaluate.asked import Asked
from training_runtime.evaluate.questions import RowSet
from training_runtime.evaluate.stage import _judge
from training_runtime.plan import ResponseDictionaryPlan
from training_runtime.prepare.stage import prepare
from training_runtime.prepared import verified_dataset
from training_runtime.rows.dictionary import outside

from .conftest import MakePlan

RULE = ResponseDictionaryPlan(field="found.categories", levels=["large", "small"], context="words")
WORDS = {"pests": ["rat", "ant"], "visits": ["late"]}


def _answer(*categories: Any) -> str:
    return json.dumps({"found": {"categories": list(categories)}})


def _category(large: Any, small: Any) -> dict[str, Any]:
    return {"large": large, "small": small, "why": "said so"}


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (_answer(_category("pests", "rat"), _category("visits", "late")), ""),
        (_answer(), ""),
        (json.dumps({"found": {"categories": _category("pests", "ant")}}), ""),
        (json.dumps({"found": {"categories": None}}), ""),
        (json.dumps({"found": {}}), ""),
        (_answer(_category("pests", "rat"), _category("pests", "late")), "pests / late"),
        (_answer(_category("bugs", "rat")), "bugs"),
        (_answer(_category("pests", None)), "pests / null"),
        (_answer({"small": "rat"}), "null"),
        (_answer("rat"), '"rat"'),
        (_answer(_category("", "rat")), '""'),
        ('{"found":{"categories":[' + "[" * 1019 + "]" * 1019 + "]}}", "JSON that is too deeply nested"),
        (_answer(_category("pests", "")), 'pests / ""'),
        (_answer(_category("pests", "rat"), _category("", "")), '""'),
    ],
)
def test_words_that_lead_out_of_the_dictionary_are_named(answer: str, told: str) -> None:
    assert outside(RULE, answer, json.dumps(WORDS)) == told


@pytest.mark.parametrize("dictionary", ["", "no JSON", "[]", "{}", pytest.param("[" * 5000, id="deep")])
def test_nothing_lies_within_a_dictionary_that_is_none(dictionary: str) -> None:
    assert outside(RULE, _answer(_category("pests", "rat")), dictionary) == "pests"


def _rows() -> list[dict[str, Any]]:
    """Every third has a dictionary of its own; two answers lie outside theirs."""
    made: list[dict[str, Any]] = []
    for number in range(60):
        words = {"bees": ["wasp"]} if number % 3 == 0 else None
        named = _category("bees", "wasp") if words else _category("pests", "rat")
        question = " ".join(f"{(number * k * 7919) % 9973:04d}" for k in range(1, 9))
        made.append({"question": question, "answer": {"found": {"categories": [named]}}})
        made[-1] |= {"words": json.dumps(words)} if words else {}
    made[7]["answer"] = {"found": {"categories": [_category("bees", "wasp")]}}
    made[9]["answer"] = {"found": {"categories": [_category("pests", "010-1234-5678")]}}
    return made


def _changes() -> dict[str, Any]:
    return {
        "dataset__response_dictionary": RULE.model_dump(),
        "dataset__columns": {"context": ["words"]},
        "dataset__prompt": {"text": "{input} of {words}", "defaults": {"words": json.dumps(WORDS)}},
    }


def test_a_row_whose_answer_leaves_its_dictionary_or_the_default_is_a_bad_row(make_plan: MakePlan) -> None:
    plan = make_plan(_rows(), **_changes())
    found = prepare(plan)
    assert (found.rows, found.rejected) == (58, 2)
    lines = (verified_dataset(plan) / "rejects.jsonl").read_text().splitlines()
    assert [(row["line"], row["kind"], row["reason"]) for row in map(json.loads, lines)] == [
        (8, "schema", "names in found.categories what its words does not have: bees"),
        (10, "schema", "names in found.categories what its words does not have: pests"),
    ]


def test_a_json_suite_counts_the_answers_that_keep_to_their_row_s_dictionary(make_plan: MakePlan) -> None:
    plan = make_plan(_rows(), evaluation__suites=[{"name": "json", "type": "JSON"}], **_changes())
    own = {"variables": {"words": json.dumps({"bees": ["wasp"]})}}
    asked: dict[str, Any] = {"role": "user", "content": "what?"}
    right = {"role": "assistant", "content": _answer()}
    conversations: list[list[dict[str, Any]]] = [
        [asked, right],
        [asked, right],
        [{**asked, **own}, right],
        [{**asked, **own}, right],
        [asked, right],
    ]
    rat, wasp = _answer(_category("pests", "rat")), _answer(_category("bees", "wasp"))
    rows = Asked(conversations, {"tuned": [rat, wasp, rat, wasp, "no JSON"]})
    [suite] = plan.evaluation.suites
    judged = _judge(plan, suite, {RowSet("", constrained=False): rows}, "tuned", plan.workspace)
    assert judged.all_metrics() == {"json_validity": 0.8, "in_dictionary": 0.4}
    without = make_plan(_rows()[:0] or None, evaluation__suites=[{"name": "json", "type": "JSON"}])
    assert (
        "in_dictionary"
        not in _judge(without, suite, {RowSet("", constrained=False): rows}, "tuned", plan.workspace).scores
    )
