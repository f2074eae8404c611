"""Rows become conversations by their template; a row that cannot says why."""

from typing import Any

import pytest

from training_runtime.errors import DataError, PlanError
from training_runtime.plan import CleanPlan, ColumnsPlan, DatasetPlan, PromptPlan, QualityPlan, SplitPlan
from training_runtime.prepare.quality import Gate, score
from training_runtime.rows.clean import cleaner_of
from training_runtime.rows.conversations import Conversation, Part, Rejected, question, with_texts
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
        (
            "QuestionAnswer",
            {"question": "q", "answer": "a"},
            {"prompt": PromptPlan(system_prompt="s")},
            _chat("s", "q", "a"),
        ),
        ("Messages", {"messages": _chat("s", "q", "a")}, {}, _chat("s", "q", "a")),
        ("Messages", {"messages": _chat("q", "a")}, {"prompt": PromptPlan(system_prompt="s")}, _chat("s", "q", "a")),
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


def _thoughtful(**more: Any) -> dict[str, Any]:
    return {"messages": [*_chat("q", "a")[:1], {"role": "assistant", "content": "a", **more}]}


@pytest.mark.parametrize(
    "row",
    [
        _thoughtful(reasoning_content="why"),
        _thoughtful(reasoning="why"),
        _thoughtful(thinking="why"),
        {"messages": _chat("q", "<think>\nwhy\n</think>\n\na")},
        {"question": "q", "answer": "<think>why</think>a"},
    ],
)
def test_a_thought_is_kept_or_left_out_in_whatever_form_it_came(row: dict[str, Any]) -> None:
    template: Any = "Messages" if "messages" in row else "QuestionAnswer"
    assert Renderer(_plan(), template)(row).messages == _chat("q", "a")
    kept = Renderer(_plan(prompt=PromptPlan(thinking="Keep")), template)(row).messages
    assert kept == [_chat("q", "a")[0], {"role": "assistant", "content": "a", "reasoning_content": "why"}]


def test_an_answer_that_is_a_thought_alone_is_incomplete() -> None:
    with pytest.raises(Rejected, match="the answer is empty"):
        Renderer(_plan(), "QuestionAnswer")({"question": "q", "answer": "<think>why</think>"})


CALL = {"id": "1", "type": "function", "function": {"name": "toll", "arguments": {"to": "부산"}}}


@pytest.mark.parametrize("arguments", [{"to": "부산"}, '{"to": "부산"}'])
def test_calls_of_tools_and_their_results_are_read(arguments: Any) -> None:
    call = {**CALL, "function": {"name": "toll", "arguments": arguments}}
    result = {"role": "tool", "tool_call_id": "1", "content": {"won": 18600}}
    row = {
        "messages": [
            {"role": "user", "content": "q"},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            result,
            {"role": "assistant", "content": "a"},
        ],
        "tools": '[{"type": "function", "function": {"name": "toll"}}]',
    }
    user, calls, answered, answer = Renderer(_plan(), "Messages")(row).messages
    assert user["variables"] == {"tools": [{"type": "function", "function": {"name": "toll"}}]}
    assert calls == {"role": "assistant", "content": "", "tool_calls": [CALL]}
    assert answered == {"role": "tool", "content": '{"won": 18600}', "tool_call_id": "1"}
    assert answer == {"role": "assistant", "content": "a"}


def test_texts_are_changed_wherever_a_person_may_have_written_them() -> None:
    call = {**CALL, "function": {"name": "toll", "arguments": {"name": "김", "to": ["부산", 3]}}}
    variables = {"tools": [{"name": "김"}], "area": "김해"}
    messages: list[Any] = [
        {"role": "user", "content": "김", "variables": variables},
        {"role": "assistant", "content": "", "reasoning_content": "김?", "tool_calls": [call]},
    ]
    user, answer = with_texts(messages, lambda text: text.replace("김", "X").replace("부산", "Y"))
    assert user == {"role": "user", "content": "X", "variables": {"tools": [{"name": "김"}], "area": "X해"}}
    assert answer["reasoning_content"] == "X?"
    assert answer["tool_calls"][0]["function"] == {"name": "toll", "arguments": {"name": "X", "to": ["Y", 3]}}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"tools": "["}, "`tools` is not JSON"),
        ({"tools": "3"}, "`tools` must be a list"),
        ({"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "tool_calls": [{}]}]}, "with a name"),
    ],
)
def test_tools_that_cannot_be_read_are_rejected(change: dict[str, Any], reason: str) -> None:
    with pytest.raises(Rejected, match=reason):
        Renderer(_plan(), "Messages")({"messages": _chat("q", "a"), **change})


CLAIMS = PromptPlan(
    format="Text",
    text="### Instruction:\n{instruction}\n\n### Input:\n[Voice-of-Customer]: {input}\n[Category Dict]: {category_dict}"
    "\n\n### Response:\n{output}",
    defaults={"category_dict": '{"해충": []}'},
)


@pytest.mark.parametrize(
    ("row", "said", "variables"),
    [
        (
            {"instruction": "분류", "input": "벌레", "output": "{}", "category_dict": {"해충": ["개미"]}},
            "벌레",
            {"instruction": "분류", "category_dict": '{"해충": ["개미"]}'},
        ),
        ({"instruction": "분류", "input": "벌레", "output": "{}"}, "벌레", {"instruction": "분류"}),
        ({"instruction": "분류", "output": "{}", "category_dict": None}, "분류", {}),
    ],
)
def test_fields_of_a_text_go_beside_what_a_client_would_say(
    row: dict[str, Any], said: str, variables: dict[str, str]
) -> None:
    found = Renderer(_plan(prompt=CLAIMS, columns=ColumnsPlan(context=["category_dict"])), "Alpaca")(row).messages
    assert found[0]["content"] == said
    assert found[0].get("variables", {}) == variables


def test_a_row_without_its_context_is_rejected_where_the_field_has_no_default() -> None:
    plan = _plan(prompt=CLAIMS.model_copy(update={"defaults": {}}), columns=ColumnsPlan(context=["meta.category_dict"]))
    with pytest.raises(Rejected, match=r"has no meta.category_dict: give prompt.defaults.category_dict a value"):
        Renderer(plan, "Alpaca")({"instruction": "분류", "input": "벌레", "output": "{}"})


def test_a_question_is_not_taken_for_the_instruction_that_is_missing() -> None:
    plan = _plan(prompt=PromptPlan(text="### {instruction}\n{input}"), columns=ColumnsPlan())
    with pytest.raises(Rejected, match=r"has no instruction: give prompt\.defaults\.instruction a value, or"):
        Renderer(plan, "QuestionAnswer")({"question": "가", "answer": "나"})


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{instruction} {inptu} {output}", r"has the field \{inptu\}, which no row has"),
        ("{category_dict} {output}", "the user's message goes there"),
        ("{instruction} {input}", r"ends with \{output\}"),
        ("{instruction} {input} {output}", r"has no field \{category_dict\}"),
    ],
)
def test_a_text_with_wrong_fields_is_a_bad_plan(text: str, reason: str) -> None:
    prompt = CLAIMS.model_copy(update={"text": text})
    with pytest.raises(PlanError, match=reason):
        Renderer(_plan(prompt=prompt, columns=ColumnsPlan(context=["category_dict"])), "Alpaca")


def test_what_all_rows_share_is_not_compared() -> None:
    assert Renderer(_plan(), "InstructionIO")(INSTRUCTION).asked == '{"subject": "상품"}'
    assert Renderer(_plan(), "Messages")({"messages": _chat("system prompt", "q", "a")}).asked == "q"
    prompted = _plan(prompt=PromptPlan(system_prompt="s"))
    assert Renderer(prompted, "Alpaca")({"instruction": "Sum.", "input": "1 2", "output": "3"}).asked == "1 2"
    assert Renderer(prompted, "Alpaca")({"instruction": "Hi.", "input": "", "output": "Ho."}).asked == "Hi."
    turns = {"messages": [*_chat("q", "a"), *_chat("p", "b")]}
    assert Renderer(prompted, "Messages")(turns).asked == "q\na\np"
    assert Renderer(prompted, "Text")({"text": "plain"}).asked == "plain"


def test_a_question_tells_the_context_and_every_turn_before_the_answer() -> None:
    row = {"instruction": "분류", "input": "벌레", "output": "{}", "category_dict": "쥐"}
    claims = CLAIMS.model_copy(update={"system_prompt": "s"})
    asked = Renderer(_plan(prompt=claims, columns=ColumnsPlan(context=["category_dict"])), "Alpaca")(row).messages
    assert question(asked) == "category_dict: 쥐\ninstruction: 분류\ns\n벌레"
    assert question(asked, system=False) == "category_dict: 쥐\ninstruction: 분류\n벌레"
    chat = {"messages": [*_chat("q", "a"), *_chat("p", "b")], "tools": [{"type": "function"}]}
    assert question(Renderer(_plan(), "Messages")(chat).messages) == "q\na\np"


def test_labels_and_groups_are_found_by_path_also_inside_json_text() -> None:
    plan = _plan(stratify_by="response.kind", columns=ColumnsPlan(input="q", output="response", group="meta.user"))
    row = {"q": "x", "response": '{"kind": "claim"}', "meta": {"user": 7}}
    chat = _chat("x", '{"kind": "claim"}')
    assert Renderer(plan, "QuestionAnswer")(row) == Conversation(chat, (Part(0),), "claim", "7")


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
        ("Messages", {"messages": [{"role": "judge", "content": "x"}] * 2}, "the role 'judge' is none of"),
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
    with pytest.raises(PlanError, match=r"clean\.removePattern, which is no regular expression"):
        cleaner_of(CleanPlan(remove_pattern="["))


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
