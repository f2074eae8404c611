"""One question: made to fit, asked once, read, and judged by how likely the model found its own words."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .asked import Answered
from .fitting import Fitted, Preparation
from .question import Asked
from .refused import refusal_of_router
from .router_client import RouterAnswer, UnansweredError

__all__ = ["Outcome", "answer_to"]

_CHAT, _CONFIDENCE = "/v1/chat/completions", "/tasks/confidence"
_PASSED = ("x-exposure-id", "x-anneal-version", "x-anneal-variant", "x-anneal-fallback")


@dataclass(frozen=True)
class Outcome:
    """An answer, and what the router said of it."""

    answered: Answered
    headers: dict[str, str] = field(default_factory=dict)


async def answer_to(asked: Asked, preparation: Preparation) -> Outcome:
    """Answer it; raise RefusedError where there is no answer."""
    fitted = await preparation.fit(asked)
    answer = await preparation.router.post(_CHAT, _body(asked, fitted, preparation.model), preparation.headers)
    passed = {name: answer.headers[name] for name in _PASSED if name in answer.headers}
    if not answer.is_ok:
        raise refusal_of_router(answer, passed)
    choice, prompt = _choice(answer)
    text = (choice.get("message") or {}).get("content") or ""
    confidence = None
    if asked.sampling.confidence and fitted.longest is not None:
        confidence = await _confidence(preparation, answer.version, prompt, choice.get("token_ids"), fitted.longest)
    return Outcome(_answered(text, choice.get("finish_reason"), fitted, confidence), passed)


def _body(asked: Asked, fitted: Fitted, model: str) -> dict[str, Any]:
    sampling, question = asked.sampling, fitted.question
    made = {"model": model, **question.body, "max_tokens": sampling.max_new_tokens}
    made |= {"temperature": sampling.temperature, "top_p": sampling.top_p or 1e-9}
    if sampling.user is not None:
        made["user"] = sampling.user
    if question.schema is not None:
        form = {"name": "answer", "schema": question.schema}
        made["response_format"] = {"type": "json_schema", "json_schema": form}
    if sampling.confidence and fitted.longest is not None:
        made["return_token_ids"] = True
    return made


def _choice(answer: RouterAnswer) -> tuple[Mapping[str, Any], Any]:
    """The answer's only choice, and the tokens of its prompt where the server tells them."""
    found = answer.json
    try:
        choice = found["choices"][0]
    except (KeyError, IndexError, TypeError) as error:
        raise UnansweredError("the model's server answered without a choice") from error
    if not isinstance(choice, dict) or choice.get("finish_reason") == "abort":
        raise UnansweredError("the model's server broke off; try again")
    return choice, found.get("prompt_token_ids")


def _answered(text: str, reason: object, fitted: Fitted, confidence: float | None) -> Answered:
    parsed, problem = _parsed(text), None
    if reason == "length":
        problem = f"the answer is cut at max_new_tokens ({fitted.question.asked.sampling.max_new_tokens}): ask for more"
    elif parsed is None and fitted.question.schema is not None:
        problem = "the answer is no JSON"
    return Answered(
        success=problem is None,
        confidence_score=confidence,
        raw_response=text,
        parsed_response=parsed,
        error=problem,
        truncated=fitted.question.is_cut,
    )


def _parsed(text: str) -> Any:  # noqa: ANN401 - JSON holds anything
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


async def _confidence(
    preparation: Preparation,
    version: str,
    prompt: object,
    answer: object,
    longest: int,
) -> float | None:
    """The mean probability of the answer's tokens by the version that gave it; None where that cannot be told.

    The engine's own log-probabilities come after the schema's mask, where a forced token has 1: so prompt and answer
    are read once more, as what is known already. The last token of a sequence that fills the engine has no room.
    """
    if not isinstance(prompt, list) or not isinstance(answer, list):
        return None
    answer = answer[: longest - 1 - len(prompt)]
    if not answer:
        return None
    body = {"model": version, "prompt": [*prompt, *answer], "max_tokens": 1, "prompt_logprobs": 0}
    try:
        told = await preparation.router.part(_CONFIDENCE, body)
        if not told.is_ok:
            return None
        found = told.json["choices"][0]["prompt_logprobs"][len(prompt) :]
        each = [math.exp(one[str(token)]["logprob"]) for one, token in zip(found, answer, strict=True)]
    except (UnansweredError, KeyError, IndexError, TypeError, ValueError):
        return None  # the answer is here, and worth more than its measure
    return min(1.0, sum(each) / len(each))
