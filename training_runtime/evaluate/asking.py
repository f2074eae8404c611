"""What a model is asked, token for token what training saw, and what of its words is the answer.

Base and tuned model are asked the same tokens: those of the dataset's chat template, whatever either folder holds.
"""

from collections.abc import Sequence
from typing import NamedTuple

from prompts.thinking import answer_of
from training_runtime.plan import Plan
from training_runtime.rows.conversations import Message
from training_runtime.rows.prompted import prompted_tokenizer
from training_runtime.rows.prompting import Prompting
from training_runtime.tokenizer import end_ids
from training_runtime.workspace import base_folder

__all__ = ["Asking", "Question"]


class Question(NamedTuple):
    """One prompt."""

    text: str
    ids: list[int]


class Asking:
    """The prompts of a plan's data, and the reading of what follows them."""

    def __init__(self, plan: Plan) -> None:
        self._tokenizer = prompted_tokenizer(plan)
        self._prompting = Prompting(self._tokenizer)
        self.ends = sorted(end_ids(base_folder(plan), self._tokenizer))
        """The tokens at which an answer ends."""

    def question(self, messages: Sequence[Message]) -> Question:
        """Return the prompt of a conversation up to its answer."""
        text = self._prompting.prompt(messages)
        return Question(text, list(self._tokenizer.backend_tokenizer.encode(text, add_special_tokens=False).ids))

    def answer(self, question: Question, ids: Sequence[int]) -> str:
        """Return what was answered, without thoughts and marks; one cut off in mid-thought answered nothing."""
        until = self._until(ids)
        found = answer_of(self._tokenizer.decode(ids[:until], skip_special_tokens=False), question.text)
        for token in self._tokenizer.all_special_tokens:
            found = found.replace(token, "")
        return found.strip()

    def ended(self, ids: Sequence[int]) -> list[int]:
        """Return the tokens of an answer with the one that ended it, without what fills up a batch."""
        return list(ids[: self._until(ids) + 1])

    def _until(self, ids: Sequence[int]) -> int:
        return next((place for place, token in enumerate(ids) if token in self.ends), len(ids))
