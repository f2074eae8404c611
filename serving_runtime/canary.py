"""Whether an engine answers as its version did in training: asked once, before it is ready, with no router between.

A wrong template, precision or file of weights makes answers that are wrong and look well. So the engine is asked the
questions that lie beside the weights (`prompts.canary`): it has to come to the same tokens, and to find the answers as
likely. One that does not ends, with the reason as its last word; started again, it is asked again.

What it does not do: ask what does not fit into the engine's length, or anything of an artifact without such questions.
"""

import json
import math
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from pydantic import BaseModel, ConfigDict

from prompts.canary import Canary, CanaryQuestion, first_difference

from .keys import App
from .plan import ANSWERS_DIFFER
from .pulse import Scope, answer

__all__ = ["CANARY_VARIABLE", "CanaryCheck", "HeldTo", "held_to"]

CANARY_VARIABLE = "ANNEAL_CANARY"
"""In the environment of engines: a HeldTo as JSON; without it nothing is compared."""
_TERMINATION_LOG = Path("/dev/termination-log")
_OK, _CLIENT_ERROR, _SERVER_ERROR = 200, 400, 500
_MANY_TOKENS = 40
"""The mean of fewer is as much further off by rounding as theirs is less of a mean: by the root."""
_SHOWN_CHARACTERS = 200


class HeldTo(BaseModel):
    """What an engine is held to, and how exactly."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    file: Path
    tolerance: float


class _DiffersError(Exception):
    """It is not what was trained; the message says in what, and what helps."""


class _UnansweredError(Exception):
    """It has not answered, and is asked again."""


def held_to() -> HeldTo | None:
    """Return what this process's engine is held to."""
    told = os.environ.get(CANARY_VARIABLE)
    return HeldTo.model_validate_json(told) if told else None


def _end(reason: str) -> NoReturn:
    """End at once: no client has been sent here, and the engine's own words would be taken for the reason."""
    print(f"error: {reason}", file=sys.stderr, flush=True)
    if _TERMINATION_LOG.exists():
        _TERMINATION_LOG.write_text(reason, encoding="utf-8")
    os._exit(ANSWERS_DIFFER)


class CanaryCheck:
    """Of one engine, or of one of its adapters, the `model`; `end` is what is done with the reason where it differs."""

    def __init__(self, app: App, held: HeldTo, end: Callable[[str], None] = _end, model: str = "") -> None:
        self._app, self._tolerance, self._end = app, held.tolerance, end
        self._named = {"model": model} if model else {}
        self._questions = Canary.model_validate_json(held.file.read_bytes()).questions
        self._has_passed = False

    async def passes(self, scope: Scope) -> bool:
        """Return whether it answers as in training, and remember it; `scope` is of any request to its server."""
        if not self._has_passed:
            try:
                print(await self._compared(scope), flush=True)
                self._has_passed = True
            except _UnansweredError as error:
                print(f"a question of its evaluation is not answered yet: {error}", flush=True)
            except _DiffersError as error:
                self._end(str(error))
        return self._has_passed

    async def _compared(self, scope: Scope) -> str:
        """What was compared; raise where something differs."""
        gaps = []
        for number, question in enumerate(self._questions, 1):
            place = f"question {number} of {len(self._questions)} of its evaluation"
            if (gap := await self._gap(scope, question, place)) is not None:
                gaps.append(gap)
        if not gaps:
            return "no question of its evaluation fits into serving.maxModelLength: nothing was compared with training"
        return (
            f"{len(gaps)} of {len(self._questions)} questions of its evaluation were answered as in training: the same "
            f"tokens, and mean log-probabilities at most {max(gaps):.4f} apart"
        )

    async def _gap(self, scope: Scope, question: CanaryQuestion, place: str) -> float | None:
        """How far apart the mean log-probabilities are; None where the engine has no room for the question."""
        asked = {"messages": question.messages, "chat_template_kwargs": question.variables}
        rendered = await self._asked(scope, "/tokenize", asked, place)
        if len(question.prompt_ids) + len(question.answer_ids) >= rendered["max_model_len"]:
            return None
        if (token := first_difference(question.prompt_ids, rendered["tokens"])) is not None:
            here, trained = [await self._shown(scope, ids, token) for ids in (rendered["tokens"], question.prompt_ids)]
            raise _DiffersError(
                f"{place}: token {token + 1} of the prompt is {here} here and was {trained} in training. The chat "
                "template or the tokenizer is not what the version was trained with: publish it again from its job; "
                "where the engine's image is new, go back to the one before"
            )
        mean = await self._mean(scope, question, place)
        gap = abs(mean - question.mean_log_probability)
        room = self._tolerance * max(1.0, math.sqrt(_MANY_TOKENS / len(question.answer_ids)))
        if not gap <= room:
            few = f", {room:.3f} for {len(question.answer_ids)} tokens" if room > self._tolerance else ""
            raise _DiffersError(
                f"{place}: the mean log-probability of the stored answer is {mean:.4f} here and was "
                f"{question.mean_log_probability:.4f} in training, more than serving.canaryTolerance "
                f"({self._tolerance:g}{few}) apart. Set serving.dtype to what it was trained in, or publish the "
                "weights again; raise canaryTolerance only for weights that are quantized on purpose"
            )
        return gap

    async def _mean(self, scope: Scope, question: CanaryQuestion, place: str) -> float:
        asked = {"prompt": question.prompt_ids + question.answer_ids, "max_tokens": 1, "prompt_logprobs": 0}
        found = (await self._asked(scope, "/v1/completions", asked, place))["choices"][0]["prompt_logprobs"]
        told = found[len(question.prompt_ids) :]
        each = [one[str(token)]["logprob"] for one, token in zip(told, question.answer_ids, strict=True)]
        return float(sum(each) / len(each))

    async def _shown(self, scope: Scope, ids: list[int], place: int) -> str:
        if place >= len(ids):
            return "the end"
        text = (await self._asked(scope, "/detokenize", {"tokens": [ids[place]]}, "a token"))["prompt"]
        return f"{text!r} ({ids[place]})"

    async def _asked(self, scope: Scope, path: str, body: dict[str, Any], place: str) -> dict[str, Any]:
        try:
            status, answered = await answer(self._app, scope, "POST", path, json.dumps(body | self._named).encode())
        except Exception as error:
            raise _UnansweredError(f"{place}: {error}") from error
        if status == _OK:
            found: dict[str, Any] = json.loads(answered)
            return found
        said = f"{place} is answered with {status}: {answered.decode(errors='replace')[:_SHOWN_CHARACTERS]}"
        if _CLIENT_ERROR <= status < _SERVER_ERROR:
            raise _DiffersError(
                f"{said}. The chat template or the tokenizer is not what the version was trained with: publish it "
                "again from its job"
            )
        raise _UnansweredError(said)
