"""From a row to a conversation: what each template reads, and why a row cannot be used."""

from typing import Any

from prompts.fields import Said, plainly_said
from training_runtime.errors import DataError
from training_runtime.plan import ColumnsPlan, DatasetPlan, RowTemplate

from .clean import cleaner_of
from .conversations import Conversation, Message, Part, Rejected, at_path
from .messages import as_text, message_of, tools_of, without_thought
from .prompting import field_text

__all__ = ["Renderer", "detected_template"]

_Read = tuple[list[Message], tuple[Part, ...]]
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
        self._cleaner = cleaner_of(plan.clean)
        self._prompt = plan.prompt
        self._fields = field_text(plan.prompt, plan.columns)
        system = plan.prompt.system_prompt
        self._system = [{"role": "system", "content": system}] if system else []
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
            messages, parts = self._read(row)
            label = str(at_path(row, self._label)) if self._label else ""
            group = str(at_path(row, self._columns.group)) if self._columns.group else ""
        except KeyError as error:
            raise Rejected("incomplete", f"has no {error.args[0]}") from error
        if not messages[-1]["content"].strip() and not messages[-1].get("tool_calls"):
            raise Rejected("incomplete", "the answer is empty")
        return Conversation(messages, parts, label, group)

    def _messages(self, row: dict[str, Any]) -> _Read:
        found = row["messages"] if "messages" in row else at_path(row, "conversations")
        if not isinstance(found, list) or len(found) < 2:
            raise Rejected("incomplete", "`messages` must be a list of at least a question and an answer")
        chat = [message_of(item, self._prompt.thinking, self._cleaner) for item in found]
        if chat[-1]["role"] != "assistant":
            raise Rejected("incomplete", "the last of `messages` must be the assistant's answer")
        if self._system and chat[0]["role"] != "system":
            chat = [*self._system, *chat]
        parts = tuple(Part(turn) for turn, message in enumerate(chat[:-1]) if message["role"] != "system")
        return _carrying(chat, {**tools_of(row), **self._context(row)}), parts

    def _instruction(self, row: dict[str, Any]) -> _Read:
        instruction = as_text(at_path(row, self._columns.instruction or "instruction"))
        try:
            given = as_text(at_path(row, self._columns.input or "input"))
        except KeyError:
            given = ""
        given = self._cleaner(given)
        answer = as_text(at_path(row, self._columns.output or "output"))
        return self._chat(row, instruction, given, answer, own=given or instruction)

    def _question_answer(self, row: dict[str, Any]) -> _Read:
        question = self._cleaner(as_text(_first(row, self._columns.input, _QUESTION)))
        answer = as_text(_first(row, self._columns.output, _ANSWER))
        instruction = as_text(at_path(row, self._columns.instruction)) if self._columns.instruction else ""
        return self._chat(row, instruction, question, answer, own=question)

    def _text(self, row: dict[str, Any]) -> _Read:
        text = self._cleaner(as_text(at_path(row, self._columns.input or "text")))
        return [{"role": "text", "content": text}], (Part(0),)

    def _chat(self, row: dict[str, Any], instruction: str, given: str, answer: str, *, own: str) -> _Read:
        """The conversation whose question ends with what is the row's own."""
        said, variables = self._said(instruction, given)
        reply = without_thought({"role": "assistant", "content": answer}, self._prompt.thinking)
        chat = [*self._system, {"role": "user", "content": said}, reply]
        part = Part(len(self._system), len(said) - len(own))
        return _carrying(chat, {**variables, **self._context(row)}), (part,)

    def _said(self, instruction: str, given: str) -> Said:
        """What a client would say for this row, and what it would give by name beside it."""
        fields = self._fields
        if fields is None:
            return plainly_said(instruction, given)
        if (
            fields.reads_instruction
            and fields.reads_input
            and not instruction
            and "instruction" not in self._prompt.defaults
        ):
            raise Rejected(
                "incomplete",
                "has no instruction: give prompt.defaults.instruction a value, or set dataset.columns.instruction",
            )
        return fields.said(instruction, given)

    def _context(self, row: dict[str, Any]) -> dict[str, str]:
        found: dict[str, str] = {}
        for path in self._columns.context:
            name = path.rpartition(".")[2]
            try:
                value = as_text(at_path(row, path))
            except KeyError:
                value = ""
            if value:
                found[name] = value
            elif name not in self._prompt.defaults:
                raise Rejected("incomplete", f"has no {path}: give prompt.defaults.{name} a value for such rows")
        return found


def _carrying(messages: list[Message], variables: dict[str, Any]) -> list[Message]:
    return [{**messages[0], "variables": variables}, *messages[1:]] if variables else messages


def _first(row: dict[str, Any], path: str | None, names: tuple[str, ...]) -> Any:  # noqa: ANN401 - see at_path
    if path:
        return at_path(row, path)
    for name in names:
        if name in row:
            return row[name]
    raise KeyError(" or ".join(names))
