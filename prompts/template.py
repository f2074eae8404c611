"""The one chat template of a model: what `spec.prompt` asks for, before what the tokenizer or the user brings.

It is a template like any other, `chat_template.jinja` beside the tokenizer: whoever renders it without knowing of
Anneal gets the prompt that training saw. The settings stand in its first lines.
"""

import re
from typing import Literal

from .clock import FIXED_DATE
from .fields import FieldText
from .rendering import PromptError, variables_of
from .thinking import SWITCHES

__all__ = ["Thinking", "chat_template", "text_template"]

Thinking = Literal["None", "Keep"]
_CLOCK = re.compile(r"strftime_now\(\s*(?P<quote>[\"'])(?P<form>[^\"']*)(?P=quote)\s*\)")
_TURNS = """\
{{- BOS }}
{%- for message in messages %}
{%- if message.role == 'assistant' %}
{%- if message.tool_calls %}{{- raise_exception('a text has no tool calls: use format Chat') }}{%- endif %}
{%- generation %}{{- message.content + EOS }}{%- endgeneration %}
{%- elif message.role == 'system' %}{{- message.content + '\\n\\n' }}
{%- elif message.role == 'user' %}{{- message.content }}
{%- else %}{{- raise_exception('a text has no turn of role ' + message.role + ': use format Chat') }}
{%- endif %}
{%- endfor %}
"""


def chat_template(source: str, thinking: Thinking, text: FieldText | None = None, *, system: str | None = None) -> str:
    """Return a tokenizer's or a user's template with the settings before it.

    `text` says what a user's turn looks like; without it, it is what the message says. `system` stands before every
    conversation that has no system message, a plain client's too.
    """
    wanted = SWITCHES[thinking]
    read = variables_of(source)
    switches = {name: value for name, value in wanted.items() if name in read}
    head = [f"{{%- set {name} = {str(value).lower()} %}}" for name, value in switches.items()]
    head += _system(system) if system else []
    head += _messages(text) if text else []
    return "".join(f"{line}\n" for line in head) + _without_clock(source)


def text_template(text: FieldText, *, start: str, end: str, system: str | None = None) -> str:
    """Return a template for a model that has none: the text, then the answer and the end mark.

    `start` is what the tokenizer begins every text with. A system message stands before the text, and a conversation of
    several turns repeats it.
    """
    if not end:
        raise PromptError("the model's tokenizer names no end of text (eos_token), so no answer would ever end")
    marks = {"BOS": _quoted(start), "EOS": _quoted(end)}
    turns = re.sub("BOS|EOS", lambda found: marks[found[0]], _TURNS)
    head = [*(_system(system) if system else []), *_messages(text)]
    return "".join(f"{line}\n" for line in head) + turns


def _system(text: str) -> list[str]:
    return [
        "{%- if not messages or messages[0].role != 'system' %}",
        f"{{%- set messages = [{{'role': 'system', 'content': {_quoted(text)}}}] + messages %}}",
        "{%- endif %}",
    ]


def _messages(text: FieldText) -> list[str]:
    """Statements after which every user's message reads as the text."""
    said = "message.content if message.content is string else message.content | map(attribute='text') | join('\\n')"
    return [
        "{%- set asked = namespace(messages=[]) %}",
        "{%- for message in messages %}",
        "{%- if message.role == 'user' %}",
        f"{{%- set said = {said} %}}",
        text.jinja("said"),
        "{%- set asked.messages = asked.messages + [dict(message, content=asked_text)] %}",
        "{%- else %}",
        "{%- set asked.messages = asked.messages + [message] %}",
        "{%- endif %}",
        "{%- endfor %}",
        "{%- set messages = asked.messages %}",
    ]


def _without_clock(source: str) -> str:
    return _CLOCK.sub(lambda found: _quoted(FIXED_DATE.strftime(found["form"])), source)


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n") + "'"
