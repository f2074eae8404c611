"""Rows become conversations by their template; a row that cannot says why."""

from typing import Any

import pytest

from training_runtime.errors import DataError, PlanError
from training_runtime.plan import CleanPlan, ColumnsPlan, DatasetPlan, QualityPlan, SplitPlan
from training_runtime.prepare.quality import Gate, score
from training_runtime.rows.clean import Cleaner
from training_runtime.rows.conversations import Conversation, Rejected
from training_runtime.rows.templates import Renderer, detected_template

INSTRUCTION = {"instruction": "Decide.", "input": {"subject": "상품"}, "output": {"action": "BLOCK"}}


def _plan(**changes: Any) -> DatasetPlan:
    split = SplitPlan(validation=0.1, test=0.1, stratify_by=changes.pop("stratify_by", None), seed=1)
    return DatasetPlan(sources=[], split=split, **changes)


def _chat(*contents: str) -> list[dict[str, str]]:
    roles = ("user", "assistant") if len(contents) == 2 else ("system", "user", "assistant")
    return [{"role": role, "content": content} for role, content in zip(roles, contents, strict=True)]


@pytest.mark.parametrize(
    ("template", "row", "changes", "messages"),
    [
        ("InstructionIO", INSTRUCTION, {}, _chat('Decide.\n{"subject": "상품"}', '{"action": "BLOCK"}')),
        ("Alpaca", {"instruction": "Sum.", "input": "1 2", "output": "3"}, {}, _chat("Sum.\n1 2", "3")),
        ("Alpaca", {"instruction": "Hi.", "input": "", "output": "Ho."}, {}, _chat("Hi.", "Ho.")),
        ("QuestionAnswer", {"question": "q", "answer": "a"}, {}, _chat("q", "a")),
        (
            "QuestionAnswer",
            {"질문": "q", "답변": "a"},
            {"columns": ColumnsPlan(input="질문", output="답변")},
            _chat("q", "a"),
        ),
        (
            "QuestionAnswer",
            {"x": {"q": "1"}, "a": 5},
            {"columns": ColumnsPlan(input="x.q", output="a")},
            _chat("1", "5"),
        ),
        ("QuestionAnswer", {"question": "q", "answer": "a"}, {"system_prompt": "s"}, _chat("s", "q", "a")),
        ("Messages", {"messages": _chat("s", "q", "a")}, {}, _chat("s", "q", "a")),
        ("Messages", {"messages": _chat("q", "a")}, {"system_prompt": "s"}, _chat("s", "q", "a")),
        (
            "Messages",
            {"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]},
            {},
            _chat("q", "a"),
        ),
        ("Text", {"text": "plain"}, {}, [{"role": "text", "content": "plain"}]),
        (
            "QuestionAnswer",
            {"question": "a★ b  c", "answer": "a★"},
            {"clean": CleanPlan(remove_pattern="[^a-z ]", collapse_whitespace=True)},
            _chat("a b c", "a★"),
        ),
    ],
)
def test_a_template_reads_its_columns(
    template: Any, row: dict[str, Any], changes: dict[str, Any], messages: list[dict[str, str]]
) -> None:
    assert Renderer(_plan(**changes), template)(row).messages == messages


def test_what_all_rows_share_is_not_compared() -> None:
    assert Renderer(_plan(), "InstructionIO")(INSTRUCTION).asked == '{"subject": "상품"}'
    assert Renderer(_plan(), "Messages")({"messages": _chat("system prompt", "q", "a")}).asked == "q"


def test_labels_and_groups_are_found_by_path_also_inside_json_text() -> None:
    plan = _plan(stratify_by="response.kind", columns=ColumnsPlan(input="q", output="response", group="meta.user"))
    row = {"q": "x", "response": '{"kind": "claim"}', "meta": {"user": 7}}
    assert Renderer(plan, "QuestionAnswer")(row) == Conversation(_chat("x", '{"kind": "claim"}'), "x", "claim", "7")


@pytest.mark.parametrize(
    ("template", "content", "reason"),
    [
        ("InstructionIO", {"input": "x", "output": "y"}, "has no instruction"),
        ("InstructionIO", {"instruction": "x"}, "has no output"),
        ("InstructionIO", {"instruction": "x", "output": "  "}, "the answer is empty"),
        ("QuestionAnswer", {"question": "x"}, "has no answer or completion or response or output"),
        ("Messages", {"messages": "x"}, "`messages` must be a list of at least a question and an answer"),
        ("Messages", {"messages": [{"role": "user", "content": "x"}]}, "`messages` must be a list of at least"),
        ("Messages", {"messages": [{"role": "user", "content": "x"}] * 2}, "the last of `messages` must be"),
        ("Messages", {"messages": [{"role": "tool", "content": "x"}] * 2}, "the role 'tool' is none of"),
        ("Messages", {"messages": ["x", "y"]}, "a message must be an object with role and content"),
        ("Text", {"txt": "x"}, "has no text"),
        ("Text", "is not JSON: half", "is not JSON"),
    ],
)
def test_a_row_that_cannot_be_rendered_says_why(template: Any, content: Any, reason: str) -> None:
    with pytest.raises(Rejected) as caught:
        Renderer(_plan(), template)(content)
    assert str(caught.value).startswith(reason)


@pytest.mark.parametrize(
    ("row", "template"),
    [
        ({"messages": []}, "Messages"),
        ({"conversations": []}, "Messages"),
        (INSTRUCTION, "InstructionIO"),
        ({"instruction": "x", "input": "y", "output": "z"}, "Alpaca"),
        ({"question": "x", "answer": "y", "id": 1}, "QuestionAnswer"),
        ({"text": "x"}, "Text"),
    ],
)
def test_a_template_is_detected(row: dict[str, Any], template: str) -> None:
    assert detected_template(row, ColumnsPlan()) == template


def test_columns_that_no_template_knows_are_named() -> None:
    with pytest.raises(DataError, match=r"no template fits the columns body, title: set dataset\.template"):
        detected_template({"title": "x", "body": "y"}, ColumnsPlan())


def test_a_bad_pattern_is_a_bad_plan() -> None:
    with pytest.raises(PlanError, match=r"clean\.removePattern is no regular expression"):
        Cleaner(CleanPlan(remove_pattern="["))


@pytest.mark.parametrize(
    ("clean", "quality", "question", "answer", "kind"),
    [
        ({"min_characters": 5}, {}, "abc", "x", "length"),
        ({"max_characters": 5}, {}, "abcdef", "x", "length"),
        ({}, {"min_score": 0.5}, "why", "no", "quality"),
        ({}, {"min_score": 0.5}, "why is it so late today", "spam " * 50, "quality"),
        ({}, {"blocked_words": ["바보"]}, "이 바보야", "x", "blocked-word"),
        ({}, {"blocked_words": ["Idiot"]}, "x", "you idiot", "blocked-word"),
        ({}, {"languages": ["ko"]}, "where is the toll gate", "there", "language"),
        ({}, {"languages": ["ko", "en"]}, "高速道路はどこですか", "ここです", "language"),
        ({}, {"languages": ["ko"]}, "톨게이트가 어디 있나요", "ETC", None),
        ({}, {"languages": ["ko"]}, "12345", "678", None),
        ({}, {"min_score": 0.5}, "how do I get there from here", "take the second exit and turn left", None),
    ],
)
def test_a_row_that_is_unfit_is_told_apart(
    clean: dict[str, Any], quality: dict[str, Any], question: str, answer: str, kind: str | None
) -> None:
    found = Gate(CleanPlan(**clean), QualityPlan(**quality)).unfit(question, answer)
    assert (found.kind if found else None) == kind


def test_the_score_is_between_nothing_and_one() -> None:
    assert score("q", "") == 0.0
    assert score("a long question with many words in it here", "and an answer that says different things") == 1.0
