"""Families of language models, each small enough to train in seconds: what it is made of, and what must come of it.

Plain data, that the runtime's tests and those on the cluster share; `tests.training_runtime.family_bases` makes the
folders. The shapes are the families' own (biases, norms, experts, windows), the sizes are not, and every letter is a
token, so that tokens can be counted by hand. Templates are those that TRL ships, where it has one of the family, else
those in axolotl's wheel; Phi-4's is written by hand.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from training_runtime.plan import Thinking

__all__ = ["ASKED", "FAMILIES", "Family", "family_chats"]

Message = dict[str, str]
Tokens = tuple[tuple[str, int, bool], ...]
"""A text, how many tokens it is, and whether they are learnt."""
_SIZES: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 2048,
    "initializer_range": 0.1,
}
_ATTENTION = {"q_proj": 2, "k_proj": 2, "v_proj": 2, "o_proj": 2}
_DENSE = {**_ATTENTION, "gate_proj": 2, "up_proj": 2, "down_proj": 2}
_MIXTURE = ("gate_up_proj", "down_proj", "gate.weight")
_SYSTEM = "Be brief."
# Written by hand, after the form of Phi-4's own; nothing of another's file.
_PHI4 = (
    "{%- for message in messages %}{{- '<|im_start|>' + message.role + '<|im_sep|>' + message.content + '<|im_end|>' }}"
    "{%- endfor %}{%- if add_generation_prompt %}{{- '<|im_start|>assistant<|im_sep|>' }}{%- endif %}"
)


@dataclass(frozen=True)
class Family:
    """One family; a template is `TRL: NAME`, `axolotl: NAME`, or the template itself."""

    template: str
    config: Mapping[str, Any]
    bos: str
    eos: str
    stops: tuple[str, ...]
    """The tokens at which the model says that it stops, in its generation_config.json."""
    taught: str
    """What is learnt of an answer, with its `{thought}`."""
    taught_before: str = ""
    """The same where another turn follows and the template writes it otherwise."""
    special: tuple[str, ...] = ()
    """Special tokens that cannot be told by their form."""
    begins_with_bos: bool = False
    """Whether the tokenizer puts `bos` before every text by itself."""
    system: str | None = None
    """The plan's system prompt, instead of the page that a template writes by itself."""
    thinking: Thinking = "None"
    thinks_within: bool = False
    """Whether the template reads a thought within the message's text alone."""
    masked_too: frozenset[str] = frozenset({"\n"})
    """What TRL has learnt besides, though no model is ever asked for it: its edition marks it."""
    tokens: Tokens = ()
    """Instead of TRL's masks: every token of the first chat, counted by hand."""
    adapted: Mapping[str, int] = field(default_factory=lambda: _DENSE)
    """The modules that LoRA finds, by the last part of their names, and how many of each."""
    adapted_parameters: tuple[str, ...] = ()
    """The parameters that LoRA finds beside them, as PEFT names them: the experts', and the router's."""
    unreached: tuple[str, ...] = ()
    """What LoRA does not reach, which preparation tells, a part of each sentence."""
    code: str = ""
    """The file of remote code that the base brings, from `tests/training_runtime`."""
    not_served: str = ""
    """Why vLLM's CPU build does not serve it with the prompts that training saw."""


def _qwen3(**changes: Any) -> Family:
    made: dict[str, Any] = {
        "template": "TRL: qwen3",
        "config": {**_SIZES, "model_type": "qwen3", "architectures": ["Qwen3ForCausalLM"], "head_dim": 32},
        "bos": "",
        "eos": "<|im_end|>",
        "stops": ("<|im_end|>", "<|endoftext|>"),
        "special": ("<|endoftext|>",),
        "taught": "{answer}<|im_end|>",
        "masked_too": frozenset({"<think>\n\n</think>\n\n", "\n"}),
    }
    return Family(**{**made, **changes})


_EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 64}
_BEGIN, _END = "<\uff5cbegin\u2581of\u2581sentence\uff5c>", "<\uff5cend\u2581of\u2581sentence\uff5c>"
_THOUGHT = "{thought}\n</think>\n\n{answer}"

FAMILIES: dict[str, Family] = {
    "qwen2.5": Family(
        template="TRL: qwen2_5",
        config={**_SIZES, "model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"], "tie_word_embeddings": True},
        bos="",
        eos="<|im_end|>",
        stops=("<|im_end|>", "<|endoftext|>"),
        special=("<|endoftext|>",),
        system=_SYSTEM,
        taught="{answer}<|im_end|>",
    ),
    "qwen3": _qwen3(),
    "qwen3-thinking": _qwen3(thinking="Keep", taught=f"<think>\n{_THOUGHT}<|im_end|>", masked_too=frozenset({"\n"})),
    "qwen3-moe": _qwen3(
        config={
            **_SIZES,
            **_EXPERTS,
            "model_type": "qwen3_moe",
            "architectures": ["Qwen3MoeForCausalLM"],
            "head_dim": 32,
            "norm_topk_prob": True,
        },
        adapted=_ATTENTION,
        adapted_parameters=_MIXTURE,
    ),
    "llama-3": Family(
        template="TRL: llama3",
        config={**_SIZES, "model_type": "llama", "architectures": ["LlamaForCausalLM"]},
        bos="<|begin_of_text|>",
        eos="<|end_of_text|>",
        stops=("<|end_of_text|>", "<|eot_id|>"),
        begins_with_bos=True,
        taught="{answer}<|eot_id|>",
    ),
    "mistral": Family(
        template="axolotl: mistral_v7_tekken",
        config={
            **_SIZES,
            "model_type": "mistral",
            "architectures": ["MistralForCausalLM"],
            "head_dim": 32,
            "sliding_window": None,
        },
        bos="<s>",
        eos="</s>",
        stops=("</s>",),
        special=("[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]", "[INST]", "[/INST]"),
        begins_with_bos=True,
        system=_SYSTEM,
        taught="{answer}</s>",
        tokens=(
            ("<s>", 1, False),
            ("[SYSTEM_PROMPT]", 1, False),
            ("Be brief.", 9, False),
            ("[/SYSTEM_PROMPT]", 1, False),
            ("[INST]", 1, False),
            ("hi", 2, False),
            ("[/INST]", 1, False),
            ("yes", 3, True),
            ("</s>", 1, True),
            ("[INST]", 1, False),
            ("so?", 3, False),
            ("[/INST]", 1, False),
            ("no", 2, True),
            ("</s>", 1, True),
        ),
    ),
    "gemma-3": Family(
        template="TRL: gemma3",
        config={
            **_SIZES,
            "model_type": "gemma3_text",
            "architectures": ["Gemma3ForCausalLM"],
            "head_dim": 32,
            "query_pre_attn_scalar": 32,
            "sliding_window": 64,
            "layer_types": ["sliding_attention", "full_attention"],
            "tie_word_embeddings": True,
        },
        bos="<bos>",
        eos="<eos>",
        stops=("<eos>", "<end_of_turn>"),
        begins_with_bos=True,
        taught="{answer}<end_of_turn>",
    ),
    "phi-4": Family(
        template=_PHI4,
        config={
            **_SIZES,
            "model_type": "phi3",
            "architectures": ["Phi3ForCausalLM"],
            "original_max_position_embeddings": 2048,
        },
        bos="<|endoftext|>",
        eos="<|im_end|>",
        stops=("<|endoftext|>", "<|im_end|>"),
        taught="{answer}<|im_end|>",
        adapted={"qkv_proj": 2, "o_proj": 2, "gate_up_proj": 2, "down_proj": 2},
        tokens=(
            ("<|im_start|>", 1, False),
            ("user", 4, False),
            ("<|im_sep|>", 1, False),
            ("hi", 2, False),
            ("<|im_end|>", 1, False),
            ("<|im_start|>", 1, False),
            ("assistant", 9, False),
            ("<|im_sep|>", 1, False),
            ("yes", 3, True),
            ("<|im_end|>", 1, True),
            ("<|im_start|>", 1, False),
            ("user", 4, False),
            ("<|im_sep|>", 1, False),
            ("so?", 3, False),
            ("<|im_end|>", 1, False),
            ("<|im_start|>", 1, False),
            ("assistant", 9, False),
            ("<|im_sep|>", 1, False),
            ("no", 2, True),
            ("<|im_end|>", 1, True),
        ),
    ),
    "glm-4.5": Family(
        template="TRL: glm4moe",
        config={
            **_SIZES,
            "model_type": "glm4_moe",
            "architectures": ["Glm4MoeForCausalLM"],
            "head_dim": 32,
            "attention_bias": True,
            "use_qk_norm": True,
            "n_routed_experts": 4,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": 64,
            "n_shared_experts": 1,
            "first_k_dense_replace": 1,
            "num_nextn_predict_layers": 1,
        },
        bos="",
        eos="<|endoftext|>",
        stops=("<|endoftext|>", "<|user|>", "<|observation|>"),
        special=("[gMASK]", "<sop>"),
        taught="\n{answer}<|user|>",
        masked_too=frozenset({"\n<think></think>"}),
        adapted=_ATTENTION,
        adapted_parameters=_MIXTURE,
        unreached=("does not reach 6 layers",),
    ),
    "exaone-3.5": Family(
        template="axolotl: exaone",
        config={
            "model_type": "exaone",
            "architectures": ["ExaoneForCausalLM"],
            "auto_map": {
                "AutoConfig": "modeling_exaone.ExaoneConfig",
                "AutoModelForCausalLM": "modeling_exaone.ExaoneForCausalLM",
            },
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "head_dim": 32,
            "max_position_embeddings": 2048,
            "initializer_range": 0.1,
        },
        code="exaone35/modeling_exaone.py",
        bos="[BOS]",
        eos="[|endofturn|]",
        stops=("[|endofturn|]",),
        special=("[|system|]", "[|user|]", "[|assistant|]"),
        taught="{answer}[|endofturn|]",
        adapted={
            "q_proj": 2,
            "k_proj": 2,
            "v_proj": 2,
            "out_proj": 2,
            "c_fc_0": 2,
            "c_fc_1": 2,
            "c_proj": 2,
        },
        tokens=(
            ("[|system|]", 1, False),
            ("[|endofturn|]", 1, False),
            ("\n", 1, False),
            ("[|user|]", 1, False),
            ("hi\n", 3, False),
            ("[|assistant|]", 1, False),
            ("yes", 3, True),
            ("[|endofturn|]", 1, True),
            ("\n", 1, False),
            ("[|user|]", 1, False),
            ("so?\n", 4, False),
            ("[|assistant|]", 1, False),
            ("no", 2, True),
            ("[|endofturn|]", 1, True),
            ("\n", 1, False),
        ),
    ),
    "exaone-4": Family(
        template="axolotl: exaone4",
        config={
            **_SIZES,
            "model_type": "exaone4",
            "architectures": ["Exaone4ForCausalLM"],
            "head_dim": 32,
            "sliding_window": 64,
            "sliding_window_pattern": "LG",
            "layer_types": ["sliding_attention", "full_attention"],
        },
        bos="[BOS]",
        eos="[|endofturn|]",
        stops=("[|endofturn|]",),
        special=("[|system|]", "[|user|]", "[|assistant|]", "[|tool|]"),
        taught="{answer}[|endofturn|]",
        tokens=(
            ("[|user|]", 1, False),
            ("\nhi", 3, False),
            ("[|endofturn|]", 1, False),
            ("\n", 1, False),
            ("[|assistant|]", 1, False),
            ("\n", 1, False),
            ("<think>", 1, False),
            ("\n\n", 2, False),
            ("</think>", 1, False),
            ("\n\n", 2, False),
            ("yes", 3, True),
            ("[|endofturn|]", 1, True),
            ("\n", 1, False),
            ("[|user|]", 1, False),
            ("\nso?", 4, False),
            ("[|endofturn|]", 1, False),
            ("\n", 1, False),
            ("[|assistant|]", 1, False),
            ("\n", 1, False),
            ("<think>", 1, False),
            ("\n\n", 2, False),
            ("</think>", 1, False),
            ("\n\n", 2, False),
            ("no", 2, True),
            ("[|endofturn|]", 1, True),
            ("\n", 1, False),
        ),
    ),
    "deepseek-r1-distill": Family(
        template="TRL: deepseek_r1_distill",
        config={**_SIZES, "model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"]},
        bos=_BEGIN,
        eos=_END,
        stops=(_END,),
        begins_with_bos=True,
        thinking="Keep",
        thinks_within=True,
        taught=_THOUGHT + _END,
        masked_too=frozenset({"<\uff5cAssistant\uff5c><think>\n"}),
    ),
    "gpt-oss": Family(
        template="TRL: gptoss",
        config={
            **_SIZES,
            "model_type": "gpt_oss",
            "architectures": ["GptOssForCausalLM"],
            "head_dim": 32,
            "intermediate_size": 64,
            "num_local_experts": 4,
            "num_experts_per_tok": 2,
            "sliding_window": 64,
            "layer_types": ["sliding_attention", "full_attention"],
        },
        bos="<|startoftext|>",
        eos="<|return|>",
        stops=("<|return|>", "<|endoftext|>", "<|call|>"),
        special=("<|endoftext|>",),
        taught="<|channel|>final<|message|>{answer}<|return|>",
        taught_before="<|channel|>final<|message|>{answer}<|end|>",
        masked_too=frozenset({"<|start|>assistant"}),
        adapted=_ATTENTION,
        unreached=("does not reach the experts",),
        not_served=(
            "vLLM writes the prompts of gpt-oss by its own Harmony code and not by a template, in the tokens of the "
            "real vocabulary, which a tiny model does not have"
        ),
    ),
}


def _turn(question: str, answer: str, thought: str) -> list[Message]:
    said = {"role": "assistant", "content": answer, **({"reasoning_content": thought} if thought else {})}
    return [{"role": "user", "content": question}, said]


def family_chats(family: Family, count: int = 24) -> list[list[Message]]:
    """Chats of one to three turns; the first is the one whose tokens are counted."""
    thinks = family.thinking == "Keep"
    made = [_turn("hi", "yes", "it is" * thinks) + _turn("so?", "no", "it is not" * thinks)]
    for number in range(1, count):
        pairs = [(number * 37 % 1009 + turn, number * 53 % 89) for turn in range(1 + number % 3)]
        turns = [_turn(f"{a} plus {b}?", f"{a + b}.", f"{a} and {b}" * thinks) for a, b in pairs]
        made.append([message for turn in turns for message in turn])
    return made


ASKED: list[Message] = [
    {"role": "user", "content": "1 plus 2?"},
    {"role": "assistant", "content": "3."},
    {"role": "user", "content": "4 plus 5?"},
]
"""What a client asks, after an answer that it got."""
