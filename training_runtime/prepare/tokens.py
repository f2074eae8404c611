"""From conversations to the token ids and labels that training reads, cut to the plan's length.

The tokenizer's own chat template writes the conversation. Which characters are the assistant's is told by the
template's `{% generation %}` marks where it has them, else by writing the conversation up to each answer; the answer's
end mark belongs to it, so that the model learns to stop.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from training_runtime.errors import DataError, PlanError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = ["IGNORED", "Encoded", "Encoder"]

IGNORED = -100
"""The label of a token that is not learnt, as in Transformers."""
_MARKED = re.compile(r"\{%-?\s*generation\s*-?%\}")

_COMPARED_ROWS = 32
"""Rows of each block that are encoded by both libraries."""

Message = dict[str, str]
Span = tuple[int, int]


@dataclass(frozen=True)
class Encoded:
    """One training example."""

    input_ids: list[int]
    labels: list[int]
    length: int
    """In tokens, before it was cut."""


class Encoder:
    """Encodes conversations with one tokenizer.

    Kitoken reads the same `tokenizer.json` and is some eight times as fast as Hugging Face's own library. It is trusted
    block by block: where it gives other ids for a block's first rows, or cannot read the file, the original does it.
    """

    def __init__(self, tokenizer: "PreTrainedTokenizerBase", limit: int, *, answers_only: bool) -> None:
        self._tokenizer = tokenizer
        self._template = str(tokenizer.chat_template or "")
        self._marked = bool(_MARKED.search(self._template))
        self._limit = limit
        self._answers_only = answers_only
        self._fast = _fast_encode(tokenizer.backend_tokenizer.to_str())

    def encode(self, conversations: Sequence[list[Message]]) -> Iterator[Encoded]:
        """Yield each conversation's example; raise DataError where the template renders nothing to learn."""
        written = [self._written(messages) for messages in conversations]
        fast = self._fast if self._agrees([text for text, _ in written[:_COMPARED_ROWS]]) else None
        for text, spans in written:
            if not text or not spans:
                raise DataError(
                    f"the chat template renders no answer from {text[:80]!r}: choose a model whose template has an "
                    "assistant's turn"
                )
            ids, labels = (fast and _by_parts(fast, text, spans)) or self._by_offsets(text, spans)
            if not self._answers_only:
                labels = ids
            yield Encoded(ids[: self._limit], labels[: self._limit], len(ids))

    def _agrees(self, texts: list[str]) -> bool:
        if self._fast is None:
            return False
        known = self._tokenizer.backend_tokenizer.encode_batch(texts, add_special_tokens=False)
        return all(self._fast(text) == one.ids for text, one in zip(texts, known, strict=True))

    def _by_offsets(self, text: str, spans: list[Span]) -> tuple[list[int], list[int]]:
        found = self._tokenizer.backend_tokenizer.encode(text, add_special_tokens=False)
        ids = list(found.ids)
        labels = [IGNORED] * len(ids)
        for start, end in spans:
            first, last = found.char_to_token(start), found.char_to_token(end - 1)
            if first is None or last is None:
                continue
            if found.token_to_chars(first)[0] < start:  # it began before the answer
                first += 1
            labels[first : last + 1] = ids[first : last + 1]
        return ids, labels

    def _written(self, messages: list[Message]) -> tuple[str, list[Span]]:
        """The text as the model reads it, and which parts of it are learnt."""
        if messages[-1]["role"] == "text":
            marks = (str(self._tokenizer.bos_token or ""), str(self._tokenizer.eos_token or ""))
            text = messages[-1]["content"].join(marks)
            return text, [(0, len(text))]
        if not self._marked:
            return self._compared(messages)
        from transformers.utils.chat_template_utils import render_jinja_template

        texts, spans = render_jinja_template(
            conversations=[messages],
            chat_template=self._template,
            return_assistant_tokens_mask=True,
            **self._tokenizer.special_tokens_map,
        )
        return texts[0], [(start, end) for start, end in spans[0] if end > start]

    def _compared(self, messages: list[Message]) -> tuple[str, list[Span]]:
        text = self._render(messages)
        spans: list[Span] = []
        for position, message in enumerate(messages):
            if message["role"] != "assistant":
                continue
            until = self._render(messages[:position], prompt=True)
            whole = self._render(messages[: position + 1])
            if text.startswith(until) and text.startswith(whole.rstrip()):
                spans.append((len(until), len(whole.rstrip())))
            else:
                spans += self._looked_up(text, message["content"].strip(), spans[-1][1] if spans else 0)
        return text, [(start, end) for start, end in spans if end > start]

    def _looked_up(self, text: str, answer: str, after: int) -> list[Span]:
        """A template may write an answer otherwise once another follows: then the answer's own text is looked for."""
        start = text.find(answer, after) if answer else -1
        return [(start, start + len(answer))] if start >= 0 else []

    def _render(self, messages: list[Message], *, prompt: bool = False) -> str:
        from jinja2.exceptions import TemplateError

        try:
            return str(self._tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=prompt))
        except TemplateError as error:
            raise PlanError(f"the model's chat template does not take these messages: {error}") from error


def _fast_encode(definition: str) -> Callable[[str], list[int]] | None:
    from kitoken import Kitoken

    try:
        made = Kitoken.from_tokenizers(definition.encode())
    except Exception:  # noqa: BLE001 - its errors share no base, and the other library is always there
        return None
    return lambda text: list(made.encode(text, True))


def _by_parts(encode: Callable[[str], list[int]], text: str, spans: list[Span]) -> tuple[list[int], list[int]] | None:
    """Ids and labels where each part's own ids make up those of the whole text, so that no token crosses a border."""
    ids: list[int] = []
    labels: list[int] = []
    position = 0
    for start, end in spans:
        before, answer = encode(text[position:start]), encode(text[start:end])
        ids += before + answer
        labels += [IGNORED] * len(before) + answer
        position = end
    rest = encode(text[position:])
    ids += rest
    labels += [IGNORED] * len(rest)
    return (ids, labels) if ids == encode(text) else None
