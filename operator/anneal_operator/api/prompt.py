"""How a row becomes the text that a model reads: part of FineTuneJob, and of the ModelVersion that it makes."""

import re
from collections.abc import Callable
from typing import Annotated, Any, ClassVar

from pydantic import Field, StringConstraints

from training_runtime.plan import PromptFormat, Thinking

from .dataset import ResponseDictionary
from .schema import FreeObject, Rule, Schema

__all__ = ["Prompt", "RequestClean", "VersionPrompt"]

_Text = Annotated[str, StringConstraints(min_length=1, max_length=20000)]
_ENDS_WITH_OUTPUT = re.compile(r"\{output\}[ \n]*\Z")
_Default = Annotated[str, StringConstraints(max_length=20000)]


def _output_rule(field: str, read: Callable[[Any], str | None]) -> Rule:
    """A whole row ends with the answer; a user's turn has none."""

    def holds(prompt: Any) -> bool:  # noqa: ANN401 - the model below
        text = read(prompt)
        if text is None:
            return True
        return bool(_ENDS_WITH_OUTPUT.search(text)) if prompt.format == "Text" else "{output}" not in text

    return Rule(
        f"!has(self.{field}) || (self.format == 'Text' ? self.{field}.matches('[{{]output[}}][ \\n]*$')"
        f" : !self.{field}.contains('{{output}}'))",
        f"`{field}` ends with {{output}} in `format: Text`, where it is the whole row, and has none in `format: Chat`, "
        "where it is the user's turn",
        holds,
    )


class Prompt(Schema):
    """How a row becomes tokens, and a request the same tokens."""

    format: PromptFormat = "Chat"
    """`Chat` writes rows by a chat template, the tokenizer's or one of your own. `Text` writes them by `text`, for a
    base model without a template.
    """
    system_prompt: _Text | None = None
    """Put before every conversation that has no system message of its own."""
    chat_template: Annotated[str, StringConstraints(min_length=1, max_length=100000)] | None = None
    """A Jinja chat template instead of the tokenizer's; marks `{% generation %}` around what the assistant says make
    exact which tokens are learnt.
    """
    text: _Text | None = None
    """A text with the named fields `{instruction}`, `{input}` and those of `dataset.columns.context`. With `Chat` it is
    what a user's turn looks like; the message alone where it is left out. With `Text` it is the whole row and ends with
    `{output}`; Alpaca's text, with an input and without, where it is left out. `{{word}}` is written as `{word}`.
    """
    text_without_input: _Text | None = None
    """The text of a row that has no input; `text` with an empty one where it is left out."""
    defaults: dict[str, _Default] = Field(default={}, max_length=16)
    """By field: what stands there where a row, or a request, has nothing."""
    thinking: Thinking = "None"
    """`None`: thoughts in the data are left out, and the model is asked to answer without. `Keep`: they are learnt
    where the template can write them, and told from answers in evaluation and serving.
    """

    rules: ClassVar = (
        Rule(
            "self.format == 'Chat' || (!has(self.chatTemplate) && self.thinking == 'None')",
            "`chatTemplate` and `thinking: Keep` are for `format: Chat`: choose it, or leave them out",
            lambda prompt: prompt.format == "Chat" or (prompt.chat_template is None and prompt.thinking == "None"),
        ),
        Rule(
            "!has(self.text) || self.text.contains('{input}') || self.text.contains('{instruction}')",
            "`text` needs a field {input} or {instruction}: the user's message goes there",
            lambda prompt: prompt.text is None or "{input}" in prompt.text or "{instruction}" in prompt.text,
        ),
        _output_rule("text", lambda prompt: prompt.text),
        _output_rule("textWithoutInput", lambda prompt: prompt.text_without_input),
        Rule(
            "!has(self.textWithoutInput) || (has(self.text) && self.text.contains('{input}'))",
            "`textWithoutInput` needs a `text` with the field {input}",
            lambda prompt: prompt.text_without_input is None or "{input}" in (prompt.text or ""),
        ),
        Rule(
            "size(self.defaults) == 0 || has(self.text) || self.format == 'Text'",
            "`defaults` fill fields of `text`: set `text`",
            lambda prompt: not prompt.defaults or prompt.text is not None or prompt.format == "Text",
        ),
    )


class RequestClean(Schema):
    """What is done to a request's text before anything else, as was done to a question's."""

    remove_pattern: str | None = Field(default=None, min_length=1, max_length=500)
    """A Python regular expression whose matches are removed."""
    collapse_whitespace: bool = False
    """Whether runs of white space become one space, and the ends are trimmed."""


class VersionPrompt(Prompt):
    """How a version was asked in training, and what its answers look like."""

    clean: RequestClean | None = None
    """How the task API cleans what it is asked. Chats and completions are passed on as they are."""
    response_schema: FreeObject | None = None
    """A JSON Schema that binds the task API's answers."""
    response_dictionary: ResponseDictionary | None = None
    """Where they name words of a dictionary that requests bring."""
