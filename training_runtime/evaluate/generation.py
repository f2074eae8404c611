"""vLLM's offline engine on one model, in a process of its own: what it held of the GPU is free when it has ended.

    python -m training_runtime.evaluate.generation --model … --tokenizer … --questions … --answers …

Greedy, as transformers answers: the same tokens in, the same ends, limit and penalty, no settings of the folder's own.
"""

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

from training_runtime.plan import ExitCode

__all__ = ["REFUSED", "RefusedError", "engine_arguments", "main", "sampling_arguments", "tensor_parallel"]

REFUSED = "refused: "
"""Begins the line that tells, with exit code 64, why vLLM cannot do what is asked."""
# No plugins, no reports home; workers are spawned, as CUDA forbids them to be forked.
_ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_PLUGINS": "",
    "VLLM_WORKER_MULTIPROC_METHOD": "spawn",
}
_MEMORY_LIMIT = Path("/sys/fs/cgroup/memory.max")
_CACHE_SHARE = 4
"""On a CPU the cache takes one part in so many of the memory; the weights and torch need the rest."""


class RefusedError(Exception):
    """What is asked is beyond vLLM; the message says what to change."""


def main(arguments: list[str] | None = None) -> int:
    """Answer all questions; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m training_runtime.evaluate.generation")
    for name in ("--model", "--tokenizer", "--questions", "--answers"):
        parser.add_argument(name, type=Path, required=True)
    parser.add_argument("--trust-remote-code", action="store_true")
    options = parser.parse_args(arguments)
    os.environ |= _ENVIRONMENT
    asked = json.loads(options.questions.read_bytes())
    try:
        found = _answers(asked, options.model, options.tokenizer, trust=options.trust_remote_code)
    except RefusedError as error:
        print(f"{REFUSED}{' '.join(str(error).split())}", file=sys.stderr, flush=True)
        return ExitCode.BAD_PLAN
    options.answers.write_text(json.dumps({"sets": found}, separators=(",", ":")), encoding="utf-8")
    return ExitCode.DONE


def tensor_parallel(gpus: int, config: dict[str, Any]) -> int:
    """Return over how many of the GPUs the model is laid: heads are dealt out whole, those of the cache repeated."""
    told = {**config, **(config.get("text_config") or {})}
    heads = told.get("num_attention_heads") or told.get("n_head") or 0
    shared = told.get("num_key_value_heads") or heads
    fitting = (n for n in range(gpus, 1, -1) if heads and not heads % n and (not shared % n or not n % shared))
    return next(fitting, 1)


def engine_arguments(
    asked: dict[str, Any], config: dict[str, Any], *, gpus: int, memory_bytes: int, backend: str = "xgrammar"
) -> dict[str, Any]:
    """Return how the engine is started.

    The weights are as wide as transformers has them. Nothing is compiled or captured: an evaluation is over before
    that has paid. The cache of a CPU would take nearly all of the machine's memory, so it is given a share of the
    container's, unless the installation sets VLLM_CPU_KVCACHE_SPACE, which vLLM prefers. `backend` binds answers to a
    schema.
    """
    made: dict[str, Any] = {
        "dtype": "bfloat16" if gpus else "float32",
        "enforce_eager": True,
        "generation_config": "vllm",
        "max_model_len": _room(asked, config),
        "seed": asked["seed"],
        "tensor_parallel_size": tensor_parallel(gpus, config),
    }
    if asked["schema"] is not None:
        made["structured_outputs_config"] = {"backend": backend, "disable_any_whitespace": True}
    return made if gpus else made | {"kv_cache_memory_bytes": memory_bytes // _CACHE_SHARE}


def _room(asked: dict[str, Any], config: dict[str, Any]) -> int:
    """How long a question with its answer may be; where the model has no more places, the answer ends there."""
    longest = max((len(ids) for one in asked["sets"] for ids in one["ids"]), default=0)
    places = {**config, **(config.get("text_config") or {})}.get("max_position_embeddings")
    if places is not None and longest >= places:
        raise RefusedError(
            f"a question has {longest} tokens and the model room for {places}: leave such rows out of the data, or set "
            "evaluation.engine: Transformers"
        )
    return int(min(longest + asked["limit"], places or longest + asked["limit"]))


def sampling_arguments(asked: dict[str, Any], penalty: float) -> dict[str, Any]:
    """Return how answers are drawn: always the likeliest token, until one of the ends or the limit.

    `ignore_eos`, because the ends are all told: what else the folder calls an end is none to transformers either.
    """
    return {
        "temperature": 0.0,
        "max_tokens": asked["limit"],
        "stop_token_ids": asked["ends"],
        "ignore_eos": True,
        "repetition_penalty": penalty,
        "detokenize": False,
    }


def _answers(asked: dict[str, Any], model: Path, tokenizer: Path, *, trust: bool) -> list[dict[str, Any]]:
    from vllm import LLM, SamplingParams, TokensPrompt
    from vllm.exceptions import VLLMValidationError
    from vllm.sampling_params import StructuredOutputsParams

    config, backend = _read(model / "config.json"), _backend(asked["schema"])
    arguments = engine_arguments(asked, config, gpus=_gpus(), memory_bytes=_memory_bytes(), backend=backend)
    try:
        engine = LLM(model=str(model), tokenizer=str(tokenizer), trust_remote_code=trust, **arguments)
    except (ValueError, VLLMValidationError) as error:
        raise RefusedError(f"vLLM cannot run this model: set evaluation.engine: Transformers ({error})") from error
    sampling = sampling_arguments(asked, _read(model / "generation_config.json").get("repetition_penalty") or 1.0)
    prompts, ways = [], []
    for one in asked["sets"]:
        schema = {"structured_outputs": StructuredOutputsParams(json=asked["schema"])} if one["constrained"] else {}
        prompts += [TokensPrompt(prompt_token_ids=ids) for ids in one["ids"]]
        ways += [SamplingParams(**sampling, **schema) for _ in one["ids"]]
    try:
        found = iter(engine.generate(prompts, ways, use_tqdm=False) if prompts else [])
    except VLLMValidationError as error:
        raise RefusedError(
            "answers cannot be constrained to dataset.responseSchema: simplify it, or leave suites[].constrained out "
            f"({error})"
        ) from error
    return [{**one, "ids": [list(next(found).outputs[0].token_ids) for _ in one["ids"]]} for one in asked["sets"]]


def _backend(schema: dict[str, Any] | None) -> str:
    """What binds answers: as a server chooses by itself, though never one that cannot keep white space out."""
    from vllm.v1.structured_output.backend_xgrammar import has_xgrammar_unsupported_json_features

    return "guidance" if schema and has_xgrammar_unsupported_json_features(schema) else "xgrammar"


def _gpus() -> int:
    from vllm.platforms import current_platform

    if current_platform.is_cpu():
        return 0
    import torch

    return int(torch.cuda.device_count())


def _memory_bytes() -> int:
    """The container's memory, or the machine's where it has no limit."""
    import psutil

    limit = _MEMORY_LIMIT.read_text().strip() if _MEMORY_LIMIT.exists() else "max"
    return int(limit) if limit.isdecimal() else int(psutil.virtual_memory().available)


def _read(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_bytes())) if path.exists() else {}


if __name__ == "__main__":
    sys.exit(main())
