"""The engine's arguments that have no field of their own: which there are, what each takes, and which there are not.

vLLM takes an argument by any prefix, with underscores, with dots, negated, and twice; so only whole names, each once,
are let through. A name that is kept back is told with the reason; any other is answered with those that there are.
"""

import re
from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import StringConstraints

from .schema import Rule, Schema

__all__ = ["ARGUMENTS", "RESERVED", "Argument", "EngineArgument", "Reserved"]


@dataclass(frozen=True)
class Argument:
    """One that is let through, with what its value looks like, what a user is told of that, and what it is good for."""

    name: str
    pattern: str
    takes: str
    good_for: str

    @property
    def is_switch(self) -> bool:
        """Whether the engine takes its name alone."""
        return self.pattern == _SWITCH

    def word(self, value: str) -> str:
        """As the engine reads it: one word, of which no part can be taken for another argument."""
        if self.is_switch:
            return f"--{self.name}" if value == "true" else f"--no-{self.name}"
        return f"--{self.name}={value}"


@dataclass(frozen=True)
class Reserved:
    """Names that are kept back for one reason."""

    names: tuple[str, ...]
    reason: str


_SWITCH = "true|false"
_COUNT = "[1-9][0-9]{0,11}"
_COUNT_OR_NONE = "0|[1-9][0-9]{0,11}"
_GIB = "(0|[1-9][0-9]{0,3})([.][0-9]{1,3})?"
_SHARE = "0[.][0-9]{0,3}[1-9]|1([.]0)?"
_CACHE_TYPES = "auto|bfloat16|float16|fp8|fp8_e4m3|fp8_e5m2"
_TOLD = {
    _SWITCH: "`true` or `false`",
    _COUNT: "a whole number from 1",
    _COUNT_OR_NONE: "a whole number",
    _GIB: "GiB, such as `0.5`",
    _SHARE: "a share, such as `0.9`",
    _CACHE_TYPES: f"one of {', '.join(_CACHE_TYPES.split('|'))}",
    "[0-3]": "0 to 3",
}


def _argument(name: str, pattern: str, good_for: str) -> Argument:
    return Argument(name, pattern, _TOLD[pattern], good_for)


ARGUMENTS = {
    argument.name: argument
    for argument in (
        _argument("async-scheduling", _SWITCH, "the next step is scheduled while one runs"),
        _argument("cpu-offload-gb", _GIB, "weights that the GPU has no room for, in the node's memory"),
        _argument("disable-custom-all-reduce", _SWITCH, "NCCL's own, where GPUs see each other badly"),
        _argument("enable-chunked-prefill", _SWITCH, "long prompts are read beside others' answers"),
        _argument("enable-expert-parallel", _SWITCH, "whole experts on each GPU, instead of a part of each"),
        _argument("enable-prompt-tokens-details", _SWITCH, "`usage` says how much of a prompt was cached"),
        _argument("enforce-eager", _SWITCH, "no compilation, no CUDA graphs: starts sooner, answers slower"),
        _argument("gpu-memory-utilization", _SHARE, "the share of a GPU's memory that the engine takes"),
        _argument("kv-cache-dtype", _CACHE_TYPES, "8 bits hold twice the tokens, a little less exactly"),
        _argument("kv-cache-memory-bytes", _COUNT, "the cache's size, instead of what is left over"),
        _argument("language-model-only", _SWITCH, "a model that sees, without what it sees with"),
        _argument("long-prefill-token-threshold", _COUNT_OR_NONE, "prompts from which on others go first"),
        _argument("max-cudagraph-capture-size", _COUNT_OR_NONE, "the largest batch with a CUDA graph"),
        _argument("max-logprobs", _COUNT_OR_NONE, "the most log-probabilities of a token that a client gets"),
        _argument("max-num-batched-tokens", _COUNT, "the tokens of a step: more throughput, longer steps"),
        _argument("max-num-queued-reqs", _COUNT, "requests that run or wait; the next are answered with 503"),
        _argument("max-num-queued-tokens", _COUNT, "their tokens"),
        _argument("max-num-seqs", _COUNT, "the answers that are written at once"),
        _argument("optimization-level", "[0-3]", "how long compiling may take"),
        _argument("seed", _COUNT_OR_NONE, "what sampling starts from"),
    )
}
RESERVED = (
    Reserved(
        (
            "dtype",
            "enable-auto-tool-choice",
            "enable-prefix-caching",
            "max-model-len",
            "quantization",
            "reasoning-parser",
            "tensor-parallel-size",
            "tool-call-parser",
            "trust-remote-code",
        ),
        "this has a field of its own: `dtype`, `maxModelLength`, `prefixCaching`, `quantization`, `reasoningParser`, "
        "`toolCallParser`, `trustRemoteCode`; as many GPUs as `resources` asks for share the model",
    ),
    Reserved(
        (
            "api-key",
            "api-server-count",
            "data-parallel-size",
            "fingerprint-mode",
            "grpc",
            "headless",
            "host",
            "load-format",
            "middleware",
            "model",
            "nnodes",
            "node-rank",
            "master-addr",
            "master-port",
            "pipeline-parallel-size",
            "port",
            "revision",
            "root-path",
            "served-model-name",
            "shutdown-timeout",
            "tokenizer",
            "uds",
        ),
        "the operator sets this: the weights are those that were verified, and routers, probes and network policies "
        "rely on where the engine listens and what it demands",
    ),
    Reserved(
        ("enable-lora", "lora-modules", "max-cpu-loras", "max-lora-rank", "max-loras"),
        "`sharing` and `adapters` say which adapters are loaded",
    ),
    Reserved(
        (
            "additional-config",
            "allowed-local-media-path",
            "allowed-media-domains",
            "compilation-config",
            "config",
            "distributed-executor-backend",
            "ec-transfer-config",
            "enable-prompt-embeds",
            "enable-sleep-mode",
            "hf-overrides",
            "hf-token",
            "io-processor-plugin",
            "kv-events-config",
            "kv-transfer-config",
            "logits-processors",
            "model-class-overrides",
            "profiler-config",
            "reasoning-parser-plugin",
            "scheduler-cls",
            "speculative-config",
            "tool-parser-plugin",
            "tool-server",
            "trust-request-mm-kwargs",
            "worker-cls",
            "worker-extension-cls",
        ),
        "this runs code, reads files or opens connections that no digest vouches for",
    ),
    Reserved(
        (
            "chat-template",
            "chat-template-content-format",
            "default-chat-template-kwargs",
            "generation-config",
            "override-generation-config",
            "response-role",
            "tokenizer-mode",
            "trust-request-chat-template",
        ),
        "a version is asked as it was trained: say in `prompt` of the FineTuneJob how",
    ),
    Reserved(
        (
            "disable-log-stats",
            "enable-log-deltas",
            "enable-log-outputs",
            "enable-log-requests",
            "log-config-file",
            "max-log-len",
            "otlp-traces-endpoint",
            "uvicorn-log-level",
        ),
        "what users say stays out of logs and traces, and the metrics stay on",
    ),
)
_Name = Annotated[str, StringConstraints(min_length=1, max_length=64)]
_Value = Annotated[str, StringConstraints(min_length=1, max_length=64)]


def _kept_back(reserved: Reserved) -> Rule:
    return Rule(
        f"!(self.name in {list(reserved.names)})",
        f"{reserved.reason} (kept back are {', '.join(reserved.names)})",
        lambda argument: argument.name not in reserved.names,
    )


def _known() -> Rule:
    names = sorted(ARGUMENTS)
    known = [*names, *(name for reserved in RESERVED for name in reserved.names)]
    return Rule(
        f"self.name in {known}",
        f"an engine argument is one of these, written in full and without dashes before it: {', '.join(names)}",
        lambda argument: argument.name in known,
    )


def _taking(pattern: str) -> Rule:
    names = sorted(argument.name for argument in ARGUMENTS.values() if argument.pattern == pattern)
    return Rule(
        f"!(self.name in {names}) || self.value.matches('^({pattern})$')",
        f"the `value` of {', '.join(names)} is {_TOLD[pattern]}",
        lambda argument: argument.name not in names or re.fullmatch(pattern, argument.value) is not None,
    )


class EngineArgument(Schema):
    """One argument of `vllm serve`."""

    name: _Name
    """Its whole name, without the dashes before it, for example `max-num-seqs`; [the list](serving.md#engine-arguments)
    says what there is.
    """
    value: _Value
    """Its value, as text: `"256"`, `"0.9"`; of a switch `"true"` or `"false"`."""

    rules: ClassVar = (*map(_kept_back, RESERVED), _known(), *map(_taking, _TOLD))

    @property
    def word(self) -> str:
        """As the engine reads it."""
        return ARGUMENTS[self.name].word(self.value)
