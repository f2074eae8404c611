"""What is learnt, exactly, with the chat templates of every family that TRL ships."""

import pytest
from transformers import PreTrainedTokenizerFast
from trl.chat_template_utils import get_training_chat_template, has_generation_markers

from prompts.template import chat_template
from prompts.thinking import answer_of
from tests.training_runtime.families import OF_PARTS, ORIGINALS, family_tokenizer, learnt
from training_runtime.errors import DataError, PlanError
from training_runtime.plan import ColumnsPlan, PromptPlan, Thinking
from training_runtime.prepare.prompt import training_edition
from training_runtime.prepare.tokens import IGNORED, Encoder
from training_runtime.rows.conversations import Message
from training_runtime.rows.prompting import Prompting, template_of

# The user says what the assistant answers, twice, so an answer that is looked for is found in the wrong place.
CHAT: list[Message] = [
    {"role": "user", "content": "네, 알겠습니다…"},
    {"role": "assistant", "content": "네"},
    {"role": "user", "content": "네, 알겠습니다. 또 네?"},
    {"role": "assistant", "content": "네 둘"},
]
THOUGHTFUL: list[Message] = [
    {**message, "reasoning_content": f"생각 {message['content']}"} if message["role"] == "assistant" else message
    for message in CHAT
]
_CHATML = ["네<|im_end|>", "네 둘<|im_end|>"]
_LLAMA = ["네<|eot_id|>", "네 둘<|eot_id|>"]
_GEMMA4 = ["네<turn|>", "네 둘<turn|>"]
OFF = {
    "cohere": ["네<|END_OF_TURN_TOKEN|>", "네 둘<|END_OF_TURN_TOKEN|>"],
    "cohere2": ["네<|END_RESPONSE|><|END_OF_TURN_TOKEN|>", "네 둘<|END_RESPONSE|><|END_OF_TURN_TOKEN|>"],
    "diffusion_gemma": _GEMMA4,
    "gemma": ["네<end_of_turn>", "네 둘<end_of_turn>"],
    "gemma3": ["네<end_of_turn>", "네 둘<end_of_turn>"],
    "gemma4": _GEMMA4,
    "gemma4_v2": _GEMMA4,
    "gemma4_v3": _GEMMA4,
    "gemma4_v4": _GEMMA4,
    "gemma4_v5": _GEMMA4,
    "glm4moe": ["\n네<|user|>", "\n네 둘<|user|>"],
    "gptoss": ["<|channel|>final<|message|>네<|end|>", "<|channel|>final<|message|>네 둘<|return|>"],
    "lfm2": _CHATML,
    "lfm2_2_5": _CHATML,
    "lfm2_2_5_v2": _CHATML,
    "lfm2_2_5_vl": _CHATML,
    "lfm2_v2": _CHATML,
    "llama3": _LLAMA,
    "llama3_1": _LLAMA,
    "llama3_2": _LLAMA,
    "muse_glimmer": [" to=user<|message|>네<|eot|>", " to=user<|message|>네 둘<|eot|>"],
    "nemotron_3_5_lightning": _CHATML,
    "nemotron_3_nano": _CHATML,
    "nemotron_3_super": _CHATML,
    "nemotron_3_ultra": _CHATML,
    "phi3": ["네<|end|>", "네 둘<|end|>\n</s>"],
    "phi3_5": ["네<|end|>", "네 둘<|end|>\n</s>"],
    "qwen2_5": _CHATML,
    "qwen2_5_vl": _CHATML,
    "qwen3": _CHATML,
    "qwen3_5_nothink": _CHATML,
    "qwen3_5_think": _CHATML,
    "qwen3_6": _CHATML,
    "qwen3_8": _CHATML,
    "qwen3_instruct_2507": _CHATML,
    "qwen3_vl": _CHATML,
}
"""What is learnt of CHAT, counted by hand."""
_OPENED = ["생각 네\n</think>\n\n네<|im_end|>", "생각 네 둘\n</think>\n\n네 둘<|im_end|>"]
_SHORT = ["<think>생각 네</think>네<|im_end|>", "<think>생각 네 둘</think>네 둘<|im_end|>"]
_CHANNEL = ["<|channel>thought\n생각 네\n<channel|>네<turn|>", "<|channel>thought\n생각 네 둘\n<channel|>네 둘<turn|>"]
_SENTENCE_END = "<\uff5cend▁of▁sentence\uff5c>"
KEPT = {
    "deepseek_r1_distill": [
        f"생각 네\n</think>\n\n네{_SENTENCE_END}",
        f"생각 네 둘\n</think>\n\n네 둘{_SENTENCE_END}",
    ],
    "diffusion_gemma": _CHANNEL,
    "gemma4_v5": _CHANNEL,
    "glm4moe": ["\n<think>생각 네</think>\n네<|user|>", "\n<think>생각 네 둘</think>\n네 둘<|user|>"],
    "gptoss": [
        "<|channel|>analysis<|message|>생각 네<|end|><|start|>assistant<|channel|>final<|message|>네<|return|>",
        "<|channel|>analysis<|message|>생각 네 둘<|end|><|start|>assistant<|channel|>final<|message|>네 둘<|return|>",
    ],
    "lfm2_2_5": _SHORT,
    "lfm2_2_5_v2": _SHORT,
    "lfm2_2_5_vl": _SHORT,
    "muse_glimmer": [
        " to=self<|message|>생각 네<|eom|><|start|>assistant to=user<|message|>네<|eot|>",
        " to=self<|message|>생각 네 둘<|eom|><|start|>assistant to=user<|message|>네 둘<|eot|>",
    ],
    "nemotron_3_5_lightning": ["생각 네</think>네<|im_end|>", "생각 네 둘</think>네 둘<|im_end|>"],
    "nemotron_3_nano": ["생각 네\n</think>\n네<|im_end|>", "생각 네 둘\n</think>\n네 둘<|im_end|>"],
    "nemotron_3_super": ["생각 네\n</think>\n네<|im_end|>", "생각 네 둘\n</think>\n네 둘<|im_end|>"],
    "nemotron_3_ultra": ["생각 네</think>네<|im_end|>", "생각 네 둘</think>네 둘<|im_end|>"],
    "qwen3": ["<think>\n생각 네\n</think>\n\n네<|im_end|>", "<think>\n생각 네 둘\n</think>\n\n네 둘<|im_end|>"],
    "qwen3_5_nothink": _OPENED,
    "qwen3_5_think": _OPENED,
    "qwen3_6": _OPENED,
    "qwen3_8": _OPENED,
}
"""What is learnt of THOUGHTFUL."""


def _tokenizer(family: str, thinking: Thinking = "None") -> PreTrainedTokenizerFast:
    made = family_tokenizer(ORIGINALS[family])
    made.chat_template = chat_template(training_edition(ORIGINALS[family]), thinking)
    return made


@pytest.mark.parametrize("family", ORIGINALS)
def test_the_training_edition_is_what_trl_trains_with(family: str) -> None:
    tokenizer = family_tokenizer(ORIGINALS[family])
    try:
        known = get_training_chat_template(tokenizer) or ORIGINALS[family]
    except ValueError:  # TRL has none
        known = ORIGINALS[family]
    assert training_edition(ORIGINALS[family]) == known


def test_no_family_is_left_out() -> None:
    assert set(OFF) | set(OF_PARTS) | {"deepseek_r1_distill", "deepseekv3"} == set(ORIGINALS)
    assert set(KEPT) <= set(ORIGINALS)


@pytest.mark.parametrize("family", OFF)
def test_every_answer_and_its_end_mark_are_learnt_and_no_thought(family: str) -> None:
    tokenizer = _tokenizer(family)
    [found] = [one for [one] in Encoder(tokenizer, 4096, answers_only=True).encode([CHAT])]
    assert learnt(tokenizer, found.labels) == OFF[family]


@pytest.mark.parametrize("family", KEPT)
def test_thoughts_are_learnt_where_they_are_kept(family: str) -> None:
    """In one row for all answers or, where a template drops earlier thoughts, in one for each."""
    tokenizer = _tokenizer(family, "Keep")
    [found] = Encoder(tokenizer, 4096, answers_only=True).encode([THOUGHTFUL])
    assert [run for one in found for run in learnt(tokenizer, one.labels)] == KEPT[family]


@pytest.mark.parametrize("family", OFF)
def test_a_prompt_that_is_asked_is_what_stood_before_the_answer_learnt(family: str) -> None:
    tokenizer = _tokenizer(family)
    [[found]] = Encoder(tokenizer, 4096, answers_only=True).encode([CHAT])
    asked = tokenizer(Prompting(tokenizer).prompt(CHAT[:-1]), add_special_tokens=False)["input_ids"]
    answer = len(tokenizer(OFF[family][-1], add_special_tokens=False)["input_ids"])
    assert found.input_ids[: len(asked)] == asked
    assert found.labels[len(asked) : len(asked) + answer] == found.input_ids[len(asked) : len(asked) + answer]


@pytest.mark.parametrize("thinking", ["None", "Keep"])
@pytest.mark.parametrize("family", OFF)
def test_whoever_renders_the_written_template_gets_the_same(family: str, thinking: Thinking) -> None:
    """By transformers, as TRL and vLLM do, without naming any setting."""
    tokenizer = _tokenizer(family, thinking)
    prompting = Prompting(tokenizer)
    asked = tokenizer.apply_chat_template(CHAT[:-1], tokenize=False, add_generation_prompt=True)
    assert asked == prompting.prompt(CHAT[:-1])
    if thinking == "None":
        [example] = prompting.examples(CHAT)
        assert tokenizer.apply_chat_template(CHAT, tokenize=False) == example.text


@pytest.mark.parametrize("family", [name for name in OFF if has_generation_markers(training_edition(ORIGINALS[name]))])
def test_nothing_is_learnt_that_trl_would_mask(family: str) -> None:
    """In letters of one byte, as Transformers' masks may end within a longer one."""
    tokenizer = _tokenizer(family)
    chat = [{**message, "content": f"yes {number}"} for number, message in enumerate(CHAT)]
    [[found]] = Encoder(tokenizer, 4096, answers_only=True).encode([chat])
    known = tokenizer.apply_chat_template(chat, return_dict=True, return_assistant_tokens_mask=True)
    assert known["input_ids"] == found.input_ids
    mine = [label != IGNORED for label in found.labels]
    assert not [
        place for place, (own, mask) in enumerate(zip(mine, known["assistant_masks"], strict=True)) if own > mask
    ]


@pytest.mark.parametrize("family", ["deepseek_r1_distill", "deepseekv3"])
def test_a_template_that_always_opens_a_thought_says_what_to_do(family: str) -> None:
    with pytest.raises(DataError, match=r"opens a thought before each answer.*set prompt\.thinking: Keep"):
        Prompting(_tokenizer(family)).examples(CHAT)


@pytest.mark.parametrize("family", OF_PARTS)
def test_a_template_that_writes_no_text_is_refused(family: str) -> None:
    with pytest.raises((DataError, PlanError), match=r"renders no answer|does not take these messages"):
        Prompting(_tokenizer(family)).examples(CHAT)


@pytest.mark.parametrize("family", ["gemma3", "llama3_1", "qwen2_5", "gemma4"])
def test_thoughts_that_a_template_would_drop_are_refused(family: str) -> None:
    with pytest.raises(DataError, match=r"hold thoughts.*does not write reasoning_content.*leave prompt.thinking out"):
        Prompting(_tokenizer(family, "Keep")).examples(THOUGHTFUL)


TOOL = {"type": "function", "function": {"name": "toll", "description": "d", "parameters": {"type": "object"}}}
CALLING: list[Message] = [
    {"role": "user", "content": "서울 부산 통행료?", "variables": {"tools": [TOOL]}},
    {
        "role": "assistant",
        "content": "",
        "tool_calls": [
            {"type": "function", "id": "call00001", "function": {"name": "toll", "arguments": {"to": "부산항"}}}
        ],
    },
    {"role": "tool", "name": "toll", "tool_call_id": "call00001", "content": "18,600"},
    {"role": "assistant", "content": "18,600원입니다."},
]


@pytest.mark.parametrize("family", ["qwen3", "qwen3_5_think", "qwen2_5", "llama3_1", "glm4moe", "gptoss", "gemma4_v5"])
def test_calls_of_tools_are_learnt_and_their_results_are_not(family: str) -> None:
    tokenizer = _tokenizer(family)
    examples = Prompting(tokenizer).examples(CALLING)
    runs = [example.text[slice(*span)] for example in examples for span in example.learnt]
    assert "부산항" in "".join(runs[:-1])
    assert "18,600원입니다." in runs[-1]
    assert not [run for run in runs if "18,600" in run.replace("18,600원", "")]
    assert all('"toll"' in example.text or "toll" in example.text for example in examples)


@pytest.mark.parametrize(
    ("family", "lost"), [("gemma3", "describe tools"), ("phi3", "describe tools"), ("cohere", "describe tools")]
)
def test_tools_that_a_template_would_drop_are_refused(family: str, lost: str) -> None:
    with pytest.raises(DataError, match=lost):
        Prompting(_tokenizer(family)).examples(CALLING)


@pytest.mark.parametrize(
    ("dropped", "lost"),
    [(CALLING[1:2], "call tools.*does not write tool_calls"), (CALLING[2:3], "hold what tools answered")],
)
def test_calls_and_results_that_a_template_would_drop_are_refused(dropped: list[Message], lost: str) -> None:
    chat = [CHAT[0], *dropped, CHAT[1]]
    with pytest.raises(DataError, match=lost):
        Prompting(_tokenizer("cohere")).examples(chat)


def test_a_template_without_marks_that_rewrites_earlier_turns_teaches_each_answer_by_itself() -> None:
    """Qwen3's own, which TRL would replace: earlier answers lose their empty thought, so the prompts differ."""
    tokenizer = family_tokenizer(ORIGINALS["qwen3"])
    tokenizer.chat_template = chat_template(ORIGINALS["qwen3"], "None")
    [found] = Encoder(tokenizer, 4096, answers_only=True).encode([CHAT])
    assert [learnt(tokenizer, one.labels) for one in found] == [["네<|im_end|>"], ["네 둘<|im_end|>"]]
    assert [one.messages for one in found] == [CHAT[:2], CHAT]


MARKLESS = (
    "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}"
    "{% if add_generation_prompt %}[assistant]{% endif %}"
)


def test_an_answer_without_an_end_mark_gets_the_end_of_the_text() -> None:
    tokenizer = family_tokenizer(MARKLESS)
    [example] = Prompting(tokenizer).examples(CHAT[:2])
    assert example.text.endswith("[assistant]네</s>")
    assert example.text[slice(*example.learnt[0])] == "네</s>"


def test_an_earlier_answer_without_an_end_mark_is_refused() -> None:
    with pytest.raises(DataError, match="ends no answer before the next turn begins"):
        Prompting(family_tokenizer(MARKLESS)).examples(CHAT)


@pytest.mark.parametrize(
    ("output", "prompt", "answer"),
    [
        ("네", "", "네"),
        ("<think>\n음\n</think>\n\n네", "", "네"),
        ("음\n</think>\n\n네", "<|im_start|>assistant\n<think>\n", "네"),
        ("<think>\n음", "", ""),
        ("음, 그러니까", "<think>\n", ""),
        ("<think></think>\n네", "", "네"),
        ("<|channel|>analysis<|message|>음<|end|><|start|>assistant<|channel|>final<|message|>네", "", "네"),
        ("<|channel|>final<|message|>네", "", "네"),
        ("<|channel|>analysis<|message|>음", "", ""),
        ("<|channel>thought\n음\n<channel|>네", "", "네"),
        (" to=self<|message|>음<|eom|><|start|>assistant to=user<|message|>네", "<|start|>assistant", "네"),
    ],
)
def test_an_answer_is_told_from_its_thought_and_one_cut_off_is_empty(output: str, prompt: str, answer: str) -> None:
    assert answer_of(output, prompt) == answer


def test_a_plan_without_a_prompt_leaves_thoughts_out() -> None:
    assert PromptPlan().thinking == "None"


def test_a_greeting_before_any_question_is_read_and_not_learnt() -> None:
    tokenizer = _tokenizer("qwen3")
    [example] = Prompting(tokenizer).examples([{"role": "assistant", "content": "반갑습니다"}, *CHAT[-2:]])
    assert "반갑습니다" in example.text
    assert [example.text[slice(*span)] for span in example.learnt] == [OFF["qwen3"][-1]]


@pytest.mark.parametrize("system", ["짧게 답하라.", "Don't say \\n or {{ this }}."])
@pytest.mark.parametrize("family", ["qwen3", "llama3_1", "glm4moe"])
def test_a_plain_client_gets_the_system_prompt_that_training_saw(family: str, system: str) -> None:
    tokenizer = family_tokenizer(ORIGINALS[family])
    prompt = PromptPlan(system_prompt=system)
    tokenizer.chat_template = template_of(prompt, ColumnsPlan(), training_edition(ORIGINALS[family]), tokenizer)
    user = {"role": "user", "content": "가"}
    asked = tokenizer.apply_chat_template([user], tokenize=False, add_generation_prompt=True)
    assert asked == Prompting(tokenizer).prompt([{"role": "system", "content": system}, user])
    assert asked.count(system) == 1
