"""A text with named fields, such as `### Input: {input}`, as a Jinja expression over a request.

What a user's message says is `{input}` where the instruction is known, else `{instruction}`; so a plain message of any
client is rendered as a row is. Every other field, and either of these two, may be given by name as a template argument
(vLLM: `chat_template_kwargs`).
"""

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Self

from .errors import PromptError
from .thinking import SWITCHES

__all__ = ["ALPACA", "ALPACA_WITHOUT_INPUT", "FieldText", "Said", "plainly_said"]

_INSTRUCTION, _INPUT = "instruction", "input"
_ALPACA_HEAD = "Below is an instruction that describes a task"
_ALPACA_TAIL = "Write a response that appropriately completes the request."
ALPACA = (
    f"{_ALPACA_HEAD}, paired with an input that provides further context. {_ALPACA_TAIL}\n\n"
    "### Instruction:\n{instruction}\n\n### Input:\n{input}\n\n### Response:\n{output}"
)
ALPACA_WITHOUT_INPUT = (
    f"{_ALPACA_HEAD}. {_ALPACA_TAIL}\n\n### Instruction:\n{{instruction}}\n\n### Response:\n{{output}}"
)
# A name in braces; doubled braces are two of a text's own, so JSON in a text needs no escaping.
_FIELD = re.compile(r"\{\{(?P<literal>\w+)\}\}|\{(?P<name>[^\W\d]\w*)\}", re.ASCII)
_OUTPUT = re.compile(r"\{output\}[ \t\r\n]*\Z")
_TAKEN = frozenset(
    {"messages", "tools", "documents", "add_generation_prompt", "date_string"}
    | {name for setting in SWITCHES.values() for name in setting}
    | {"message", "said", "asked", "asked_text", "asked_input", "asked_instruction"}  # our own lines'
    | {"dict", "namespace", "range", "loop", "cycler", "joiner", "lipsum", "none", "true", "false"}  # Jinja's
)
_SPECIAL_TOKEN = re.compile(r"^(bos|eos|pad|unk|sep|cls|mask)_token$")


class Said(NamedTuple):
    """A user's message, and what is given by name beside it."""

    message: str
    named: dict[str, str]


def plainly_said(instruction: str, given: str) -> Said:
    """Return what is said where the message has both."""
    return Said("\n".join(part for part in (instruction, given) if part), {})


@dataclass(frozen=True)
class FieldText:
    """What a user's turn looks like, with `{instruction}`, `{input}` and the context's fields in it."""

    text: str
    without_input: str | None = None
    """The text of a turn that has no input; None takes `text` with an empty one."""
    context: Collection[str] = ()
    """The further fields that a row may fill."""
    defaults: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in (*self.context, *self.defaults):
            if name in _TAKEN or _SPECIAL_TOKEN.match(name):
                raise PromptError(
                    f"{name} cannot be a field of prompt.text: chat templates use that name; rename the column"
                )
        known = {_INSTRUCTION, _INPUT, *self.context, *self.defaults}
        if unknown := sorted(self._names() - known):
            raise PromptError(
                f"prompt.text has the field {{{unknown[0]}}}, which no row has: there are "
                f"{', '.join(f'{{{name}}}' for name in sorted(known))}; name further columns in "
                "dataset.columns.context, "
                f"or write {{{{{unknown[0]}}}}} for the word in braces"
            )
        if unused := sorted({*self.context, *self.defaults} - self._names()):
            raise PromptError(
                f"prompt.text has no field {{{unused[0]}}}: add it there, or remove {unused[0]} from prompt.defaults "
                "or dataset.columns.context"
            )
        if not self.reads_input and not self.reads_instruction:
            raise PromptError("prompt.text needs {input} or {instruction}: the user's message goes there")

    @classmethod
    def of_prompt(
        cls,
        form: str,
        text: str | None,
        without_input: str | None,
        context: Collection[str] | None,
        defaults: Mapping[str, str],
    ) -> Self | None:
        """Return the turn that `spec.prompt` asks for, None where it is the message; raise PromptError of none.

        Without `context` the text's own fields are taken for what requests may fill: rows were checked in training.
        """
        if form != "Text" and text is None:
            return None
        without = without_input if text else ALPACA_WITHOUT_INPUT
        text = text or ALPACA
        if context is None:
            names = {found["name"] for found in _FIELD.finditer(text + (without or "")) if found["name"]}
            context = names - {_INSTRUCTION, _INPUT, "output", *defaults}
        if form == "Text":
            return cls.of_whole(text, without, context, defaults)
        return cls(text.rstrip("\n"), without and without.rstrip("\n"), context, defaults)

    def said(self, instruction: str, given: str) -> "Said":
        """Return what a client says who has both, and what it gives by name beside it."""
        if not (instruction and self.reads_instruction and self.reads_input):
            return plainly_said(instruction, given)
        if given:
            return Said(given, {_INSTRUCTION: instruction})
        # Where the instruction has a default, a message alone would be an input.
        named = {_INSTRUCTION: instruction, _INPUT: ""} if _INSTRUCTION in self.defaults else {}
        return Said(instruction, named)

    @classmethod
    def of_whole(
        cls, text: str, without_input: str | None, context: Collection[str], defaults: Mapping[str, str]
    ) -> Self:
        """Return the turn of a text that holds the whole row, so ends with `{output}`."""
        return cls(_question(text), without_input and _question(without_input), context, defaults)

    @property
    def reads_input(self) -> bool:
        """Whether a turn has room for an input."""
        return _INPUT in self._names()

    @property
    def reads_instruction(self) -> bool:
        """Whether a turn has room for an instruction."""
        return _INSTRUCTION in self._names()

    def _names(self) -> set[str]:
        texts = [self.text, self.without_input or ""]
        return {found["name"] for text in texts for found in _FIELD.finditer(text) if found["name"]}

    def jinja(self, said: str) -> str:
        """Statements that set `asked_text`, for a message whose words are in the variable `said`."""
        default = _literal(self.defaults[_INSTRUCTION]) if self.defaults.get(_INSTRUCTION) else "''"
        lines: list[str] = []
        if self.reads_instruction and self.reads_input:
            given = f"{said} if input is undefined and asked_instruction else input | default('')"
            lines += [
                f"{{%- set asked_instruction = instruction | default({default}, true) %}}",
                f"{{%- set asked_input = {given} %}}",
                f"{{%- set asked_instruction = asked_instruction or {said} %}}",
            ]
        elif self.reads_instruction:
            lines.append(f"{{%- set asked_instruction = {said} %}}")
        else:
            lines.append(f"{{%- set asked_input = {said} %}}")
        lines += [self._context_value(name) for name in sorted(self._names() - {_INSTRUCTION, _INPUT})]
        lines.append(f"{{%- set asked_text = {self._expression()} %}}")
        return "\n".join(lines)

    def _context_value(self, name: str) -> str:
        """What the request gives, else the default; an object is written as JSON, as in a row."""
        given = f"{name} if {name} is string else {name} | tojson"
        missing = f"raise_exception('{name} is not given: chat_template_kwargs may hold it')"
        other = _literal(self.defaults[name]) if name in self.defaults else missing
        nothing = f"{name} is undefined or {name} is none or {name} == ''"
        return f"{{%- set asked_{name} = {other} if {nothing} else ({given}) %}}"

    def _expression(self) -> str:
        if self.without_input is None or not self.reads_input:
            return _joined(self.text)
        return f"({_joined(self.text)}) if asked_input else ({_joined(self.without_input)})"


def _question(text: str) -> str:
    found = _OUTPUT.search(text)
    if not found:
        raise PromptError("a prompt.text of format Text ends with {output}: the answer goes there")
    return text[: found.start()]


def _joined(text: str) -> str:
    """The text as a Jinja expression, its fields between literals."""
    parts: list[str] = []
    position = 0
    literal = ""
    for found in _FIELD.finditer(text):
        literal += text[position : found.start()]
        position = found.end()
        if found["name"]:
            parts += [_literal(literal), f"asked_{found['name']}"]
            literal = ""
        else:
            literal += f"{{{found['literal']}}}"
    return " ~ ".join([*parts, _literal(literal + text[position:])])


def _literal(text: str) -> str:
    """A Jinja string: JSON's escapes are Python's, which Jinja reads."""
    return (
        json.dumps(text, ensure_ascii=False)
        .replace("'", "\\u0027")
        .replace("\u2028", "\\u2028")
        .replace("\u2029", "\\u2029")
    )
