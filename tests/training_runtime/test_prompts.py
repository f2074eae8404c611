"""The template that `spec.prompt` comes to: a client that knows nothing of it gets the prompt that training saw."""

from typing import Any

import pytest
from jinja2 import meta
from transformers.utils.chat_template_utils import _compile_jinja_template

from prompts.clock import FIXED_DATE
from prompts.fields import FieldText
from prompts.rendering import PromptError, render, variables_of
from prompts.template import chat_template
from tests.training_runtime.families import ORIGINALS, family_tokenizer
from tests.training_runtime.test_conversations import CLAIMS, _plan
from training_runtime.errors import PlanError
from training_runtime.plan import ColumnsPlan, PromptPlan
from training_runtime.rows.prompting import Prompting, template_of
from training_runtime.rows.templates import Renderer

DICTIONARY = '{"해충": []}'
CONTEXT = ColumnsPlan(context=["category_dict"])
ROW = {"instruction": "분류하라.", "input": "벌레가 나와요", "output": '{"is_claim": "claim"}'}


def _tokenizer(prompt: PromptPlan, columns: ColumnsPlan = CONTEXT, source: str | None = None) -> Any:
    made = family_tokenizer("<|im_start|><|im_end|>")
    made.chat_template = template_of(prompt, columns, source, made)
    return made


def _asked(tokenizer: Any, *messages: dict[str, Any], **given: Any) -> str:
    """As a server renders a request, which may hold `chat_template_kwargs`."""
    found: str = tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=True, **given)
    return found


def _user(content: str) -> dict[str, str]:
    return {"role": "user", "content": content}


def test_the_claims_text_reads_alike_in_training_and_in_requests() -> None:
    prompt = CLAIMS.model_copy(update={"defaults": {"category_dict": DICTIONARY, "instruction": "분류하라."}})
    tokenizer = _tokenizer(prompt)
    messages = Renderer(_plan(prompt=prompt, columns=CONTEXT), "Alpaca")(ROW).messages
    [example] = Prompting(tokenizer).examples(messages)
    expected = (
        "### Instruction:\n분류하라.\n\n### Input:\n[Voice-of-Customer]: 벌레가 나와요\n[Category Dict]: "
        + DICTIONARY
        + "\n\n### Response:\n"
    )
    assert example.text == expected + ROW["output"] + "</s>"
    assert example.text[slice(*example.learnt[0])] == ROW["output"] + "</s>"
    assert _asked(tokenizer, _user(ROW["input"])) == expected
    assert _asked(tokenizer, _user(ROW["input"]), instruction="분류하라.", category_dict=DICTIONARY) == expected


def test_a_request_gives_fields_by_name_as_texts_or_as_objects() -> None:
    tokenizer = _tokenizer(CLAIMS)
    as_text = _asked(tokenizer, _user("벌레"), instruction="분류", category_dict='{"쥐": [1]}')
    assert "### Instruction:\n분류\n" in as_text
    assert "[Voice-of-Customer]: 벌레\n" in as_text
    assert '[Category Dict]: {"쥐": [1]}\n' in as_text
    assert _asked(tokenizer, _user("벌레"), instruction="분류", category_dict={"쥐": [1]}) == as_text


def test_a_server_lets_the_fields_through() -> None:
    """It passes on the variables that a template reads and does not set, and no others."""
    read = variables_of(str(_tokenizer(CLAIMS).chat_template))
    assert {"instruction", "input", "category_dict"} <= read


def test_without_a_default_and_without_a_value_a_request_is_refused() -> None:
    tokenizer = _tokenizer(CLAIMS.model_copy(update={"defaults": {}}))
    with pytest.raises(PlanError, match="category_dict is not given: chat_template_kwargs may hold it"):
        Prompting(tokenizer).prompt([_user("벌레")])


_BOTH = (
    "Below is an instruction that describes a task, paired with an input that provides further context. Write a "
    "response that appropriately completes the request.\n\n### Instruction:\nSum.\n\n### Input:\n1 2\n\n### Response:\n"
)
_ALONE = (
    "Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n"
    "### Instruction:\nGreet.\n\n### Response:\n"
)


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"instruction": "Sum.", "input": "1 2", "output": "3"}, _BOTH),
        ({"instruction": "Greet.", "input": "", "output": "Ho."}, _ALONE),
    ],
)
def test_alpacas_text_is_the_default(row: dict[str, str], expected: str) -> None:
    prompt = PromptPlan(format="Text")
    tokenizer = _tokenizer(prompt, ColumnsPlan())
    messages = Renderer(_plan(prompt=prompt), "Alpaca")(row).messages
    [example] = Prompting(tokenizer).examples(messages)
    assert example.text == f"{expected}{row['output']}</s>"
    given = {"instruction": row["instruction"]} if row["input"] else {}
    assert _asked(tokenizer, _user(row["input"] or row["instruction"]), **given) == expected


def test_a_constant_instruction_makes_a_plain_message_the_input_and_a_row_without_input_still_reads_right() -> None:
    prompt = PromptPlan(format="Text", defaults={"instruction": "Translate."})
    tokenizer = _tokenizer(prompt, ColumnsPlan())
    assert "### Instruction:\nTranslate.\n\n### Input:\nhello\n" in _asked(tokenizer, _user("hello"))
    bare = Renderer(_plan(prompt=prompt), "Alpaca")({"instruction": "Greet.", "input": "", "output": "Ho."}).messages
    assert "### Instruction:\nGreet.\n\n### Response:\n" in Prompting(tokenizer).prompt(bare[:-1])


def test_a_users_turn_of_a_chat_may_have_fields_too() -> None:
    prompt = PromptPlan(text="고객: {input}\n분류표: {category_dict}\n", defaults={"category_dict": "없음"})
    tokenizer = _tokenizer(prompt, source=ORIGINALS["qwen3"])
    expected = "<|im_start|>user\n고객: 벌레\n분류표: 없음<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
    assert _asked(tokenizer, _user("벌레")) == expected
    parts = {"role": "user", "content": [{"type": "text", "text": "벌레"}]}
    assert _asked(tokenizer, parts) == expected


def test_several_turns_repeat_the_text_after_a_system_message() -> None:
    tokenizer = _tokenizer(PromptPlan(format="Text", text="Q: {input}\nA: {output}"), ColumnsPlan())
    chat = [
        {"role": "system", "content": "Be brief."},
        _user("1?"),
        {"role": "assistant", "content": "one"},
        _user("2?"),
    ]
    assert _asked(tokenizer, *chat) == "Be brief.\n\nQ: 1?\nA: one</s>Q: 2?\nA: "
    [example] = Prompting(tokenizer).examples([*chat, {"role": "assistant", "content": "two"}])
    assert [example.text[slice(*span)] for span in example.learnt] == ["one</s>", "two</s>"]


@pytest.mark.parametrize(
    "content", ['{"a": {"b": 1}}', "{{word}} {%x%} {#y#}", 'it\'s "so" \\n', "끝 😀 \u2028", "}}{{"]
)
def test_a_text_of_any_characters_is_written_as_it_is(content: str) -> None:
    tokenizer = _tokenizer(PromptPlan(format="Text", text=f"{content}|{{input}}|{{output}}"), ColumnsPlan())
    assert _asked(tokenizer, _user("x")) == f"{content.replace('{{word}}', '{word}')}|x|"


@pytest.mark.parametrize(
    "name", ["messages", "tools", "eos_token", "enable_thinking", "message", "asked", "dict", "true"]
)
def test_a_column_cannot_take_a_name_that_templates_use(name: str) -> None:
    with pytest.raises(PromptError, match=f"{name} cannot be a field"):
        FieldText("{input}", context=[name])


def test_a_template_of_the_users_own_is_taken_and_a_broken_one_is_told() -> None:
    own = "{% for m in messages %}<|im_start|>{{ m.content }}<|im_end|>{% endfor %}"
    prompt = PromptPlan(chat_template=own)
    assert template_of(prompt, ColumnsPlan(), own, _tokenizer(prompt, ColumnsPlan())) == own
    with pytest.raises(PlanError, match=r"not valid Jinja, mend it at line 1"):
        template_of(prompt, ColumnsPlan(), "{% for m in messages %}", _tokenizer(prompt, ColumnsPlan()))


@pytest.mark.parametrize(
    ("family", "form"), [("llama3_2", "%d %b %Y"), ("gptoss", "%Y-%m-%d"), ("muse_glimmer", "%Y-%m-%d")]
)
def test_no_template_writes_the_clocks_date(family: str, form: str) -> None:
    tokenizer = family_tokenizer(ORIGINALS[family])
    assert FIXED_DATE.strftime(form) not in _asked(tokenizer, _user("x"))
    tokenizer.chat_template = chat_template(ORIGINALS[family], "None")
    assert FIXED_DATE.strftime(form) in _asked(tokenizer, _user("x"))


@pytest.mark.parametrize("family", ORIGINALS)
def test_the_variables_of_a_template_are_those_that_transformers_finds(family: str) -> None:
    compiled = _compile_jinja_template(ORIGINALS[family])
    found = meta.find_undeclared_variables(compiled.environment.parse(ORIGINALS[family]))
    assert variables_of(ORIGINALS[family]) == found


def test_a_sandboxed_template_reaches_nothing() -> None:
    with pytest.raises(PromptError):
        render("{{ messages.__class__.__mro__[1].__subclasses__() }}", [_user("x")], {})
