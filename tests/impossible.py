"""FineTuneJobs that cannot work: who says so, in which words, and what to do instead.

One table for everybody. `kubectl apply` refuses the rows of `apply` (tests/api and tests/e2e/test_api.py ask the
models and a real API server), the prepare stage refuses those of `prepare` (tests/training_runtime/test_impossible.py
runs it), and `python -m tests.impossible` writes the users' page from it.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

__all__ = ["IMPOSSIBLE", "PAGE", "Base", "Impossible", "page"]

PAGE = Path(__file__).parents[1] / "docs/what-cannot-work.md"
Json = dict[str, Any]
_QUESTIONS = 40
_LEAST: Json = {
    "base": {"uri": "pvc://models/base"},
    "dataset": {"sources": [{"uri": "configmap://data/rows.jsonl"}]},
    "training": {"maxSteps": 8, "maxSequenceLength": 256},
    "output": {"modelName": "spam-filter"},
}


def _asked(number: int) -> str:
    return " ".join(f"{'가나다라마바사아자차'[(number * k) % 10]}{(number * 7919 * k) % 9973:04d}" for k in range(1, 9))


ANSWERED = [{"question": _asked(number), "answer": f"{number}번"} for number in range(_QUESTIONS)]
DECIDED = [{"question": _asked(number), "answer": {"action": "ALLOW"}} for number in range(_QUESTIONS)]
PLAIN = [{"text": _asked(number)} for number in range(_QUESTIONS)]


def _chats(**answer: Any) -> list[Json]:
    """Conversations whose assistant's message has more than an answer."""
    return [
        {"messages": [{"role": "user", "content": _asked(number)}, {"role": "assistant", "content": "네", **answer}]}
        for number in range(_QUESTIONS)
    ]


_CALL = {"type": "function", "id": "call00001", "function": {"name": "toll", "arguments": {"to": "부산"}}}
_TOOL = {
    "type": "function",
    "function": {"name": "toll", "description": "d", "parameters": {"type": "object", "properties": {}}},
}
REASONED = _chats(reasoning_content="생각")
CALLING = _chats(tool_calls=[_CALL])
EQUIPPED = [{**row, "tools": [_TOOL]} for row in _chats()]
SEVERAL_TURNS = [{"messages": [*row["messages"], *row["messages"]]} for row in _chats()]


@dataclass(frozen=True)
class Base:
    """How a row's base differs from a tiny Qwen3 with a ChatML template."""

    config: Json = field(default_factory=dict)
    """Changes of config.json; None takes a field away."""
    template: str | None = "own"
    """The name of a family of TRL's, `own`, or None for a tokenizer without one."""
    files: Mapping[str, str] = field(default_factory=dict)
    """More files, by name."""
    without: tuple[str, ...] = ()
    """Files that are not there."""


@dataclass(frozen=True)
class Impossible:
    """One spec, with its base and rows where these make it impossible."""

    wish: str
    """What somebody wanted, as the page tells it."""
    by: Literal["apply", "prepare"]
    told: str
    """A part of the message."""
    instead: str
    """As the page tells it."""
    changes: Mapping[str, Any] = field(default_factory=dict)
    """By path, what makes the least spec the impossible one."""
    base: Base = field(default_factory=Base)
    rows: list[Json] = field(default_factory=lambda: ANSWERED)
    adapter: Json | None = None
    """The adapter that the other job trained, where this one goes on from it."""

    @property
    def spec(self) -> Json:
        """The FineTuneJob's spec."""
        made = copy.deepcopy(_LEAST)
        for path, value in self.changes.items():
            *parents, last = path.split(".")
            target = made
            for name in parents:
                target = target.setdefault(name, {})
            target[last] = value
        return made


_LORA = {"tuning.method": "LoRA"}
_ONE_GPU = {"stages.train.resources": {"limits": {"nvidia.com/gpu": 1}}}
_SEVERAL_GPUS = {"stages.train.resources": {"limits": {"nvidia.com/gpu": 8}}}
_EXPERIMENT = {"candidatePercent": 20, "metrics": {"primary": {"name": "user_rating"}}}
_GEMMA_3 = {
    "model_type": "gemma3",
    "architectures": ["Gemma3ForConditionalGeneration"],
    "text_config": {
        "vocab_size": 600, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16,
    },
    "vision_config": {
        "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 28,
        "patch_size": 14,
    },
    "mm_tokens_per_image": 4,
}  # fmt: skip
_GPT_OSS = {
    "model_type": "gpt_oss",
    "architectures": ["GptOssForCausalLM"],
    "num_local_experts": 2,
    "num_experts_per_tok": 1,
    "layer_types": ["sliding_attention", "full_attention"],
}
_QWEN3_NEXT = {
    "model_type": "qwen3_next",
    "architectures": ["Qwen3NextForCausalLM"],
    "layer_types": ["linear_attention", "full_attention"],
    "linear_num_value_heads": 2,
    "linear_num_key_heads": 2,
    "linear_key_head_dim": 16,
    "linear_value_head_dim": 16,
    "num_experts": 0,
}
_BLOOM = {"model_type": "bloom", "architectures": ["BloomForCausalLM"], "n_layer": 2, "n_head": 4}
_T5 = {"model_type": "t5", "architectures": ["T5ForConditionalGeneration"], "d_model": 64, "num_layers": 2}
_TOO_SHORT = {"max_position_embeddings": 128}

_THE_BASE = [
    Impossible(
        "A base that reads pictures, too, such as Gemma 3 from 4B on",
        "prepare",
        "name a model of text alone, whose config.json names a class Gemma3ForCausalLM",
        "Name a model of text alone, whose `config.json` names a class `…ForCausalLM`: for Gemma 3 "
        "`Gemma3ForCausalLM`. Of families whose text class loads such a base (Qwen3.5) that is trained, and "
        "`status.warnings` says so",
        base=Base(_GEMMA_3),
    ),
    Impossible(
        "A base that only encodes texts, such as BERT",
        "prepare",
        "is a BertForMaskedLM, which does not continue texts: name a causal language model",
        "Name a causal language model",
        base=Base({"model_type": "bert", "architectures": ["BertForMaskedLM"]}),
    ),
    Impossible(
        "A base with an encoder and a decoder, such as T5",
        "prepare",
        "is an encoder with a decoder (t5), and rows are learnt as one text that is continued: name a causal language "
        "model",
        "Name a causal language model",
        base=Base(_T5),
    ),
    Impossible(
        "A classifier or a reward model as base",
        "prepare",
        "is a Qwen3ForSequenceClassification, which does not continue texts: name a causal language model",
        "Name the causal language model that it was made from",
        base=Base({"architectures": ["Qwen3ForSequenceClassification"]}),
    ),
    Impossible(
        "All weights of a base that is quantized already (GPTQ, AWQ, FP8, MXFP4, bitsandbytes)",
        "prepare",
        "is quantized already (gptq), so its weights cannot be trained, nor an adapter merged into them: name the "
        "model in 16 bits that it was made from",
        "Name the model in 16 bits that it was made from",
        {"tuning.method": "Full"},
        base=Base({"quantization_config": {"quant_method": "gptq", "bits": 4, "group_size": 128}}),
    ),
    Impossible(
        "An adapter on a base that is quantized already, such as gpt-oss as it is published",
        "prepare",
        "name the model in 16 bits that it was made from; tuning.method: QLoRA holds that in 4 bits or 8",
        "Name the model in 16 bits; `tuning.method: QLoRA` holds it in 4 bits or 8 while it is trained",
        base=Base({**_GPT_OSS, "quantization_config": {"quant_method": "mxfp4"}}),
    ),
    Impossible(
        "An adapter as base",
        "prepare",
        "is an adapter for team/other-base, not a model: name that base, or a merged model",
        "Name the adapter's base, or publish the two merged (`output.formats: [Merged]`) and name that",
        base=Base(
            files={"adapter_config.json": '{"base_model_name_or_path": "team/other-base"}'}, without=("config.json",)
        ),
    ),
    Impossible(
        "A base that brings Python code, without `base.trustRemoteCode`",
        "prepare",
        "set base.trustRemoteCode to run it",
        "Read the code, and set `base.trustRemoteCode: true`",
        base=Base(files={"modeling_own.py": "raise SystemExit"}),
    ),
    Impossible(
        "A served model whose base brings Python code, without the server's leave to run it",
        "apply",
        "set `output.serving.trustRemoteCode`",
        "Set `output.serving.trustRemoteCode`, or leave `output.serving` out",
        {"base.trustRemoteCode": True, "output.serving": {}},
    ),
    Impossible(
        "An architecture that Transformers does not know",
        "prepare",
        "cannot be built from its configuration: name a base that brings its code, and set base.trustRemoteCode, or "
        "another base",
        "Name a base that brings its code, with `base.trustRemoteCode`, or another base",
        {"tuning.method": "Full"},
        base=Base({"model_type": "never_heard_of", "architectures": ["NeverForCausalLM"]}),
    ),
    Impossible(
        "Weights that are pickled (`pytorch_model.bin`)",
        "prepare",
        "has no weights in safetensors: pickled weights can run code, convert them",
        "Convert them to safetensors",
        base=Base(files={"pytorch_model.bin": ""}, without=("model.safetensors",)),
    ),
    Impossible(
        "A tokenizer that writes tokens which the model does not know",
        "prepare",
        "name a folder whose tokenizer and model belong together",
        "Name a folder whose tokenizer and model belong together",
        base=Base({"vocab_size": 64}),
    ),
    Impossible(
        "New weights (`initialize: Random`) with an adapter",
        "apply",
        "`initialize: Random` needs `tuning.method: Full`",
        "Train all weights: `tuning.method: Full`",
        {"base": {"uri": "configmap://tiny", "initialize": "Random"}, **_LORA},
    ),
]
_ROWS_AND_PROMPTS = [
    Impossible(
        "Conversations, and a base whose tokenizer has no chat template",
        "prepare",
        "set prompt.format: Text, with a prompt.text of your own or Alpaca's, give prompt.chatTemplate, or choose an "
        "instruction-tuned model",
        "Set `prompt.format: Text`, give `prompt.chatTemplate`, or choose an instruction-tuned model",
        base=Base(template=None),
    ),
    Impossible(
        "A `prompt.chatTemplate` that is not valid Jinja",
        "prepare",
        "the chat template is not valid Jinja, mend it at line 1",
        "Mend the line that the message names",
        {"prompt.chatTemplate": "{% for message in messages %}"},
    ),
    Impossible(
        "A chat template that writes no answer of the assistant",
        "prepare",
        "choose a model whose template has an assistant's turn, or give prompt.chatTemplate",
        "Give a `prompt.chatTemplate` that writes the assistant's turns, or choose another model",
        {"prompt.chatTemplate": "{% for m in messages if m.role == 'user' %}{{ m.content }}{% endfor %}"},
    ),
    Impossible(
        "Several turns, and a template that ends no answer before the next turn",
        "prepare",
        "end each of the assistant's turns with the end mark in prompt.chatTemplate",
        "Write the end mark after each of the assistant's turns in `prompt.chatTemplate`",
        {
            "prompt.chatTemplate": "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}"
            "{% if add_generation_prompt %}[assistant]{% endif %}"
        },
        rows=SEVERAL_TURNS,
    ),
    Impossible(
        "`thinking: Keep`, rows with thoughts, and a template that does not write them",
        "prepare",
        "give prompt.chatTemplate (of prompt.format: Chat), or leave prompt.thinking out",
        "Leave `prompt.thinking` out, give `prompt.chatTemplate`, or choose a model that thinks",
        {"prompt.thinking": "Keep"},
        Base(template="gemma3"),
        REASONED,
    ),
    Impossible(
        "Rows without thoughts, and a template that always opens one, such as DeepSeek-R1's",
        "prepare",
        "give each answer its thought (reasoning_content) and set prompt.thinking: Keep",
        "Give each answer its thought and set `prompt.thinking: Keep`, give `prompt.chatTemplate`, or choose another "
        "model",
        base=Base(template="deepseek_r1_distill"),
    ),
    Impossible(
        "Calls of tools, and a template that does not write them",
        "prepare",
        "does not write tool_calls, so they would be lost: choose a model whose template does",
        "Choose a model whose template writes tool calls, give `prompt.chatTemplate`, or leave such rows out",
        {},
        Base(template="gemma3"),
        CALLING,
    ),
    Impossible(
        "A column `tools`, and a template that does not write which tools there are",
        "prepare",
        "take the column `tools` out",
        "Choose a model whose template writes tools, give `prompt.chatTemplate`, or take the column out",
        {},
        Base(template="gemma3"),
        EQUIPPED,
    ),
    Impossible(
        "Calls of tools with `prompt.format: Text`",
        "prepare",
        "does not write tool_calls, so they would be lost: choose a model whose template does, give "
        "prompt.chatTemplate (of prompt.format: Chat)",
        "Use `prompt.format: Chat`, with a template that writes tool calls",
        {"prompt.format": "Text"},
        rows=CALLING,
    ),
    Impossible(
        "`prompt.chatTemplate` or `thinking: Keep` with `format: Text`",
        "apply",
        "`chatTemplate` and `thinking: Keep` are for `format: Chat`: choose it, or leave them out",
        "Use `format: Chat`, or leave them out",
        {"prompt": {"format": "Text", "thinking": "Keep"}},
    ),
    Impossible(
        "A `prompt.text` of `format: Text` that does not end with `{output}`",
        "apply",
        "`text` ends with {output} in `format: Text`",
        "End it with `{output}`: it is the whole row",
        {"prompt": {"format": "Text", "text": "Question: {input}"}},
    ),
    Impossible(
        "A field in `prompt.text` that no row has",
        "prepare",
        "name further columns in dataset.columns.context, or write {{category}} for the word in braces",
        "Name the column in `dataset.columns.context`, or double the braces",
        {"prompt.text": "{input} {category}"},
    ),
    Impossible(
        "Columns for the prompt (`dataset.columns.context`) without a `prompt.text`",
        "apply",
        "`dataset.columns.context` are fields of `prompt.text`: write one that has them",
        "Write a `prompt.text` that has these fields",
        {"dataset.columns": {"context": ["category"]}},
    ),
    Impossible(
        "Rows that lack a column of the prompt",
        "prepare",
        "has no category: give prompt.defaults.category a value for such rows",
        "Give `prompt.defaults` a value for it, or mend the rows",
        {"dataset.columns": {"context": ["category"]}, "prompt.text": "{input} {category}"},
    ),
    Impossible(
        "`prompt.defaults` without a `prompt.text`",
        "apply",
        "`defaults` fill fields of `text`: set `text`",
        "Write a `prompt.text` that has these fields",
        {"prompt.defaults": {"category": "none"}},
    ),
    Impossible(
        "`dataset.columns` that are not in the rows",
        "prepare",
        "mend them, or name in dataset.columns what they have: rows.jsonl line 1: has no reply",
        "Name the columns as the rows have them",
        {"dataset.columns": {"output": "reply"}},
    ),
    Impossible(
        "A `responseSchema` that is no JSON Schema",
        "prepare",
        "dataset.responseSchema is no JSON Schema, mend it at properties/action/type: 'sting' is not valid",
        "Mend the part that the message names",
        {"dataset.responseSchema": {"type": "object", "properties": {"action": {"type": "sting"}}}},
        rows=DECIDED,
    ),
    Impossible(
        "A `responseSchema` that refers to a part which it does not have",
        "prepare",
        "dataset.responseSchema refers to /$defs/action, which is not in it: write it there, or refer to another",
        "Write the part, or refer to another",
        {"dataset.responseSchema": {"properties": {"action": {"$ref": "#/$defs/action"}}}},
        rows=DECIDED,
    ),
    Impossible(
        "A `clean.removePattern` that is no regular expression",
        "prepare",
        "mend dataset.clean.removePattern, which is no regular expression",
        "Mend the pattern",
        {"dataset.clean": {"removePattern": "("}},
    ),
    Impossible(
        "`systemPrompt`, `chatTemplate` or `text` for gpt-oss, and `output.serving`",
        "prepare",
        "clients would be answered without it: put it into the rows' messages and the clients', or leave "
        "output.serving out",
        "Put it into the rows' messages and the clients', or leave `output.serving` out",
        {"prompt.text": "Customer: {input}", "output.serving": {"maxModelLength": 512}},
        Base(_GPT_OSS),
    ),
]
_METHOD_AND_MACHINES = [
    Impossible(
        "`lora.targetModules` that the model does not have",
        "prepare",
        "the model has no layer out_proj: name some of",
        "Name some of the layers that the message lists, or `all-linear` alone",
        {"tuning.lora": {"targetModules": ["q_proj", "out_proj"]}},
    ),
    Impossible(
        "An adapter on the head or the embeddings where these are one weight",
        "prepare",
        "lm_head shares its weight with the other end of the model, so merging the adapter would change both",
        "Leave them out of `lora.targetModules`, or choose `tuning.method: Full`",
        {"tuning.lora": {"targetModules": ["q_proj", "lm_head"]}},
    ),
    Impossible(
        "`lora` settings with `tuning.method: Full`",
        "apply",
        "`lora` settings are only read with `method: LoRA` or `QLoRA`; remove them or change the method",
        "Remove them, or choose `LoRA` or `QLoRA`",
        {"tuning": {"method": "Full", "lora": {"rank": 8}}},
    ),
    Impossible(
        "`quantization` without `tuning.method: QLoRA`",
        "apply",
        "`quantization` is only read with `method: QLoRA`; remove it or change the method",
        "Choose `QLoRA`, or remove it",
        {"tuning": {"method": "LoRA", "quantization": {"bits": 4}}},
    ),
    Impossible(
        "QLoRA with ZeRO-3",
        "apply",
        "with `tuning.method: QLoRA` use `distributed.strategy: Auto`, `DDP`, `ZeRO1` or `ZeRO2`",
        "Use `Auto`, `DDP`, `ZeRO1` or `ZeRO2`, or `LoRA` with `ZeRO3`",
        {"tuning.method": "QLoRA", "distributed.strategy": "ZeRO3", **_SEVERAL_GPUS},
    ),
    Impossible(
        "QLoRA with FSDP",
        "apply",
        "quantized weights cannot be shared out between GPUs: with `tuning.method: QLoRA` use "
        "`distributed.strategy: Auto`",
        "Use `Auto`, `DDP`, `ZeRO1` or `ZeRO2`, or `LoRA` with `FSDP`",
        {"tuning.method": "QLoRA", "distributed.strategy": "FSDP", **_SEVERAL_GPUS},
    ),
    Impossible(
        "`Adafactor`, an 8-bit or a paged optimizer with FSDP",
        "apply",
        "of the optimizers only `AdamWFused`, `AdamW` and `SGD` step on weights that FSDP shares out: choose one",
        "Choose `AdamWFused`, `AdamW` or `SGD`, or `ZeRO2` or `ZeRO3`",
        {"training.optimizer": "AdamW8bit", "distributed.strategy": "FSDP", **_SEVERAL_GPUS},
    ),
    Impossible(
        "`distributed.offload` or `deepspeedConfig` without DeepSpeed",
        "apply",
        "they need `strategy: ZeRO1`, `ZeRO2` or `ZeRO3`",
        "Choose `ZeRO2` or `ZeRO3`",
        {"distributed": {"strategy": "DDP", "offload": "Optimizer"}},
    ),
    Impossible(
        "`offload: Parameters` with ZeRO-2",
        "apply",
        "only `strategy: ZeRO3` can offload parameters: choose it, or `offload: Optimizer`",
        "Choose `ZeRO3`, or `offload: Optimizer`",
        {"distributed": {"strategy": "ZeRO2", "offload": "Parameters"}},
    ),
    Impossible(
        "A `deepspeedConfig` that contradicts the job",
        "prepare",
        "sets train_batch_size to 64, which training.perDeviceBatchSize decides: leave it out",
        "Leave it out, and set the field that the message names",
        {"tuning.method": "Full", "distributed": {"strategy": "ZeRO2", "deepspeedConfig": {"train_batch_size": 64}}},
    ),
    Impossible(
        "`precision: FP16` without a GPU",
        "apply",
        "`training.precision: FP16` needs a GPU",
        "Ask for a GPU in `stages.train.resources`, or use `FP32`",
        {"training.precision": "FP16"},
    ),
    Impossible(
        "GPUs of two kinds in one stage",
        "apply",
        "GPUs of one resource name only",
        "Ask for one kind",
        {"stages.train.resources": {"limits": {"nvidia.com/gpu": 1, "nvidia.com/mig-1g.10gb": 1}}},
    ),
    Impossible(
        "Several nodes on a volume that one node mounts",
        "apply",
        "`storage.template.accessModes` needs ReadWriteMany",
        "Set `storage.template.accessModes: [ReadWriteMany]`, or name a shared `storage.claimName`",
        {"stages.train": {"nodes": 2}},
    ),
    Impossible(
        "A `maxSequenceLength` beyond the model's positions",
        "prepare",
        "training.maxSequenceLength is 256: lower it to 128",
        "Lower it to what the message says, or choose a model that reads longer texts",
        base=Base(_TOO_SHORT),
    ),
    Impossible(
        "Rows whose questions alone fill `maxSequenceLength`",
        "prepare",
        "all rows are too long: none has an answer within 16 tokens; raise training.maxSequenceLength, or shorten "
        "the rows",
        "Raise `maxSequenceLength`, or shorten the rows",
        {"training.maxSequenceLength": 16},
    ),
    Impossible(
        "More rows to cut than `maxTruncatedPercent` allows",
        "prepare",
        "would be cut, where 10 % are allowed: raise training.maxSequenceLength or dataset.maxTruncatedPercent, or "
        "shorten the rows",
        "Raise `maxSequenceLength` or `maxTruncatedPercent`, or shorten the rows",
        {"training.maxSequenceLength": 80, "dataset.maxTruncatedPercent": 10},
        rows=[{**row, "answer": row["question"] * 2} for row in ANSWERED],
    ),
    Impossible(
        "`packing` with a model that carries a state (Mamba, Qwen3-Next, Qwen3.5, LFM2)",
        "prepare",
        "carries a state from token to token (linear_attention), so rows of one pack would see each other: leave "
        "packing out",
        "Leave `packing` out",
        {"training.packing": True},
        Base(_QWEN3_NEXT),
    ),
    Impossible(
        "`packing` with a model whose attention is its own (gpt-oss, EXAONE 3.5's code)",
        "prepare",
        "computes attention in a way of its own, so rows of one pack would see each other: leave packing out",
        "Leave `packing` out",
        {"training.packing": True},
        Base(_GPT_OSS),
    ),
    Impossible(
        "`packing` with a model that takes no positions (BLOOM)",
        "prepare",
        "so rows of one pack would see each other: leave packing out",
        "Leave `packing` out",
        {"training.packing": True},
        Base(_BLOOM),
    ),
    Impossible(
        "`epochs` and `maxSteps`",
        "apply",
        "give either `epochs` or `maxSteps`, not both",
        "Give one",
        {"training": {"epochs": 3, "maxSteps": 100}},
    ),
    Impossible(
        "`earlyStopping` without validation rows",
        "apply",
        "`training.earlyStopping` watches validation rows: raise `dataset.split.validation`",
        "Raise `dataset.split.validation`",
        {"training.earlyStopping": {}, "dataset.split": {"validation": 0}},
    ),
    Impossible(
        "`resumeFrom` with another rank, alpha or target modules",
        "prepare",
        "the other adapter's alpha is 64: set tuning.lora.alpha to it",
        "Set `tuning.lora` as the other job had it",
        {"training.resumeFrom": {"fineTuneJobRef": {"name": "first"}}, "tuning.lora": {"rank": 8, "alpha": 16}},
        adapter={"r": 8, "lora_alpha": 64, "target_modules": ["q_proj"]},
    ),
    Impossible(
        "`resumeFrom` with another `tuning.method`",
        "prepare",
        "the other job trained an adapter: choose the same tuning.method",
        "Choose the other job's method",
        {"training.resumeFrom": {"fineTuneJobRef": {"name": "first"}}, "tuning.method": "Full"},
        adapter={"r": 8, "lora_alpha": 64, "target_modules": ["q_proj"]},
    ),
    Impossible(
        "`resumeFrom` with a step that the other job did not keep",
        "prepare",
        "the other job has no intact checkpoint of step 5: name one of the steps that there are (4)",
        "Name one of the steps that the message lists",
        {"training.resumeFrom": {"fineTuneJobRef": {"name": "first"}, "step": 5}},
        adapter={"r": 16, "lora_alpha": 32, "target_modules": ["q_proj"]},
    ),
]
_CLASSIFIED = {"name": "action", "type": "Classification", "labelField": "verdict"}
_EVALUATION_AND_OUTPUT = [
    Impossible(
        "A gate on a suite that there is not",
        "apply",
        "`gates[].metric` is SUITE/METRIC: name one of `suites`",
        "Name one of `evaluation.suites`",
        {"evaluation": {"suites": [{"name": "rows", "type": "Perplexity"}], "gates": [{"metric": "f1", "min": 0.9}]}},
    ),
    Impossible(
        "`Perplexity` with cases of its own",
        "apply",
        "`Perplexity` is measured on the test rows and takes no `cases`: leave them out",
        "Leave `cases` out",
        {"evaluation.suites": [{"name": "rows", "type": "Perplexity", "cases": "configmap://cases/own.jsonl"}]},
    ),
    Impossible(
        "Suites that ask questions, with `dataset.template: Text`",
        "apply",
        "rows of `dataset.template: Text` ask nothing",
        "Use `Perplexity` or `Harness`",
        {"dataset.template": "Text", "evaluation.suites": [{"name": "answer", "type": "JSON"}]},
    ),
    Impossible(
        "Suites that ask the test rows, where these turn out to be plain text",
        "prepare",
        "plain text asks nothing: use Perplexity, or give it cases of its own",
        "Use `Perplexity` or `Harness`, or give the suite `cases`",
        {"evaluation.suites": [{"name": "answer", "type": "Text"}]},
        rows=PLAIN,
    ),
    Impossible(
        "A `labelField` that the rows' answers do not have",
        "prepare",
        "a row's answer has no `verdict`: mend the data, or the suite's labelField",
        "Name a field of the answers, or mend the rows",
        {"evaluation.suites": [_CLASSIFIED]},
        rows=DECIDED,
    ),
    Impossible(
        "An adapter alone (`formats: [Adapter]`) that is served",
        "apply",
        "an adapter alone cannot be served: add `Merged` to `formats`",
        "Add `Merged` to `output.formats`, or leave `output.serving` out",
        {"output": {"modelName": "spam-filter", "formats": ["Adapter"], "serving": {}}},
    ),
    Impossible(
        "`formats: [Adapter]` where all weights are trained",
        "apply",
        "`tuning.method: Full` makes no adapter: remove `Adapter` from `output.formats`",
        "Leave `Adapter` out of `output.formats`",
        {"tuning.method": "Full", "output": {"modelName": "spam-filter", "formats": ["Adapter"]}},
    ),
    Impossible(
        "An experiment with a version that is not served",
        "apply",
        "`experiment` compares versions that answer: say in `serving` how this one is served",
        "Say in `output.serving` how it is served",
        {"output": {"modelName": "spam-filter", "experiment": _EXPERIMENT}},
    ),
    Impossible(
        "A `serving.maxModelLength` beyond the model's positions",
        "prepare",
        "output.serving.maxModelLength is 4096: lower it to 1024",
        "Lower it to what the message says",
        {"output.serving": {"maxModelLength": 4096}},
    ),
    Impossible(
        "A `serving.quantization` of weights that were published so, of a job's own",
        "apply",
        "a job publishes weights of 16 bits or 32: set `serving.quantization` to `FP8`",
        "Set `output.serving.quantization` to `FP8`, or leave it out",
        {"output.serving": {"quantization": "AWQ"}},
    ),
    Impossible(
        "`serving.quantization: FP8` without a GPU",
        "apply",
        "`quantization: FP8` needs a GPU",
        "Ask for a GPU in `output.serving.resources`, or leave `quantization` out",
        {"output.serving": {"quantization": "FP8"}},
    ),
    Impossible(
        "More GPUs to a server than divide the model's attention heads",
        "prepare",
        "output.serving.resources asks for 3 GPUs: ask for one of 1, 2, 4",
        "Ask for as many as the message says",
        {"output.serving": {"maxModelLength": 512, "resources": {"limits": {"nvidia.com/gpu": 3}}}},
    ),
    Impossible(
        "An argument of the engine that opens what is closed, or that it does not have",
        "apply",
        "an engine argument is one of these",
        "See [the list](serving.md#engine-arguments); what is kept back is told with the reason",
        {"output.serving": {"engineArgs": [{"name": "--max-num-seqs", "value": "8"}]}},
    ),
]
_SECTIONS = {
    "The base": _THE_BASE,
    "Rows and prompts": _ROWS_AND_PROMPTS,
    "Method, training and machines": _METHOD_AND_MACHINES,
    "Evaluation and output": _EVALUATION_AND_OUTPUT,
}
IMPOSSIBLE = [row for rows in _SECTIONS.values() for row in rows]

_HEAD = """\
# What cannot work, and what to do instead

`kubectl apply` refuses what the manifest alone shows to be impossible. What depends on the base or the rows is refused
by preparation, on CPUs, before a GPU is asked for: the job is Failed with the class `UserCode` or `Data`, and the
message of its condition `Succeeded` names the field and the remedy. Each line is tested: the spec is refused, by whom
and with the remedy that is told here.
"""


def page() -> str:
    """Return the users' page."""
    parts = [_HEAD]
    for title, rows in _SECTIONS.items():
        parts += [f"## {title}\n", "| what cannot work | refused by | instead |\n| --- | --- | --- |"]
        parts[-1] += "".join(f"\n| {row.wish} | {_NAMES[row.by]} | {row.instead} |" for row in rows) + "\n"
    return "\n".join(parts)


_NAMES = {"apply": "`kubectl apply`", "prepare": "preparation"}

if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
