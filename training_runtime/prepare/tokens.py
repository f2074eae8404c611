"""From conversations to the token ids and labels that training reads, cut to the plan's length.

What is learnt is told by `rows.prompting`. A conversation's prompt and its last answer are encoded apart where a token
would reach from one into the other: a server reads the prompt alone, too. Plain text is encoded whole, and what is
longer than a row may be goes on in the next.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from training_runtime.errors import StageError
from training_runtime.rows.conversations import Message
from training_runtime.rows.prompting import Example, Prompting, Span, start_of

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = ["IGNORED", "Encoded", "Encoder"]

IGNORED = -100
"""The label of a token that is not learnt, as in Transformers."""

_COMPARED_ROWS = 32
"""Rows of each block that are encoded by both libraries."""


@dataclass(frozen=True)
class Encoded:
    """One training example."""

    messages: list[Message]
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
        self._prompting = Prompting(tokenizer)
        self._around = (start_of(tokenizer), str(tokenizer.eos_token or ""))
        self._limit = limit
        self._answers_only = answers_only
        self._fast = _fast_encode(tokenizer.backend_tokenizer.to_str())

    def encode(
        self, conversations: Sequence[list[Message]], places: Sequence[str] = (), refuse: "_Refuse | None" = None
    ) -> Iterator[list[Encoded]]:
        """Yield what each conversation comes to; nothing where `refuse` was told that the template cannot write it.

        Raises the first's reason, with its place, where nobody is to be told, or where all cannot be written.
        """
        written: list[list[Example]] = []
        failed: list[tuple[int, StageError]] = []
        for number, messages in enumerate(conversations):
            try:
                written.append(self._written(messages))
            except StageError as error:
                written.append([])
                failed.append((number, error))
        if failed and (refuse is None or len(failed) == len(written)):
            number, first = failed[0]
            raise type(first)(f"{places[number]}: {first}" if places else str(first)) from first
        for number, reason in failed:
            if refuse:
                refuse(number, str(reason))
        compared = [example.text for examples in written[:_COMPARED_ROWS] for example in examples]
        encode = self._fast if self._fast and self._agrees(compared) else self._slow
        for examples in written:
            if examples and examples[0].messages[-1]["role"] == "text":
                yield self._chunks(encode, examples[0])
            else:
                yield [self._encoded(encode, example) for example in examples]

    def _written(self, messages: list[Message]) -> list[Example]:
        if messages[-1]["role"] != "text":
            return self._prompting.examples(messages)
        start, end = self._around
        text = f"{start}{messages[-1]['content']}{end}"
        return [Example(messages, text, [(0, len(text))], 0)]

    def _agrees(self, texts: list[str]) -> bool:
        if self._fast is None:
            return False
        known = self._tokenizer.backend_tokenizer.encode_batch(texts, add_special_tokens=False)
        return all(self._fast(text) == one.ids for text, one in zip(texts, known, strict=True))

    def _slow(self, text: str) -> list[int]:
        return list(self._tokenizer.backend_tokenizer.encode(text, add_special_tokens=False).ids)

    def _chunks(self, encode: "_Encode", example: Example) -> list[Encoded]:
        """All of a document, in rows of the greatest length; the last ends with the end mark."""
        ids = encode(example.text)
        parts = [ids[first : first + self._limit] for first in range(0, len(ids), self._limit)]
        if len(parts) == 1:
            return [Encoded(example.messages, ids, ids, len(ids))]
        return [Encoded(self._read_back(part), part, part, len(part)) for part in parts]

    def _read_back(self, ids: list[int]) -> list[Message]:
        return [{"role": "text", "content": self._tokenizer.decode(ids, skip_special_tokens=True)}]

    def _encoded(self, encode: "_Encode", example: Example) -> Encoded:
        text, border = example.text, example.prompt
        before, after = text[:border], text[border:]
        found = _by_parts(encode, text, example.learnt)
        if not (found and [span[0] for span in example.learnt] == [border]):
            prompt, whole = encode(before), encode(text)
            if whole[: len(prompt)] == prompt:
                found = found or self._by_offsets(text, example.learnt)
            else:  # a token would reach from the prompt into the answer, and who asks has the prompt alone
                early = [span for span in example.learnt if span[1] <= border]
                late = [(start - border, end - border) for start, end in example.learnt[len(early) :]]
                parts = [self._labelled(encode, before, early), self._labelled(encode, after, late)]
                found = parts[0][0] + parts[1][0], parts[0][1] + parts[1][1]
        ids, labels = found
        if not self._answers_only:
            labels = ids
        return Encoded(example.messages, ids[: self._limit], labels[: self._limit], len(ids))

    def _labelled(self, encode: "_Encode", text: str, spans: list[Span]) -> tuple[list[int], list[int]]:
        return _by_parts(encode, text, spans) or self._by_offsets(text, spans)

    def _by_offsets(self, text: str, spans: list[Span]) -> tuple[list[int], list[int]]:
        found = self._tokenizer.backend_tokenizer.encode(text, add_special_tokens=False)
        ids = list(found.ids)
        learnt = bytearray(len(text) + 1)
        for start, end in spans:
            learnt[start:end] = b"\1" * (end - start)
        begins = [begin for begin, _ in found.offsets]  # a token that began before the answer is not learnt
        return ids, [token if learnt[begin] else IGNORED for token, begin in zip(ids, begins, strict=True)]


_Encode = Callable[[str], list[int]]
_Refuse = Callable[[int, str], None]


def _fast_encode(definition: str) -> _Encode | None:
    from kitoken import Kitoken

    try:
        made = Kitoken.from_tokenizers(definition.encode())
    except Exception:  # noqa: BLE001 - its errors share no base, and the other library is always there
        return None
    return lambda text: list(made.encode(text, True))


def _by_parts(encode: _Encode, text: str, spans: list[Span]) -> tuple[list[int], list[int]] | None:
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
