"""What a chat template writes besides words: thoughts, calls of tools, their results; found out by trying.

A template that does not know a part of a message leaves it out without a word. So each part is tried once, and rows
that hold what would be lost are refused, with the remedy.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from prompts.rendering import PromptError, render
from training_runtime.errors import DataError

from .conversations import Message

__all__ = ["Abilities", "abilities_of"]

_WORD = "sentinel_a8f3e2b1"
_INLINE = "content"
_KEYS = ("reasoning_content", "reasoning", "thinking", _INLINE)
_USER: Message = {"role": "user", "content": "a"}
_ID = "call00001"
_TOOL = {
    "type": "function",
    "function": {"name": _WORD, "description": "", "parameters": {"type": "object", "properties": {}}},
}


@dataclass(frozen=True)
class Abilities:
    """What a template knows."""

    thought: str | None
    """The key of a message under which it reads the thought; `content` where the thought stands before the answer."""
    calls: str | None
    """`object` or `text`: the form of a call's arguments that it reads; None where it writes no calls."""
    results: bool
    """Whether it writes what tools answer."""
    tools: bool
    """Whether it writes which tools there are."""

    def adapted(self, messages: Sequence[Message]) -> list[dict[str, Any]]:
        """Return the messages as the template reads them; raise DataError where it would leave out a part."""
        if messages and messages[0].get("variables", {}).get("tools") and not self.tools:
            raise DataError(_lost("describe tools", "tools", "take the column `tools` out"))
        return [self._adapted(message) for message in messages]

    def _adapted(self, message: Message) -> dict[str, Any]:
        found = {name: value for name, value in message.items() if name != "variables"}
        if message["role"] == "tool" and not self.results:
            raise DataError(_lost("hold what tools answered", "messages of the role tool", "leave such rows out"))
        if message["role"] != "assistant":
            return found
        if message.get("tool_calls"):
            if self.calls is None:
                raise DataError(_lost("call tools", "tool_calls", "leave such rows out"))
            found["tool_calls"] = [_call(call, as_text=self.calls == "text") for call in message["tool_calls"]]
        if thought := found.pop("reasoning_content", None):
            if self.thought is None:
                raise DataError(_lost("hold thoughts", "reasoning_content", "leave prompt.thinking out"))
            found |= _thinking(self.thought, thought, message["content"])
        return found


def _lost(rows: str, part: str, remedy: str) -> str:
    return (
        f"rows {rows}, and the chat template does not write {part}, so they would be lost: choose a model whose "
        f"template does, give prompt.chatTemplate (of prompt.format: Chat), or {remedy}"
    )


def _call(call: dict[str, Any], *, as_text: bool) -> dict[str, Any]:
    if not as_text:
        return call
    function = call["function"]
    return {**call, "function": {**function, "arguments": json.dumps(function["arguments"], ensure_ascii=False)}}


def _thinking(key: str, thought: str, answer: str) -> dict[str, Any]:
    return {"content": f"<think>\n{thought}\n</think>\n\n{answer}"} if key == _INLINE else {key: thought}


@lru_cache(64)
def abilities_of(template: str, special: tuple[tuple[str, str], ...]) -> Abilities:
    """Try a template with these special tokens."""
    trial = _Trial(template, dict(special))
    calls = next((form for form in ("object", "text") if trial.calls(form)), None)
    return Abilities(
        thought=next((key for key in _KEYS if trial.thinks(key)), None),
        calls=calls,
        results=trial.takes_results(calls),
        tools=trial.writes([_USER], tools=[_TOOL]),
    )


@dataclass(frozen=True)
class _Trial:
    template: str
    variables: dict[str, str]

    def writes(self, messages: Sequence[Message], **more: Any) -> bool:  # noqa: ANN401 - a template's
        return _WORD in self._text(messages, **more)

    def thinks(self, key: str) -> bool:
        answer = {"role": "assistant", "content": "b", **_thinking(key, _WORD, "b")}
        if key != _INLINE:
            return self.writes([_USER, answer])
        asked = self._text([_USER], prompt=True)
        return bool(asked) and self._text([_USER, answer]).startswith(f"{asked}{_WORD}")

    def calls(self, form: str) -> bool:
        return self.writes(_called(_WORD, "d", form)) and self.writes(_called("b", _WORD, form))

    def takes_results(self, calls: str | None) -> bool:
        result = {"role": "tool", "name": "b", "tool_call_id": _ID, "content": _WORD}
        return self.writes([*(_called("b", "d", calls) if calls else [_USER]), result])

    def _text(self, messages: Sequence[Message], *, prompt: bool = False, **more: Any) -> str:  # noqa: ANN401
        try:
            return render(self.template, messages, {**self.variables, **more}, prompt=prompt).text
        except PromptError:
            return ""


def _called(name: str, value: str, form: str) -> list[Message]:
    arguments: Any = {"c": value} if form == "object" else json.dumps({"c": value})
    call = {"type": "function", "id": _ID, "function": {"name": name, "arguments": arguments}}
    return [_USER, {"role": "assistant", "content": "", "tool_calls": [call]}]
