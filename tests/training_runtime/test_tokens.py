"""Labels are exact: what is learnt decodes to the answers and their end marks, nothing else."""

from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from tests.training_runtime.families import learnt
from training_runtime.errors import DataError, PlanError
from training_runtime.prepare import tokens
from training_runtime.prepare.tokens import Encoder
from training_runtime.tokenizer import load_tokenizer

LLAMA = (
    "{{ bos_token }}{% for m in messages %}{{ '<|start_header_id|>' + m['role'] + '<|end_header_id|>\n\n' "
    "+ m['content'] | trim + '<|eot_id|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
MISTRAL = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'user' %}{{ '[INST] ' + m['content'] + ' [/INST]' }}"
    "{% elif m['role'] == 'assistant' %}{{ ' ' + m['content'] + eos_token }}{% endif %}{% endfor %}"
)
# Like Qwen3's: thoughts are written for the last answer only, so earlier answers look otherwise in the whole.
THINKING = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{% if m['role'] == 'assistant' and loop.last %}"
    "<think>\n\n</think>\n\n{% endif %}{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SINGLE = [
    {"role": "user", "content": "통행료가 얼마죠?"},
    {"role": "assistant", "content": "1,000원입니다. Thank you!"},
]
TURNS = [
    {"role": "system", "content": "도우미"},
    *SINGLE,
    {"role": "user", "content": "감사해요"},
    {"role": "assistant", "content": "네, 안녕히 가세요."},
]


def _tokenizer(template: str, pre: Any = None) -> PreTrainedTokenizerFast:
    special = [
        "<s>",
        "</s>",
        "<|start_header_id|>",
        "<|end_header_id|>",
        "<|eot_id|>",
        "<|im_start|>",
        "<|im_end|>",
        "[INST]",
        "[/INST]",
    ]
    bare = Tokenizer(models.BPE(unk_token=None, byte_fallback=False))
    bare.pre_tokenizer = pre or pre_tokenizers.ByteLevel(add_prefix_space=False)
    bare.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=700, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    bare.train_from_iterator([message["content"] for message in TURNS] * 20, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=bare, bos_token="<s>", eos_token="</s>", chat_template=template)


CASES = {
    "llama": (LLAMA, "<|eot_id|>", ""),
    "mistral": (MISTRAL, "</s>", " "),
    "thinking": (THINKING, "<|im_end|>", ""),
}


@pytest.mark.parametrize("fast", [True, False], ids=["kitoken", "tokenizers"])
@pytest.mark.parametrize("name", CASES)
def test_what_is_learnt_is_the_answer_and_its_end_mark(
    name: str, *, fast: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    template, end, before = CASES[name]
    tokenizer = _tokenizer(template)
    if not fast:
        monkeypatch.setattr(tokens, "_fast_encode", lambda _: None)
    [[single]] = Encoder(tokenizer, 512, answers_only=True).encode([SINGLE])
    thought = "<think>\n\n</think>\n\n" if name == "thinking" else ""
    assert learnt(tokenizer, single.labels) == [f"{before}{thought}{SINGLE[-1]['content']}{end}"]
    assert tokenizer.decode(single.input_ids) == tokenizer.apply_chat_template(SINGLE, tokenize=False).rstrip(" ")
    assert single.length == len(single.input_ids)


@pytest.mark.parametrize("name", CASES)
def test_every_answer_of_a_conversation_islearnt(name: str) -> None:
    template, end, before = CASES[name]
    tokenizer = _tokenizer(template)
    [found] = Encoder(tokenizer, 512, answers_only=True).encode([TURNS])
    first, last = (run for one in found for run in learnt(tokenizer, one.labels))
    thought = "<think>\n\n</think>\n\n" if name == "thinking" else ""
    assert first == f"{before}{thought}{TURNS[2]['content']}{end}"
    assert last == f"{before}{thought}{TURNS[4]['content']}{end}"


def test_a_template_with_marks_is_followed(base: Path) -> None:
    tokenizer = load_tokenizer(base)
    [[found]] = Encoder(tokenizer, 512, answers_only=True).encode([TURNS])
    assert learnt(tokenizer, found.labels) == [f"{TURNS[i]['content']}<|im_end|>" for i in (2, 4)]


def test_both_libraries_give_the_same(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = load_tokenizer(base)
    texts = ["", "  spaces  ", "\n\nlines", "이모지 😀 섞인", "<|im_end|> in text", "tab\tand\u3000wide", "a" * 300]
    chats = [[{"role": "user", "content": text}, {"role": "assistant", "content": text or "x"}] for text in texts]
    fast = list(Encoder(tokenizer, 512, answers_only=True).encode(chats))
    monkeypatch.setattr(tokens, "_fast_encode", lambda _: None)
    assert fast == list(Encoder(tokenizer, 512, answers_only=True).encode(chats))


def test_a_tokenizer_that_adds_a_space_is_left_to_its_own_library() -> None:
    tokenizer = _tokenizer(LLAMA, pre_tokenizers.Sequence([pre_tokenizers.ByteLevel(add_prefix_space=True)]))
    [[found]] = Encoder(tokenizer, 512, answers_only=True).encode([SINGLE])
    assert (
        found.input_ids
        == tokenizer(tokenizer.apply_chat_template(SINGLE, tokenize=False), add_special_tokens=False)["input_ids"]
    )


def test_all_tokens_are_learnt_where_the_plan_says_so(base: Path) -> None:
    [[found]] = Encoder(load_tokenizer(base), 512, answers_only=False).encode([SINGLE])
    assert found.labels == found.input_ids


def test_plain_text_is_learnt_whole_with_its_end(base: Path) -> None:
    tokenizer = load_tokenizer(base)
    [[found]] = Encoder(tokenizer, 512, answers_only=True).encode([[{"role": "text", "content": "도로 안내"}]])
    assert tokenizer.decode(found.labels) == "도로 안내<|im_end|>"


def test_a_long_document_goes_on_in_the_next_row_and_ends_once(base: Path) -> None:
    tokenizer = load_tokenizer(base)
    tokenizer.chat_template = None  # a base model's
    text = "고속도로 통행료 안내. " * 20
    [rows] = Encoder(tokenizer, 32, answers_only=True).encode([[{"role": "text", "content": text}]])
    assert {len(row.input_ids) for row in rows[:-1]} == {32}
    assert tokenizer.decode([token for row in rows for token in row.input_ids]) == f"{text}<|im_end|>"
    assert all(row.labels == row.input_ids and row.length == len(row.input_ids) for row in rows)
    assert rows[0].messages[0]["content"].startswith("고속도로 통행료")


def test_a_chat_for_a_base_without_a_template_names_the_remedy(base: Path) -> None:
    tokenizer = load_tokenizer(base)
    tokenizer.chat_template = None
    with pytest.raises(PlanError, match=r"has no chat template: set prompt\.format: Text"):
        list(Encoder(tokenizer, 64, answers_only=True).encode([SINGLE]))


def test_a_token_never_reaches_from_the_prompt_into_the_answer() -> None:
    """Who asks has the prompt alone, so its tokens are the same whatever the answer is."""
    tokenizer = _tokenizer(
        "{% for m in messages %}{{ m.content }}{% if m.role == 'assistant' %}</s>{% endif %}{% endfor %}"
    )
    joined = [{"role": "user", "content": SINGLE[1]["content"][:3]}, {"role": "assistant", "content": "원입니다"}]
    [[found]] = Encoder(tokenizer, 512, answers_only=True).encode([joined])
    asked = tokenizer(joined[0]["content"], add_special_tokens=False)["input_ids"]
    assert found.input_ids[: len(asked)] == asked
    assert learnt(tokenizer, found.labels) == ["원입니다</s>"]
    assert tokenizer("1,0원입니다")["input_ids"] != asked  # it would not be so by itself


def test_a_long_row_is_cut(base: Path) -> None:
    [[found]] = Encoder(load_tokenizer(base), 10, answers_only=True).encode([TURNS])
    assert (len(found.input_ids), len(found.labels)) == (10, 10)
    assert found.length > 10


def test_a_template_that_renders_nothing_is_bad_data() -> None:
    with pytest.raises(DataError, match="the chat template renders no answer"):
        list(Encoder(_tokenizer("{# nothing #}"), 64, answers_only=True).encode([SINGLE]))


def test_a_template_that_refuses_says_why() -> None:
    refusing = _tokenizer("{{ raise_exception('no system role') }}")
    with pytest.raises(PlanError, match="no system role"):
        list(Encoder(refusing, 64, answers_only=True).encode([TURNS]))
