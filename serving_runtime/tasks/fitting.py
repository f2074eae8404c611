"""Making a question fit: which version answers it, how many tokens it has there, and what of the input is left.

All of it the router and the engine say: `/tokenize` is answered by the version that would answer the question, with the
tokens that its own chat template comes to. What a backend does not tell is not known, and nothing is cut for it.
"""

from dataclasses import dataclass
from typing import Any

from serving_runtime.task_table import TaskRules

from .question import Asked, Question
from .refused import RefusedError, refusal_of_router
from .router_client import Headers, RouterAnswer, RouterClient, UnansweredError
from .versions import Versions

__all__ = ["Fitted", "Preparation"]

_BAD_REQUEST, _NOT_FOUND, _SERVER_ERROR = 400, 404, 500
_TOKENIZE, _DETOKENIZE = "/tokenize", "/detokenize"
_BROKEN = "\ufffd"
_TRIES = 8
_NO_TOKENIZER = frozenset({403, 404, 405, 501})


@dataclass(frozen=True)
class Fitted:
    """A question that its version has room for."""

    question: Question
    version: str
    longest: int | None
    """The version's longest sequence, prompt and answer; None where that is not known."""


@dataclass(frozen=True)
class Preparation:
    """Of one request's questions."""

    router: RouterClient
    versions: Versions
    model: str
    headers: Headers

    async def fit(self, asked: Asked) -> Fitted:
        """Return the question as the version is asked that will answer it; raise RefusedError where it cannot be."""
        question = Question.of(asked, self.versions.first_rules(self.model))
        for _ in range(2):  # once more where the version is another than expected
            answer = await self._tokenized(question, asked)
            rules = self._rules_of(answer, question)
            if rules == question.rules:
                break
            question = Question.of(asked, rules)
        if answer.status in _NO_TOKENIZER:
            return Fitted(question, answer.version, None)
        told = _told(answer)
        room = _room(told["max_model_len"], asked)
        for tried in range(_TRIES):
            over = told["count"] - room
            if over <= 0:
                return Fitted(question, answer.version, told["max_model_len"])
            question = await self._shorter(question, over + tried)
            told = _told(await self._tokenized(question, asked))
        raise RefusedError(
            422,
            f"`max_new_tokens`: the instruction alone does not fit beside {asked.sampling.max_new_tokens} new tokens "
            f"into the version's {told['max_model_len']}: ask for fewer",
            "max_new_tokens",
        )

    def _rules_of(self, answer: RouterAnswer, question: Question) -> TaskRules:
        if not answer.version:
            raise refusal_of_router(answer, {})
        rules = self.versions.rules_of(answer.version)
        if rules is None:
            raise RefusedError(503, f"how the version `{answer.version}` is asked is not known here yet; try again")
        if not answer.is_ok and answer.status not in _NO_TOKENIZER and rules == question.rules:
            raise refusal_of_router(answer, {})
        return rules

    async def _tokenized(self, question: Question, asked: Asked) -> RouterAnswer:
        body: dict[str, Any] = {"model": self.model, **question.body}
        if asked.sampling.user is not None:
            body["user"] = asked.sampling.user
        return await self.router.part(_TOKENIZE, body, self.headers)

    async def _shorter(self, question: Question, over: int) -> Question:
        """Without so many of the input's last tokens; of a text that is one token more, by a character."""
        asked = {"model": self.model, "prompt": question.text, "add_special_tokens": False}
        if question.asked.sampling.user is not None:
            asked["user"] = question.asked.sampling.user
        told = await self.router.part(_TOKENIZE, asked, self.headers)
        kept = _told(told)["tokens"][:-over]
        if not kept:
            return question.cut("")
        body = {"model": self.model, "tokens": kept}
        if question.asked.sampling.user is not None:
            body["user"] = question.asked.sampling.user
        text = _told(await self.router.part(_DETOKENIZE, body, self.headers))["prompt"]
        return question.cut(text.rstrip(_BROKEN).rstrip())


def _told(answer: RouterAnswer) -> dict[str, Any]:
    if not answer.is_ok:
        raise refusal_of_router(answer, {})
    found = answer.json
    if not isinstance(found, dict):
        raise UnansweredError("the model's server answered what is no JSON object")
    return found


def _room(longest: int, asked: Asked) -> int:
    """How many tokens a prompt may have."""
    new = asked.sampling.max_new_tokens
    if new >= longest:
        raise RefusedError(
            422,
            f"`max_new_tokens`: {new} leaves no room for the input: the longest sequence is {longest}",
            "max_new_tokens",
        )
    return longest - new
