"""From what a client asks to what a version is asked: the same as training made of a row."""

import json
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

from prompts.cleaning import Cleaner
from prompts.fields import FieldText, plainly_said
from serving_runtime.task_table import TaskRules

from .asked import BatchItem, Predict, Sampling
from .dictionary import DictionaryError, narrowed
from .refused import RefusedError

__all__ = ["Asked", "Question", "asked_by"]

_DICTIONARY = "input_categories"


@dataclass(frozen=True)
class Asked:
    """What a client wants answered."""

    text: str
    sampling: Sampling
    instruction: str = ""
    categories: str = ""
    """A dictionary, as JSON."""


def asked_by(posted: BatchItem | Predict, sampling: Sampling) -> Asked:
    """Return what is asked; a dictionary that is an object is written as rows have it."""
    given = posted.input_categories
    categories = given if isinstance(given, str) else "" if given is None else json.dumps(given, ensure_ascii=False)
    if given is not None and not categories.strip("{} \n"):
        raise RefusedError(422, f"`{_DICTIONARY}`: it is empty; leave it out for the version's own", _DICTIONARY)
    try:
        categories.encode()
    except UnicodeEncodeError as error:
        raise RefusedError(422, f"`{_DICTIONARY}`: it is no Unicode", _DICTIONARY) from error
    return Asked(posted.input_text, sampling, getattr(posted, "instruction", None) or "", categories)


@dataclass(frozen=True)
class Question:
    """What one version is asked, as an engine renders it by the version's chat template."""

    rules: TaskRules
    asked: Asked
    text: str
    """What is left of the input, cleaned."""
    is_cut: bool = False
    schema: dict[str, Any] | None = field(default=None, repr=False)
    """What binds the answer."""

    @classmethod
    def of(cls, asked: Asked, rules: TaskRules) -> "Question":
        """Return what a version is asked; raise RefusedError where it cannot be."""
        text = Cleaner(rules.remove_pattern, collapses=rules.collapse_whitespace)(asked.text)
        if not text.strip():
            raise RefusedError(
                422, "`input_text`: nothing is left of it once it is cleaned as in training", "input_text"
            )
        return cls(rules, asked, text, schema=_schema(asked, rules))

    def cut(self, text: str) -> "Question":
        """Return it with less of its input."""
        return replace(self, text=text, is_cut=True)

    @property
    def body(self) -> dict[str, Any]:
        """What an engine renders."""
        fields, instruction = _fields(self.rules.model_dump_json()), self.asked.instruction
        said = fields.said(instruction, self.text) if fields else plainly_said(instruction, self.text)
        named = dict(said.named)
        if self.asked.categories and self.rules.dictionary:
            named[self.rules.dictionary.context] = self.asked.categories
        made: dict[str, Any] = {"messages": [{"role": "user", "content": said.message}]}
        return {**made, "chat_template_kwargs": named} if named else made


@lru_cache(64)
def _fields(rules: str) -> FieldText | None:
    told = TaskRules.model_validate_json(rules)
    return FieldText.of_prompt(told.format, told.text, told.text_without_input, None, told.defaults)


def _schema(asked: Asked, rules: TaskRules) -> dict[str, Any] | None:
    """The version's, narrowed to the dictionary that holds; only a client's own is refused."""
    rule, schema = rules.dictionary, rules.response_schema
    if asked.categories and rule is None:
        told = f"`{_DICTIONARY}`: the version that answers was trained without a dictionary: leave it out"
        raise RefusedError(422, told, _DICTIONARY)
    if rule is None:
        return schema
    words = asked.categories or rules.defaults.get(rule.context, "")
    if not words:
        told = f"`{_DICTIONARY}`: the version that answers has no dictionary of its own: send one"
        raise RefusedError(422, told, _DICTIONARY)
    try:
        return narrowed(schema or {}, words, rule)
    except DictionaryError as error:
        if asked.categories:
            raise RefusedError(422, f"`{_DICTIONARY}`: {error}", _DICTIONARY) from error
        return schema
