"""Whether the base can be trained, and served, as the plan says: asked before a GPU waits for the answer.

Everything here is told by the configuration and the classes that it names, without a weight. What only the GPU knows,
its memory above all, is not.
"""

import inspect
from typing import TYPE_CHECKING

from training_runtime.architecture import base_config, check_adapter, count_parameters, empty_model, expert_parameters
from training_runtime.errors import PlanError
from training_runtime.log import log_event
from training_runtime.plan import Plan

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

__all__ = ["check_base", "check_tokens"]

_CAUSAL = ("CausalLM", "LMHead", "ForConditionalGeneration")
"""Parts of the names of classes that continue a text; the last are pictures' and texts' together."""
_OTHER_SENSES = ("vision_config", "audio_config")
_ATTENTIONS = {"full_attention", "sliding_attention", "chunked_attention"}
_STRETCHED = ("linear", "dynamic", "yarn")
"""Kinds of rotary positions whose factor multiplies the length that a model reads; the other kinds count it already."""
_STRETCHED_BY_VLLM = ("linear", "dynamic")
"""Those whose factor vLLM counts, too (`_get_and_verify_max_len`): yarn's it takes to be counted already."""
_BYTES_OF_SIXTEEN_BITS = 2


def check_base(plan: Plan) -> list[str]:
    """Return what will work, but not as one may think; raise PlanError where the plan cannot be followed."""
    config = base_config(plan)
    _check_kind(plan, config)
    model = empty_model(plan)
    _check_senses(plan, model)
    _check_lengths(plan, config)
    _check_heads(plan, config)
    _check_packing(plan, model)
    _check_prompt(plan, config)
    warnings = _left_out_senses(config, model) + _experts_in_sixteen_bits(plan, model)
    if plan.lora:
        warnings += check_adapter(plan.lora, model)
    for warning in warnings:
        log_event("warning", message=warning)
    return warnings


def check_tokens(plan: Plan, highest: int) -> None:
    """Raise PlanError where rows hold a token that the model has no embedding for: a GPU ends there without a word."""
    known = getattr(base_config(plan).get_text_config(), "vocab_size", None)
    if known is not None and highest >= known:
        raise PlanError(
            f"{plan.base.uri}: its tokenizer writes token {highest}, and the model has embeddings for {known}: name a "
            "folder whose tokenizer and model belong together"
        )


def _check_kind(plan: Plan, config: "PreTrainedConfig") -> None:
    uri, named = plan.base.uri, list(config.architectures or [])
    if config.is_encoder_decoder:
        raise PlanError(
            f"{uri} is an encoder with a decoder ({config.model_type}), and rows are learnt as one text that is "
            "continued: name a causal language model, whose config.json names a class …ForCausalLM"
        )
    brings_code = "AutoModelForCausalLM" in (getattr(config, "auto_map", None) or {})
    if named and not brings_code and not any(part in name for name in named for part in _CAUSAL):
        raise PlanError(
            f"{uri} is a {named[0]}, which does not continue texts: name a causal language model, whose config.json "
            "names a class …ForCausalLM"
        )
    held = getattr(config, "quantization_config", None) or getattr(
        config.get_text_config(), "quantization_config", None
    )
    if held:
        method = held["quant_method"] if isinstance(held, dict) else held.quant_method
        raise PlanError(
            f"{uri} is quantized already ({getattr(method, 'value', method)}), so its weights cannot be trained, nor "
            "an adapter merged into them: name the model in 16 bits that it was made from; tuning.method: QLoRA holds "
            "that in 4 bits or 8"
        )


def _check_senses(plan: Plan, model: "PreTrainedModel") -> None:
    """What a class of text says of itself is not asked: Gemma 3's inherits the word of the one that sees."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    told = [] if type(model).__name__ in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values() else model.input_modalities
    senses = {*([told] if isinstance(told, str) else told)} - {"text"}
    if not senses and not _other_senses(model.config):
        return
    alone = MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.get(model.config.get_text_config().model_type)
    raise PlanError(
        f"{plan.base.uri} reads more than text ({type(model).__name__}), and neither the rows nor the published model "
        "have what its processor needs: name a model of text alone, whose config.json names a class "
        f"{alone or '…ForCausalLM'}"
    )


def _left_out_senses(config: "PreTrainedConfig", model: "PreTrainedModel") -> list[str]:
    """Some families' classes for text load what they need of a model that reads pictures, too."""
    lost = [name for name in _other_senses(config) if name not in _other_senses(model.config)]
    if not lost:
        return []
    told = f"the base reads more than text ({', '.join(lost)}): its language model alone is trained and published"
    return [f"{told}, as {type(model).__name__}"]


def _other_senses(config: "PreTrainedConfig") -> list[str]:
    return [name for name in _OTHER_SENSES if getattr(config, name, None) is not None]


def _check_lengths(plan: Plan, config: "PreTrainedConfig") -> None:
    asked = {
        "training.maxSequenceLength": plan.training.max_sequence_length,
        "output.serving.maxModelLength": plan.output.served_length or 0,
    }
    for field, length in asked.items():
        longest = _longest(config, stretched=_STRETCHED if field.startswith("training") else _STRETCHED_BY_VLLM)
        if longest and length > longest:
            raise PlanError(
                f"{field} is {length}: lower it to {longest}, for so many tokens {plan.base.uri} has positions, or "
                "name a model that reads longer texts"
            )


def _check_heads(plan: Plan, config: "PreTrainedConfig") -> None:
    """Several GPUs of a server share each layer by its heads: those of the cache are whole, or repeated."""
    text, gpus = config.get_text_config(), plan.output.served_gpus
    heads = getattr(text, "num_attention_heads", None)
    if not isinstance(heads, int):
        return
    shared = getattr(text, "num_key_value_heads", None) or heads
    fitting = [n for n in range(1, heads + 1) if not heads % n and (not shared % n or not n % shared)]
    if gpus not in fitting:
        raise PlanError(
            f"output.serving.resources asks for {gpus} GPUs: ask for one of {', '.join(map(str, fitting))}, among "
            f"which the {heads} attention heads of {plan.base.uri}, with {shared} of keys and values, can be shared "
            "out evenly"
        )


def _longest(config: "PreTrainedConfig", stretched: tuple[str, ...]) -> int:
    """How many tokens the model has positions for; 0 where its configuration does not say."""
    text = config.get_text_config()
    told = int(getattr(text, "max_position_embeddings", None) or 0)
    rope = getattr(text, "rope_parameters", None) or {}
    if rope.get("rope_type") not in stretched:
        return told
    return max(told, int((rope.get("original_max_position_embeddings") or told) * rope["factor"]))


def _check_packing(plan: Plan, model: "PreTrainedModel") -> None:
    if plan.training.packing and (why := _why_not_packed(model)):
        raise PlanError(
            f"training.packing: {type(model).__name__} {why}, so rows of one pack would see each other: leave packing "
            "out"
        )


def _why_not_packed(model: "PreTrainedModel") -> str:
    kinds = {*(getattr(model.config.get_text_config(), "layer_types", None) or ())}
    others = sorted(kinds - _ATTENTIONS)
    if model._is_stateful or others:  # noqa: SLF001 - nothing public tells
        return f"carries a state from token to token ({', '.join(others) or model.config.model_type})"
    if not model._supports_sdpa or not model._can_set_attn_implementation():  # noqa: SLF001 - as above
        return "computes attention in a way of its own"
    if "position_ids" not in inspect.signature(model.forward).parameters:
        return "takes no positions, by which rows are told apart"
    return ""


def _check_prompt(plan: Plan, config: "PreTrainedConfig") -> None:
    """Of what vLLM would not see, nothing may be learnt by a model that it serves."""
    prompt = plan.dataset.prompt
    own = {"systemPrompt": prompt.system_prompt, "chatTemplate": prompt.chat_template, "text": prompt.text}
    given = next((name for name, value in own.items() if value), None)
    if config.model_type == "gpt_oss" and plan.output.served_length and given:
        raise PlanError(
            f"prompt.{given}: vLLM writes the prompts of gpt-oss by OpenAI's Harmony and never by a chat template, so "
            "clients would be answered without it: put it into the rows' messages and the clients', or leave "
            "output.serving out"
        )


def _experts_in_sixteen_bits(plan: Plan, model: "PreTrainedModel") -> list[str]:
    if not plan.quantization or not (found := expert_parameters(model)):
        return []
    gigabytes = sum(found.values()) * _BYTES_OF_SIXTEEN_BITS / 1e9
    percent = 100 * sum(found.values()) / count_parameters(model)
    told = f"QLoRA does not quantize the experts, {percent:.0f} % of the weights: they are parameters"
    return [f"{told} ({next(iter(found))}), and take {gigabytes:.3g} GB of each GPU in 16 bits"]
