"""How the engine is called for one version: its arguments, from the plan and from what the published folder says.

Every name here is written in full and stands once. What contradicts the weights is told by the field that says it,
before the engine is started: its own words name arguments that no user of ours has written.
"""

import json
import sys
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from prompts.canary import CANARY_FILE, Canary
from prompts.clock import FIXED_DATE

from .canary import CANARY_VARIABLE, HeldTo
from .parsers import reasoning_parser, tool_calls
from .plan import Dtype, Quantization, ServingPlan
from .without_tools import REFUSAL_VARIABLE

__all__ = ["SettingsError", "engine_command", "engine_environment"]

_SHARED = "serving_runtime.adapters.Adapters"
_MOST_KEPT = 512
"""More than an engine loads in its life: adapters beyond those are read from their folders again, while all wait."""
_KEYED = "serving_runtime.engine_key.EngineKey"
_WITHOUT_TOOLS = "serving_runtime.without_tools.WithoutTools"
_DTYPES: dict[Dtype, str] = {"Auto": "auto", "BF16": "bfloat16", "FP16": "float16", "FP32": "float32"}
_METHODS: dict[Quantization, str] = {
    "FP8": "fp8",
    "AWQ": "awq",
    "GPTQ": "gptq",
    "CompressedTensors": "compressed-tensors",
}
_NOWHERE = "nowhere.invalid"
"""A domain that there never is (RFC 2606): images and sounds come with a request, and are fetched from nobody."""
_GONE = ("bitsandbytes", "gguf")
# Left to itself, the first request that is bound chooses what binds all that follow, and white space fills answers up.
_STRUCTURED_OUTPUTS = json.dumps({"backend": "xgrammar", "disable_any_whitespace": True})
_ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    # Connections are kept longer than the router's (router.conf): otherwise it now and then asks on one just closed.
    "VLLM_HTTP_TIMEOUT_KEEP_ALIVE": "75",
    "VLLM_NO_USAGE_STATS": "1",
    # The prompts of gpt-oss are vLLM's own, and not the template's: it writes a date into them.
    "VLLM_SYSTEM_START_DATE": FIXED_DATE.isoformat(),
}
_FOR_ADAPTERS = {
    "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1",
    # No plug-in: one of vLLM's own looks for adapters in a folder, by the name that a client says.
    "VLLM_PLUGINS": "",
}


class SettingsError(Exception):
    """The version's settings and its weights contradict each other."""


def engine_command(plan: ServingPlan, folder: Path, port: int, *, is_keyed: bool) -> list[str]:
    """Return how vLLM is called. Of the model's names it tells clients the first."""
    names = dict.fromkeys(name for name in (plan.public_name, plan.served_name) if name)
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server"]
    command += ["--model", str(folder), "--served-model-name", *names, "--port", str(port)]
    command += _adapters(plan)
    # A stream's fingerprint stands in its count alone, which the router may withhold: none, however it was asked.
    command += ["--fingerprint-mode", "none"]
    command += ["--allowed-media-domains", _NOWHERE]
    command += ["--shutdown-timeout", str(plan.drain_seconds)]
    command += ["--structured-outputs-config", _STRUCTURED_OUTPUTS]
    command += ["--dtype", _DTYPES[plan.dtype], "--max-model-len", str(plan.max_model_length)]
    command += [*_weights(plan, _configuration(folder)), *_parsers(plan, folder)]
    # The last one that is named is asked first: nothing of a request is read before its key was.
    command += ["--middleware", _KEYED] if is_keyed else []
    command += [] if plan.prefix_caching else ["--no-enable-prefix-caching"]
    return [*command, *plan.engine_args]


def engine_environment(plan: ServingPlan, folder: Path) -> dict[str, str]:
    """Return the variables that the engine runs with beside the container's."""
    refusal = tool_calls(plan, folder).refusal
    shared = _FOR_ADAPTERS if plan.adapters else _canary(plan, folder)  # each adapter has questions of its own
    return {**_ENVIRONMENT, **shared, **({REFUSAL_VARIABLE: refusal} if refusal else {})}


def _adapters(plan: ServingPlan) -> list[str]:
    if plan.adapters is None:
        return []
    made = ["--enable-lora", "--max-lora-rank", str(plan.adapters.max_rank)]
    made += ["--max-loras", str(plan.adapters.at_once), "--max-cpu-loras", str(_MOST_KEPT)]
    return [*made, "--middleware", _SHARED]


def _canary(plan: ServingPlan, folder: Path) -> dict[str, str]:
    """What the engine is held to, where the published folder has anything."""
    file = folder / CANARY_FILE
    if not file.exists():
        print(f"no {CANARY_FILE} was published with the weights: answers are not compared with training", flush=True)
        return {}
    try:
        Canary.model_validate_json(file.read_bytes())
    except ValidationError as error:
        raise SettingsError(
            f"{CANARY_FILE} beside the weights is not what a FineTuneJob publishes: leave that name to it ({error})"
        ) from error
    return {CANARY_VARIABLE: HeldTo(file=file, tolerance=plan.canary_tolerance).model_dump_json()}


def _weights(plan: ServingPlan, configuration: dict[str, Any]) -> list[str]:
    """How they are laid out, rounded and loaded."""
    made = ["--trust-remote-code"] if plan.trust_remote_code else []
    if plan.tensor_parallel > 1:
        _check_heads(plan.tensor_parallel, configuration)
        made += ["--tensor-parallel-size", str(plan.tensor_parallel)]
    return [*made, *_quantization(plan.quantization, configuration)]


def _check_heads(gpus: int, configuration: dict[str, Any]) -> None:
    """Each GPU has as many heads as any other, and whole key-value heads, or one that it shares with others."""
    heads = _text(configuration).get("num_attention_heads")
    if not isinstance(heads, int):
        return
    shared = _text(configuration).get("num_key_value_heads") or heads
    fitting = [n for n in range(1, heads + 1) if heads % n == 0 and (shared % n == 0 or n % shared == 0)]
    if gpus not in fitting:
        raise SettingsError(
            f"serving.resources asks for {gpus} GPUs, and the model's {heads} attention heads, with {shared} of keys "
            f"and values, cannot be shared out evenly among them: ask for one of {', '.join(map(str, fitting))}"
        )


def _quantization(wanted: Quantization, configuration: dict[str, Any]) -> list[str]:
    """Weights that were published in fewer bits say so themselves, and the engine reads it; others may be rounded."""
    method = _method(configuration)
    if method in _GONE:
        raise SettingsError(
            f"the weights are quantized by {method}, which vLLM does not serve: publish them in 16 bits, or quantized "
            f"by one of {', '.join(_METHODS)}"
        )
    if wanted == "FP8" and not method:
        return ["--quantization", "fp8_per_tensor"]
    if wanted != "Auto" and method != _METHODS[wanted]:
        told = f"are quantized by {method}" if method else "are not quantized"
        raise SettingsError(
            f"serving.quantization is {wanted}, and the published weights {told}: leave it out, or publish others"
        )
    return []


def _method(configuration: dict[str, Any]) -> str:
    for part in (configuration, _text(configuration)):
        held = part.get("quantization_config") or part.get("compression_config")
        if isinstance(held, dict):
            return str(held.get("quant_method", "")).lower()
    return ""


def _text(configuration: dict[str, Any]) -> dict[str, Any]:
    """Of a model that reads more than text, the part for text."""
    found = configuration.get("text_config")
    return found if isinstance(found, dict) else configuration


def _parsers(plan: ServingPlan, folder: Path) -> list[str]:
    calls, thoughts = tool_calls(plan, folder), reasoning_parser(plan, folder)
    if calls.refusal and plan.tool_call_parser not in {"Auto", "None"}:
        raise SettingsError(
            f"serving.toolCallParser is {plan.tool_call_parser}, but {calls.refusal}. Leave toolCallParser out"
        )
    made = ["--reasoning-parser", thoughts] if thoughts else []
    if calls.parser:
        return [*made, "--enable-auto-tool-choice", "--tool-call-parser", calls.parser]
    print(f"requests with `tools` are refused: {calls.refusal}", flush=True)
    return [*made, "--middleware", _WITHOUT_TOOLS]


def _configuration(folder: Path) -> dict[str, Any]:
    file = folder / "config.json"
    found: dict[str, Any] = json.loads(file.read_bytes()) if file.exists() else {}
    return found
