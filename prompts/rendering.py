"""Rendering a chat template to the very text that transformers, and so TRL and vLLM, render from it.

The environment is theirs: sandboxed, with the same settings, filters and `{% generation %}` marks. It is our own, so
that whoever renders needs jinja2 alone; a test holds the two together. Only the clock is missing: see `clock`.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from jinja2 import TemplateError, meta, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

from .clock import FIXED_DATE
from .errors import PromptError

__all__ = ["Message", "PromptError", "Rendered", "is_marked", "render", "variables_of"]

Message = Mapping[str, Any]


@dataclass(frozen=True)
class Rendered:
    """A conversation as the model reads it."""

    text: str
    marked: tuple[tuple[int, int], ...] = ()
    """The characters that the template marks as the assistant's."""


class _Generation(Extension):  # type: ignore[misc]
    """`{% generation %} … {% endgeneration %}`, by which a template says what the assistant wrote."""

    tags = frozenset({"generation"})

    def __init__(self, environment: ImmutableSandboxedEnvironment) -> None:
        super().__init__(environment)
        environment.extend(written=None, marked=None)

    def parse(self, parser: Any) -> nodes.CallBlock:  # noqa: ANN401 - jinja2's
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return nodes.CallBlock(self.call_method("_mark"), [], [], body).set_lineno(line)

    def _mark(self, caller: Any) -> str:  # noqa: ANN401 - a macro
        text = str(caller())
        start = sum(map(len, self.environment.written))
        self.environment.marked.append((start, start + len(text)))
        return text


def _refuse(message: str) -> None:
    raise TemplateError(message)


def _to_json(
    value: object,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _environment() -> ImmutableSandboxedEnvironment:
    made = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols])
    made.filters["tojson"] = _to_json
    made.globals["raise_exception"] = _refuse
    made.globals["strftime_now"] = FIXED_DATE.strftime
    return made


@lru_cache(64)
def _compiled(template: str) -> Any:  # noqa: ANN401 - jinja2's
    try:
        return _environment().from_string(template)
    except TemplateError as error:
        line = getattr(error, "lineno", None)
        raise PromptError(
            f"the chat template is not valid Jinja, mend it{f' at line {line}' if line else ''}: {error}"
        ) from error


def render(
    template: str, messages: Sequence[Message], variables: Mapping[str, Any], *, prompt: bool = False
) -> Rendered:
    """Render a conversation, with what begins the next answer where it is a prompt.

    `variables` are what transformers calls template arguments: the tokenizer's special tokens, `tools`, and any more.
    Raises PromptError where the template refuses the messages.
    """
    compiled = _compiled(template)
    environment = compiled.environment
    written: list[str] = []
    environment.written, environment.marked = written, []
    given = {"tools": None, "documents": None, **variables}
    try:
        for part in compiled.generate(messages=messages, add_generation_prompt=prompt, **given):
            written.append(part)  # noqa: PERF402 - marks are counted by what is written so far
    except (TemplateError, TypeError, ValueError, AttributeError) as error:
        raise PromptError(f"the chat template does not take these messages: {error}") from error
    return Rendered("".join(written), tuple(environment.marked))


@lru_cache(64)
def is_marked(template: str) -> bool:
    """Whether the template says by marks what is the assistant's."""
    found: Iterable[Any] = _compiled(template).environment.parse(template).find_all(nodes.CallBlock)
    return any(getattr(getattr(block.call, "node", None), "name", "") == "_mark" for block in found)


@lru_cache(64)
def variables_of(template: str) -> frozenset[str]:
    """The variables that a template reads and does not set."""
    return frozenset(meta.find_undeclared_variables(_compiled(template).environment.parse(template)))
