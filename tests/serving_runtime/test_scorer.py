"""What an answer is worth: by a schema, and by whether it declines; of whatever form it comes in."""

import json
from typing import Any

import pytest

from serving_runtime.plan import BUCKETS, bucket
from serving_runtime.scorer.answers import Choice, choices_of
from serving_runtime.scorer.desk import is_sampled, worth
from serving_runtime.scorer.refusals import is_refusal
from serving_runtime.scorer.schemas import NoSchemaError, satisfies, validator
from serving_runtime.scorer.waiting import MOST_WAITING, Waiting
from serving_runtime.scoring import Answered, ScoredMetric

LABEL = validator('{"type": "object", "properties": {"label": {"enum": ["spam", "ham"]}}, "required": ["label"]}')
EXPOSURE = "0" * 32


def _answered(told: Any, kind: str = "chat", *, stream: bool = False) -> Answered:
    text = told if isinstance(told, str) else json.dumps(told)
    return Answered.model_validate(
        {"experiment": "e", "exposure": EXPOSURE, "kind": kind, "stream": stream, "answer": text}
    )


def _chat(*messages: dict[str, Any], finish: str = "stop") -> dict[str, Any]:
    return {"choices": [{"index": i, "message": one, "finish_reason": finish} for i, one in enumerate(messages)]}


def _events(*told: dict[str, Any]) -> str:
    return "".join(f"data: {json.dumps(one)}\n\n" for one in told) + "data: [DONE]\n\n"


@pytest.mark.parametrize(
    ("answered", "said"),
    [
        (_answered(_chat({"content": " yes "})), ["yes"]),
        (_answered(_chat({"content": "<think>no</think>\nyes"}, {"content": "no"})), ["yes", "no"]),
        (_answered({"choices": [{"text": "yes"}]}, "completions"), ["yes"]),
        (
            _answered(_events(*({"choices": [{"index": 0, "delta": {"content": one}}]} for one in "yes")), stream=True),
            ["yes"],
        ),
        (_answered({"output": [{"type": "message", "content": [{"text": "yes"}]}]}, "responses"), ["yes"]),
        (
            _answered(
                _events({"type": "x"}, {"response": {"output": [{"type": "message", "content": [{"text": "yes"}]}]}}),
                "responses",
                stream=True,
            ),
            ["yes"],
        ),
    ],
)
def test_what_was_said_is_read_however_it_comes(answered: Answered, said: list[str]) -> None:
    assert [one.said for one in choices_of(answered)] == said


@pytest.mark.parametrize("told", ["", "[]", "{}", '{"choices": []}', '{"choices": 1}', "{"])
def test_what_is_no_answer_is_worth_nothing_and_raises(told: str) -> None:
    with pytest.raises((AttributeError, KeyError, TypeError, ValueError)):
        worth(_answered(told), None)


@pytest.mark.parametrize(
    ("said", "valid"),
    [
        ('{"label": "spam"}', True),
        (' {"label": "ham", "more": 1}\n', True),
        ('{"label": "eggs"}', False),
        ("{}", False),
        ("spam", False),
        ('```json\n{"label": "spam"}\n```', False),
        ('{"label": NaN}', False),
        ("[" * 100_000, False),
    ],
)
def test_an_answer_satisfies_a_schema_as_it_stands_or_does_not(said: str, valid: bool) -> None:
    assert satisfies(LABEL, said) is valid


def test_of_several_answers_the_share_counts_and_a_call_of_a_function_is_none() -> None:
    call: dict[str, Any] = {"content": None, "tool_calls": [{}]}
    good, bad = {"content": '{"label": "spam"}'}, {"content": "spam"}
    assert worth(_answered(_chat(good, bad)), LABEL) == 0.5
    assert worth(_answered(_chat(good, call)), LABEL) == 1
    assert worth(_answered(_chat(call)), LABEL) is None
    assert worth(_answered(_chat(call)), None) == 0


@pytest.mark.parametrize("schema", ["{", '{"type": "nothing"}', "1"])
def test_what_is_no_schema_is_refused(schema: str) -> None:
    with pytest.raises(NoSchemaError, match="responseSchema"):
        validator(schema)


@pytest.mark.parametrize(
    "said",
    [
        "I'm sorry, but I can't help with that.",
        "I\u2019m sorry, but I cannot assist with this request.",
        "I cannot provide instructions for that.",
        "I am unable to comply with this.",
        "I must decline.",
        "As an AI language model, I cannot have opinions.",
        "I won't write that.",
        "죄송하지만 그 요청은 도와드릴 수 없습니다.",
        "죄송합니다. 해당 질문에는 답변할 수 없습니다.",
        "해당 정보는 제공해 드릴 수 없습니다.",
        "그런 내용은 답변을 드리기 어렵습니다.",
        "요청을 거절합니다.",
    ],
)
def test_who_declines_says_so_first(said: str) -> None:
    assert is_refusal(Choice(said))
    assert is_refusal(Choice(f"<think>hm</think>{said}"))
    assert not is_refusal(Choice(f"{'word ' * 100}{said}"))


@pytest.mark.parametrize(
    "said",
    [
        "Sure, here is how.",
        "I'm sorry to hear that. Here is what you can do.",
        "You can't divide by zero.",
        "I can help with that.",
        "The server cannot be reached; restart it.",
        "죄송합니다. 주문이 늦어졌습니다. 내일 도착합니다.",
        "네, 도와드릴 수 있습니다.",
        "",
    ],
)
def test_an_answer_is_no_refusal_for_being_sorry(said: str) -> None:
    assert not is_refusal(Choice(said))


def test_an_answer_that_says_of_itself_that_it_declines_does() -> None:
    assert worth(_answered(_chat({"content": None, "refusal": "no"}, {"content": "yes"})), None) == 0.5
    assert worth(_answered(_chat({"content": "ye"}, finish="content_filter")), None) == 1


def test_the_sample_follows_from_the_id_alone_and_a_smaller_one_is_a_part_of_it() -> None:
    ids = [f"{number:032x}" for number in range(4000)]
    tenth, half = ({one for one in ids if is_sampled("e", one, percent)} for percent in (10, 50))
    assert tenth < half < set(ids)
    assert 320 < len(tenth) < 480
    assert 1850 < len(half) < 2150
    assert all(is_sampled("e", one, 100) for one in ids)
    assert half != {one for one in ids if is_sampled("another", one, 50)}
    assert bucket("scores/e", ids[0]) < BUCKETS


def test_a_queue_takes_no_more_than_there_is_room_for() -> None:
    queue, metric = Waiting(), ScoredMetric(name="refused", source="Refusals", percent=100)
    taken = [queue.put(metric, _answered("x")) for _ in range(MOST_WAITING + 1)]
    assert taken == [*[True] * MOST_WAITING, False]


def test_another_schema_is_another_measure_and_another_name_is_none() -> None:
    def digest(name: str = "valid", schema: str = "{}") -> str:
        return ScoredMetric(name=name, source="SchemaValidity", percent=100, response_schema=schema).digest

    assert digest() == digest("other") != digest(schema='{"type": "object"}')
