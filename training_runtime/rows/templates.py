"""From a row to a conversation: what each template reads, and why a row cannot be used."""

import json
from typing import Any

from training_runtime.errors import DataError
from training_runtime.plan import ColumnsPlan, DatasetPlan, RowTemplate

from .clean import Cleaner
from .conversations import Conversation, Message, Rejected, at_path

__all__ = ["Renderer", "detected_template"]

_ROLES = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "system": "system"}
_QUESTION = ("question", "prompt", "input", "query")
_ANSWER = ("answer", "completion", "response", "output")


def detected_template(row: dict[str, Any], columns: ColumnsPlan) -> RowTemplate:
    """Return the template that a row's columns speak for; raise DataError where they speak for none."""
    names = set(row)
    if names & {"messages", "conversations"}:
        return "Messages"
    if {"instruction", "output"} <= names:
        structured = any(isinstance(row.get(name), (dict, list)) for name in ("input", "output"))
        return "InstructionIO" if structured else "Alpaca"
    if columns.input or (names & set(_QUESTION) and names & set(_ANSWER)):
        return "QuestionAnswer"
    if "text" in names:
        return "Text"
    raise DataError(
        f"no template fits the columns {', '.join(sorted(names))}: set dataset.template and dataset.columns"
    )


class Renderer:
    """Turns rows into conversations by one template."""

    def __init__(self, plan: DatasetPlan, template: RowTemplate) -> None:
        self._columns = plan.columns
        self._label = plan.split.stratify_by or plan.columns.label
        self._cleaner = Cleaner(plan.clean)
        self._system = [{"role": "system", "content": plan.system_prompt}] if plan.system_prompt else []
        self._read = {
            "Messages": self._messages,
            "Alpaca": self._instruction,
            "InstructionIO": self._instruction,
            "QuestionAnswer": self._question_answer,
            "Text": self._text,
        }[template]

    def __call__(self, row: Any) -> Conversation:  # noqa: ANN401 - a row holds anything until it is looked at
        """Return the row's conversation; raise Rejected with the reason where it has none."""
        if not isinstance(row, dict):
            raise Rejected("unreadable", row if isinstance(row, str) else "is not a JSON object")
        try:
            messages, asked = self._read(row)
            label = str(at_path(row, self._label)) if self._label else ""
            group = str(at_path(row, self._columns.group)) if self._columns.group else ""
        except KeyError as error:
            raise Rejected("incomplete", f"has no {error.args[0]}") from error
        if not messages[-1]["content"].strip():
            raise Rejected("incomplete", "the answer is empty")
        return Conversation(messages, asked, label, group)

    def _messages(self, row: dict[str, Any]) -> tuple[list[Message], str]:
        found = row["messages"] if "messages" in row else at_path(row, "conversations")
        if not isinstance(found, list) or len(found) < 2:
            raise Rejected("incomplete", "`messages` must be a list of at least a question and an answer")
        chat = [self._message(item) for item in found]
        if chat[-1]["role"] != "assistant":
            raise Rejected("incomplete", "the last of `messages` must be the assistant's answer")
        if self._system and chat[0]["role"] != "system":
            chat = [*self._system, *chat]
        return chat, "\n".join(message["content"] for message in chat[:-1] if message["role"] != "system")

    def _message(self, item: Any) -> Message:  # noqa: ANN401 - a row holds anything until it is looked at
        if not isinstance(item, dict):
            raise Rejected("unreadable", "a message must be an object with role and content")
        named = str(item["role"] if "role" in item else at_path(item, "from"))
        role = _ROLES.get(named)
        if role is None:
            raise Rejected("unreadable", f"the role {named!r} is none of system, user and assistant")
        content = _as_text(item["content"] if "content" in item else at_path(item, "value"))
        return {"role": role, "content": self._cleaner(content) if role == "user" else content}

    def _instruction(self, row: dict[str, Any]) -> tuple[list[Message], str]:
        instruction = _as_text(at_path(row, self._columns.instruction or "instruction"))
        try:
            given = _as_text(at_path(row, self._columns.input or "input"))
        except KeyError:
            given = ""
        given = self._cleaner(given)
        answer = _as_text(at_path(row, self._columns.output or "output"))
        return self._chat(f"{instruction}\n{given}" if given else instruction, answer), given or instruction

    def _question_answer(self, row: dict[str, Any]) -> tuple[list[Message], str]:
        question = self._cleaner(_as_text(_first(row, self._columns.input, _QUESTION)))
        answer = _as_text(_first(row, self._columns.output, _ANSWER))
        if self._columns.instruction:
            instruction = _as_text(at_path(row, self._columns.instruction))
            return self._chat(f"{instruction}\n{question}", answer), question
        return self._chat(question, answer), question

    def _text(self, row: dict[str, Any]) -> tuple[list[Message], str]:
        text = self._cleaner(_as_text(at_path(row, self._columns.input or "text")))
        return [{"role": "text", "content": text}], text

    def _chat(self, question: str, answer: str) -> list[Message]:
        return [*self._system, {"role": "user", "content": question}, {"role": "assistant", "content": answer}]


def _first(row: dict[str, Any], path: str | None, names: tuple[str, ...]) -> Any:  # noqa: ANN401 - see at_path
    if path:
        return at_path(row, path)
    for name in names:
        if name in row:
            return row[name]
    raise KeyError(" or ".join(names))


def _as_text(value: object) -> str:
    """A text as it is; an object or list as JSON, one form for training, evaluation and serving."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    return json.dumps(value, ensure_ascii=False)
