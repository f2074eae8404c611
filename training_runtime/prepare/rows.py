"""Reading rows and rendering them as chat: what cannot be used is set aside with its line and reason, never dropped."""

import gzip
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training_runtime.errors import DataError

__all__ = ["Example", "Rejected", "Row", "at_path", "read_rows", "render"]

Message = dict[str, str]


@dataclass(frozen=True)
class Row:
    """One parsed line."""

    line: int
    content: dict[str, Any]


@dataclass(frozen=True)
class Rejected:
    """One line that could not be used."""

    line: int
    reason: str


@dataclass(frozen=True)
class Example:
    """One training example: the conversation up to the answer, and the answer."""

    prompt: list[Message]
    completion: str
    stratum: str

    @property
    def text(self) -> str:
        """What is compared when repetitions are looked for: what the user said and the answer."""
        return "\n".join(message["content"] for message in self.prompt) + "\n" + self.completion


def read_rows(path: Path) -> Iterator[Row | Rejected]:
    """Yield each line of a JSON Lines file, plain or gzip; raise DataError where the file as a whole is unreadable."""
    opener = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rt", encoding="utf-8-sig") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield _parse(number, line)
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise DataError(f"the dataset {path.name} cannot be read as UTF-8 JSON Lines: {error}") from error


def _parse(number: int, line: str) -> Row | Rejected:
    try:
        content = json.loads(line)
    except ValueError as error:
        return Rejected(number, f"not JSON: {error}")
    except RecursionError:
        return Rejected(number, "nested too deeply")
    return Row(number, content) if isinstance(content, dict) else Rejected(number, "not a JSON object")


def render(row: Row, template: str, stratify_by: str | None) -> Example | Rejected:
    """Return the row as chat, or why it cannot be."""
    try:
        prompt, completion = _messages(row.content) if template == "messages" else _instruction_io(row.content)
        stratum = str(at_path(row.content, stratify_by)) if stratify_by else ""
    except KeyError as error:
        return Rejected(row.line, f"has no {error.args[0]}")
    except TypeError as error:
        return Rejected(row.line, str(error))
    if not completion.strip():
        return Rejected(row.line, "the answer is empty")
    return Example(prompt, completion, stratum)


def at_path(content: dict[str, Any], path: str) -> object:
    """Return what a dotted path points at; raise KeyError with the path where there is nothing."""
    value: Any = content
    for part in path.split("."):
        if not isinstance(value, dict) or part not in value:
            raise KeyError(path)
        value = value[part]
    return value


def _messages(content: dict[str, Any]) -> tuple[list[Message], str]:
    messages = at_path(content, "messages")
    if not isinstance(messages, list) or len(messages) < 2:
        raise TypeError("`messages` must be a list of at least a question and an answer")
    chat = [{"role": str(at_path(m, "role")), "content": _text(at_path(m, "content"))} for m in messages]
    if chat[-1]["role"] != "assistant":
        raise TypeError("the last of `messages` must be the assistant's answer")
    return chat[:-1], chat[-1]["content"]


def _instruction_io(content: dict[str, Any]) -> tuple[list[Message], str]:
    question = _text(at_path(content, "instruction"))
    if content.get("input"):
        question += "\n" + _text(content["input"])
    return [{"role": "user", "content": question}], _text(at_path(content, "output"))


def _text(value: object) -> str:
    """A text as it is; an object or list as JSON, one form for training, evaluation and serving."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
