"""In vLLM's place: says what it was asked for, answers every prompt with its last token, or fails as it was told to.

The trainer's environment has no vLLM; tests/e2e runs the real one behind the same calls.
"""

import json
import os
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from .exceptions import VLLMValidationError

__all__ = ["LLM", "SamplingParams", "TokensPrompt"]

_FAILS = os.environ.get("FAKE_ENGINE_FAILS", "")


def SamplingParams(**settings: Any) -> dict[str, Any]:  # noqa: N802 - vLLM's name
    return settings


def TokensPrompt(*, prompt_token_ids: list[int]) -> list[int]:  # noqa: N802 - vLLM's name
    return prompt_token_ids


class LLM:
    def __init__(self, **arguments: Any) -> None:
        self._told = {"arguments": arguments, "process": os.getpid()}
        if _FAILS == "memory":
            print("(EngineCore pid=7) ValueError: No available memory for the cache blocks. Try increasing", flush=True)
            raise RuntimeError("Engine core initialization failed. See root cause above. Failed core proc(s): {}")
        if _FAILS == "model":
            raise ValueError("Model architectures ['Odd'] are not supported for now.")
        if _FAILS == "crash":
            print("TypeError: a kernel is missing", flush=True)
            raise RuntimeError("Engine core initialization failed. See root cause above. Failed core proc(s): {}")
        if _FAILS == "killed":
            os.kill(os.getpid(), signal.SIGKILL)

    def generate(self, prompts: list[list[int]], ways: list[dict[str, Any]], *, use_tqdm: bool) -> list[Any]:
        assert not use_tqdm
        constrained = [way for way in ways if "structured_outputs" in way]
        if _FAILS == "schema" and constrained:
            raise VLLMValidationError("The provided JSON schema contains features not supported by xgrammar.")
        with Path(os.environ["FAKE_ENGINE_LOG"]).open("a") as log:
            log.write(json.dumps({**self._told, "prompts": prompts, "ways": ways}) + "\n")
        return [SimpleNamespace(outputs=[SimpleNamespace(token_ids=(ids[-1],))]) for ids in prompts]
