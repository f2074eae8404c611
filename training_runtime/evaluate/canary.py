"""The questions that go with the weights, so that no server answers otherwise than this evaluation was answered.

The first that were drawn, of those that any client can ask in the same words: texts of a system, a user and earlier
answers, with the row's context. Tools are left out, as servers describe them in words of their own, and so are thoughts
before earlier answers, which each family takes under another name. What they hold was masked in preparation, as
every row was; in what the model answered nothing is looked for.
"""

import math
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from prompts.canary import Canary, CanaryQuestion
from training_runtime.log import log_event
from training_runtime.plan import Plan

from .answers import load
from .asked import Asked, Exchange
from .losses import losses

__all__ = ["canary"]

_QUESTIONS, _LOOKED_AT = 3, 64
_LONGEST = 2048
"""In tokens, with its answer, where the plan does not say how long the served model's may be."""
_IGNORED = -100
_ROLES = {"system", "user", "assistant"}
_Drawn = tuple[list[dict[str, Any]], Exchange]


def canary(plan: Plan, asked: Iterable[Asked], model: Path) -> Canary | None:
    """Return a few questions with the answers of the tuned model; None where there are none, or none are wanted."""
    if not plan.output.canary:
        return None
    askable = list(islice(_askable(asked, plan.output.served_length or _LONGEST), _LOOKED_AT))
    drawn = sorted(askable, key=lambda one: -len(one[1].answer))[:_QUESTIONS]  # of a longer answer the mean tells more
    if not drawn:
        _tell("no row can be asked in a client's words")
        return None
    means = _means(plan, model, [exchange for _, exchange in drawn])
    if means is None:
        return None
    return Canary(questions=[_question(*one, mean) for one, mean in zip(drawn, means, strict=True)])


def _question(messages: list[dict[str, Any]], exchange: Exchange, mean: float) -> CanaryQuestion:
    return CanaryQuestion(
        messages=[{name: message[name] for name in ("role", "content")} for message in messages],
        variables=messages[0].get("variables", {}),
        prompt_ids=exchange.question,
        answer_ids=exchange.answer,
        mean_log_probability=mean,
    )


def _askable(asked: Iterable[Asked], longest: int) -> Iterator[_Drawn]:
    seen: list[list[dict[str, Any]]] = []
    for one in asked:
        for conversation, exchange in zip(one.conversations, one.exchanges, strict=True):
            messages = conversation[:-1]
            fits = len(exchange.question) + len(exchange.answer) < longest  # a server writes one token more
            if all(exchange) and fits and messages not in seen and all(map(_is_plain, messages)):
                seen.append(messages)
                yield messages, exchange


def _is_plain(message: dict[str, Any]) -> bool:
    known = message.keys() <= {"role", "content", "variables"} and message["role"] in _ROLES
    return known and "tools" not in message.get("variables", {})


def _means(plan: Plan, model: Path, exchanges: list[Exchange]) -> list[float] | None:
    """The mean log-probability of each answer; None where one GPU does not hold what several were served by."""
    import torch

    rows = [(one.question + one.answer, [_IGNORED] * len(one.question) + one.answer) for one in exchanges]
    try:
        found = list(losses(load(model, trust_remote_code=plan.base.trust_remote_code), rows))
    except torch.OutOfMemoryError:
        _tell("one GPU's memory does not hold the model")
        return None
    means = [round(-loss / tokens, 6) for loss, tokens in found]
    if not all(map(math.isfinite, means)):
        _tell("the weights give an answer no finite probability")
        return None
    return means


def _tell(reason: str) -> None:
    log_event("warning", message=f"no server will be held to this evaluation: {reason}")
