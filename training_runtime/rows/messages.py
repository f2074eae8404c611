"""One message of a row, in the form that chat templates read: roles, thoughts, and calls of tools."""

import json
from collections.abc import Callable
from typing import Any

from prompts.thinking import parted
from training_runtime.plan import Thinking

from .conversations import Message, Rejected, at_path

__all__ = ["as_text", "message_of", "tools_of", "without_thought"]

_ROLES = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "system": "system",
    "developer": "system",
    "tool": "tool",
}
_THOUGHTS = ("reasoning_content", "reasoning", "thinking")
"""The names that data sets give a message's thought."""


def message_of(item: Any, thinking: Thinking, clean: Callable[[str], str]) -> Message:  # noqa: ANN401 - a row's
    """Return an item of `messages`; raise Rejected where it is none."""
    if not isinstance(item, dict):
        raise Rejected("unreadable", "a message must be an object with role and content")
    named = str(item["role"] if "role" in item else at_path(item, "from"))
    role = _ROLES.get(named)
    if role is None:
        raise Rejected("unreadable", f"the role {named!r} is none of system, user, assistant and tool")
    calls = item.get("tool_calls")
    content = item["content"] if "content" in item else "" if calls else at_path(item, "value")
    message: Message = {"role": role, "content": as_text(content)}
    if role == "user":
        message["content"] = clean(message["content"])
    if role == "tool":
        message |= {name: item[name] for name in ("name", "tool_call_id") if item.get(name)}
    if role != "assistant":
        return message
    if calls:
        message["tool_calls"] = [_call(call) for call in _parsed(calls, "tool_calls")]
    thought = next((as_text(item[name]) for name in _THOUGHTS if item.get(name)), "")
    return without_thought({**message, "reasoning_content": thought} if thought else message, thinking)


def without_thought(message: Message, thinking: Thinking) -> Message:
    """Return an assistant's message with its thought, of whichever form, as `reasoning_content`; None leaves it out."""
    inline, content = parted(message["content"])
    thought = message.get("reasoning_content") or inline
    found = {**message, "content": content}
    found.pop("reasoning_content", None)
    return {**found, "reasoning_content": thought} if thought and thinking == "Keep" else found


def tools_of(row: dict[str, Any]) -> dict[str, Any]:
    """Return the tools that a row describes, as a variable of the chat template."""
    found = _parsed(row["tools"], "tools") if row.get("tools") else []
    return {"tools": found} if found else {}


def _call(call: Any) -> dict[str, Any]:  # noqa: ANN401 - a row's
    """Arguments as an object, which most templates take; OpenAI's API writes them as JSON text."""
    function = call.get("function", call) if isinstance(call, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise Rejected("unreadable", "each of `tool_calls` must have a function with a name")
    arguments = function.get("arguments") or {}
    if isinstance(arguments, str):
        arguments = _parsed(arguments, "tool_calls")
    known = {"id": call["id"]} if call.get("id") else {}
    return {**known, "type": "function", "function": {"name": function["name"], "arguments": arguments}}


def _parsed(value: Any, name: str) -> Any:  # noqa: ANN401 - a row's
    """Columns of Parquet and CSV hold lists as JSON text."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError as error:
            raise Rejected("unreadable", f"`{name}` is not JSON: {error}") from error
    if not isinstance(value, (list, dict)):
        raise Rejected("unreadable", f"`{name}` must be a list")
    return value


def as_text(value: object) -> str:
    """A text as it is; an object or list as JSON, one form for training, evaluation and serving."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    return json.dumps(value, ensure_ascii=False)
