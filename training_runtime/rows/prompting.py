"""Conversations through the one chat template: as examples to learn from, and as prompts to be answered.

Both go the same way, so that what is asked is what was learnt: an example's text begins with its prompt, character by
character, and what is learnt begins where the prompt ends.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from prompts.fields import FieldText
from prompts.rendering import PromptError, Rendered, is_marked, render
from prompts.template import chat_template, text_template
from prompts.thinking import opens_thought
from training_runtime.errors import DataError, PlanError
from training_runtime.plan import ColumnsPlan, PromptPlan

from .abilities import Abilities, abilities_of
from .conversations import Message

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = ["Example", "Prompting", "Span", "field_text", "template_of"]

Span = tuple[int, int]
_NO_TEMPLATE = (
    "the base's tokenizer has no chat template: set prompt.format: Text, with a prompt.text of your own or Alpaca's, "
    "give prompt.chatTemplate, or choose an instruction-tuned model"
)


@dataclass(frozen=True)
class Example:
    """A conversation as text, up to one answer or all of them."""

    messages: list[Message]
    text: str
    learnt: list[Span]
    """The characters that are the assistant's own, each with its end mark."""
    prompt: int
    """How many characters the last answer's prompt has."""


def field_text(prompt: PromptPlan, columns: ColumnsPlan) -> FieldText | None:
    """Return what a user's turn looks like, None where it is the message; raise PlanError where it cannot be."""
    context = [path.rpartition(".")[2] for path in columns.context]
    try:
        return FieldText.of_prompt(prompt.format, prompt.text, prompt.text_without_input, context, prompt.defaults)
    except PromptError as error:
        raise PlanError(str(error)) from error


def template_of(
    prompt: PromptPlan, columns: ColumnsPlan, source: str | None, tokenizer: "PreTrainedTokenizerBase"
) -> str | None:
    """Return the one chat template, from the tokenizer's or the user's; None where there is neither."""
    fields = field_text(prompt, columns)
    try:
        if prompt.format == "Text" and fields:
            end, system = str(tokenizer.eos_token or ""), prompt.system_prompt
            return text_template(fields, start=start_of(tokenizer), end=end, system=system)
        return chat_template(source, prompt.thinking, fields, system=prompt.system_prompt) if source else None
    except PromptError as error:
        raise PlanError(str(error)) from error


def start_of(tokenizer: "PreTrainedTokenizerBase") -> str:
    """Return what the tokenizer begins a text with on its own, as servers have it do for plain completions."""
    start = tokenizer.bos_token
    ids = tokenizer.backend_tokenizer.encode("a").ids
    return str(start) if start and ids[:1] == [tokenizer.convert_tokens_to_ids(start)] else ""


class Prompting:
    """Renders conversations for one tokenizer, whose chat template is the one that `template_of` made."""

    def __init__(self, tokenizer: "PreTrainedTokenizerBase") -> None:
        self._template = str(tokenizer.chat_template or "")
        self._special = {name: str(token) for name, token in tokenizer.special_tokens_map.items()}
        self._key = tuple(sorted(self._special.items()))
        self._end = str(tokenizer.eos_token or "")
        added = tokenizer.added_tokens_decoder.values()
        # Tags like </think> and </tool_call> are tokens of their own, too, and end no turn.
        self._marks = tuple({str(token) for token in added if token.special or not str(token).startswith("</")})

    def prompt(self, messages: Sequence[Message]) -> str:
        """Return what a model reads before it answers; `messages` are those before the answer."""
        return self._render(messages, prompt=True).text

    def end_mark(self) -> str | None:
        """Return the token by which an answer ends, None where that cannot be told without a row."""
        plain: Message = {"role": "assistant", "content": "b"}
        for answer in (plain, {**plain, "reasoning_content": "c"}):
            try:
                [example] = self.examples([{"role": "user", "content": "a"}, answer])
            except (DataError, PlanError):
                continue
            learnt = example.text[slice(*example.learnt[-1])]
            return max((mark for mark in self._marks if learnt.endswith(mark)), key=len, default=None)
        return None

    def examples(self, messages: list[Message]) -> list[Example]:
        """Return the conversation as one example, or as one for each answer; raise DataError where it has no answer.

        The latter where the template writes an earlier answer, or what stands before it, otherwise once another turn
        follows: then only the last of a text is read as it will be when it is asked for.
        """
        turns = [turn for turn, message in enumerate(messages) if message["role"] == "assistant"]
        asked = next(
            (turn for turn, message in enumerate(messages) if message["role"] in {"user", "tool"}), len(messages)
        )
        turns = [turn for turn in turns if turn > asked] or turns  # a greeting answers nothing
        if len(turns) > 1 and (example := self._example(messages, turns)):
            return [example]
        return [self._last_alone(messages[: turn + 1]) for turn in turns]

    def _last_alone(self, messages: list[Message]) -> Example:
        example = self._example(messages, [len(messages) - 1])
        if example is None:
            raise DataError(self._why_not(messages))
        return example

    def _example(self, messages: list[Message], turns: list[int]) -> Example | None:
        """An example that teaches these turns, None where it cannot teach all of them."""
        whole = self._render(messages)
        starts = [start for turn in turns if (start := self._start(whole.text, messages[:turn])) is not None]
        spans = self._spans(whole, messages, turns, starts) if len(starts) == len(turns) else None
        if spans is None:
            return None
        text, learnt = whole.text, list[Span]()
        for turn, (start, following) in zip(turns, pairwise([*starts, len(text) + 1]), strict=True):
            mine = [span for span in spans if start <= span[0] < following]
            if not mine or not _is_written(messages[turn], text[start:following]):
                return None
            text, ended = self._ended(text, mine[-1])
            learnt += [*mine[:-1], ended]
        return Example(messages, text, learnt, starts[-1])

    def _start(self, text: str, before: Sequence[Message]) -> int | None:
        prompt = self.prompt(before)
        return len(prompt) if text.startswith(prompt) else None

    def _spans(
        self, whole: Rendered, messages: list[Message], turns: list[int], starts: list[int]
    ) -> list[Span] | None:
        """What is the assistant's: by the template's marks, else up to where the text that ends with it ends."""
        if is_marked(self._template):
            return _clipped(whole.marked, starts)
        spans: list[Span] = []
        for turn, start in zip(turns, starts, strict=True):
            until = whole.text if turn == len(messages) - 1 else self._render(messages[: turn + 1]).text
            if not whole.text.startswith(until):
                return None
            spans.append((start, len(until)))
        return spans

    def _ended(self, text: str, span: Span) -> tuple[str, Span]:
        """The answer with its end mark, which a template may write before the next turn alone, or not at all."""
        start, end = span
        written = text[:end].rstrip()
        if written.endswith(self._marks):
            return text, (start, len(written))
        rest = text[end:]
        begun = rest.lstrip()
        if mark := max((mark for mark in self._marks if begun.startswith(mark)), key=len, default=""):
            return text, (start, end + len(rest) - len(begun) + len(mark))
        if begun or not self._end:
            raise DataError(
                "the chat template ends no answer before the next turn begins, so the model would not learn to stop: "
                "end each of the assistant's turns with the end mark in prompt.chatTemplate"
            )
        return text[:end] + self._end, (start, end + len(self._end))

    def _render(self, messages: Sequence[Message], *, prompt: bool = False) -> Rendered:
        variables: dict[str, Any] = messages[0].get("variables", {}) if messages else {}
        try:
            return render(
                self._template, self._abilities().adapted(messages), {**self._special, **variables}, prompt=prompt
            )
        except PromptError as error:
            raise PlanError(str(error)) from error

    def _abilities(self) -> Abilities:
        if not self._template:
            raise PlanError(_NO_TEMPLATE)
        return abilities_of(self._template, self._key)

    def _why_not(self, messages: list[Message]) -> str:
        text, prompt = self._render(messages).text, self.prompt(messages[:-1])
        if text.startswith(prompt):
            return (
                f"the chat template renders no answer from {text[:80]!r}: choose a model whose template has an "
                "assistant's turn, or give prompt.chatTemplate"
            )
        if opens_thought(prompt):
            return (
                "the chat template opens a thought before each answer, and a row's answer has none: give each answer "
                "its thought (reasoning_content) and set prompt.thinking: Keep, choose a model whose template can "
                "leave thoughts out, or give prompt.chatTemplate"
            )
        return (
            "the chat template writes an answer otherwise than it asks for one, so what is learnt would not be what is "
            "asked: give a prompt.chatTemplate whose add_generation_prompt writes how the assistant's turns begin"
        )


def _is_written(message: Message, text: str) -> bool:
    """Whether a turn's text holds all that its message says."""
    return message["content"].strip() in text and message.get("reasoning_content", "").strip() in text


def _clipped(marked: Sequence[Span], starts: Sequence[int]) -> list[Span]:
    """Marks, without what the prompts wrote already; those that touch each other are one."""
    found: list[Span] = []
    for start, end in marked:
        begun = [first for first in starts if first < end]
        if not begun:
            continue
        start = max(start, begun[-1])
        if found and found[-1][1] == start and start not in starts:
            found[-1] = (found[-1][0], end)
        elif end > start:
            found.append((start, end))
    return found
