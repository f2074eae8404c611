"""The loss of each row, without ever holding a row's logits whole.

A vocabulary of 152,000 makes 25 GB of logits from 16,384 tokens. So the model's head is given the hidden states of a
few tokens at a time, and only of those that are learnt. What a model does to its logits after the head (a scale, a soft
cap) is its own code still: the head's input is exchanged while the model runs, on one token.

A batch is as large as the memory that the model leaves free; what a model takes beyond what is reckoned here (experts,
attention that is not fused) is met by halving it.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

__all__ = ["Portions", "losses", "portions"]

_BATCH_TOKENS = 16384
_LOGITS_BYTES = 1 << 30
_BYTES_PER_LOGIT = 12
"""As the head gives it, in 32 bit, and as its logarithm."""
_HIDDEN_AT_ONCE, _INTERMEDIATE_AT_ONCE = 6, 3
"""What one layer holds of a token at a time: its input, that beside norms, queries and pairs; the gated MLP's."""

Row = tuple[list[int], list[int]]


class Portions(NamedTuple):
    """How many tokens go through the layers together, and how many through the head; and the bytes of one."""

    hidden: int
    logits: int
    hidden_bytes: int
    logit_bytes: int

    @property
    def taken(self) -> int:
        """The bytes that both take."""
        return self.hidden * self.hidden_bytes + self.logits * self.logit_bytes


def portions(model: "PreTrainedModel", room: int, most_logits: int = _LOGITS_BYTES) -> Portions:
    """Share `room` bytes out: a third to the layers, a third to the head, and the rest to what is not reckoned here.

    Neither gets more than it gains from.
    """
    text = model.config.get_text_config()
    width = int(text.hidden_size)
    inner = int(getattr(text, "intermediate_size", None) or 4 * width)
    hidden_bytes = model.dtype.itemsize * (_HIDDEN_AT_ONCE * width + _INTERMEDIATE_AT_ONCE * inner)
    logit_bytes = _BYTES_PER_LOGIT * int(model.get_output_embeddings().weight.shape[0])
    return Portions(
        hidden=max(1, min(_BATCH_TOKENS, room // 3 // hidden_bytes)),
        logits=max(1, min(room // 3, most_logits) // logit_bytes),
        hidden_bytes=hidden_bytes,
        logit_bytes=logit_bytes,
    )


def losses(
    model: "PreTrainedModel", rows: Sequence[Row], portion: Portions | None = None
) -> Iterator[tuple[float, int]]:
    """Yield each row's summed loss and how many tokens it is of; rows are token ids and labels."""
    portion = portion or portions(model, _room(model))
    for part in _batches(rows, portion.hidden):
        yield from _together(model, part, portion.logits)


def _room(model: "PreTrainedModel") -> int:
    """The bytes that the model leaves free; without a GPU as much as the largest portions take."""
    import torch

    if model.device.type != "cuda":
        return 3 * max(_LOGITS_BYTES, _BATCH_TOKENS * portions(model, 0).hidden_bytes)
    unused = torch.cuda.memory_reserved(model.device) - torch.cuda.memory_allocated(model.device)
    return int(torch.cuda.mem_get_info(model.device)[0] + unused)


def _together(model: "PreTrainedModel", rows: list[Row], at_once: int) -> list[tuple[float, int]]:
    """Sum rows' losses together, or in halves where the GPU's memory does not hold them; one alone has to fit."""
    import torch

    try:
        return _summed(model, rows, at_once)
    except torch.OutOfMemoryError:
        if len(rows) == 1:
            raise
    torch.cuda.empty_cache()  # not while the error still holds what it was computing with
    half = len(rows) // 2
    return [*_together(model, rows[:half], at_once), *_together(model, rows[half:], at_once)]


def _summed(model: "PreTrainedModel", rows: list[Row], at_once: int) -> list[tuple[float, int]]:
    import torch

    ids, labels, mask = _padded(rows, model.device)
    wanted = labels[:, 1:]
    learnt = wanted != -100
    counts = learnt.sum(dim=1).tolist()
    with torch.inference_mode():
        states = _hidden_states(model, ids, mask)[:, :-1][learnt]
        each = _token_losses(model, states, wanted[learnt], at_once)
    return [(float(tokens.sum()), count) for tokens, count in zip(each.split(counts), counts, strict=True)]


def _hidden_states(model: "PreTrainedModel", ids: "torch.Tensor", mask: "torch.Tensor") -> "torch.Tensor":
    """What the model would give its head; the head itself gets one token of each row."""
    found: list[torch.Tensor] = []

    def keep(states: "torch.Tensor") -> "torch.Tensor":
        found.append(states)
        return states[:, -1:]

    with _head_given(model, keep):
        model(input_ids=ids, attention_mask=mask, use_cache=False)
    return found[0]


def _token_losses(
    model: "PreTrainedModel", states: "torch.Tensor", wanted: "torch.Tensor", at_once: int
) -> "torch.Tensor":
    import torch
    from torch.nn.functional import cross_entropy

    one = torch.zeros((1, 1), dtype=torch.long, device=model.device)
    found = [torch.zeros(0, device=model.device)]
    for some, labels in zip(states.split(at_once), wanted.split(at_once), strict=True):
        if not len(labels):
            continue
        with _head_given(model, lambda _, some=some: some[None]):
            logits = model(input_ids=one, use_cache=False).logits[0]
        found.append(cross_entropy(logits.float(), labels, reduction="none"))
    return torch.cat(found)


@contextmanager
def _head_given(model: "PreTrainedModel", exchange: Any) -> Iterator[None]:  # noqa: ANN401 - a tensor for a tensor
    """Have the model's head get what `exchange` makes of its input."""
    hook = model.get_output_embeddings().register_forward_pre_hook(lambda _, given: (exchange(given[0]), *given[1:]))
    try:
        yield
    finally:
        hook.remove()


def _padded(rows: list[Row], device: "torch.device") -> "tuple[torch.Tensor, torch.Tensor, torch.Tensor]":
    """Ids, labels and the mask, filled up to the longest row."""
    import torch

    longest = max(len(ids) for ids, _ in rows)
    ids = torch.tensor([ids + [0] * (longest - len(ids)) for ids, _ in rows], device=device)
    labels = torch.tensor([labels + [-100] * (longest - len(labels)) for _, labels in rows], device=device)
    mask = torch.tensor([[1] * len(ids) + [0] * (longest - len(ids)) for ids, _ in rows], device=device)
    return ids, labels, mask


def _batches(rows: Sequence[Row], most: int) -> Iterator[list[Row]]:
    batch: list[Row] = []
    for row in rows:
        if batch and max(len(row[0]), *(len(ids) for ids, _ in batch)) * (len(batch) + 1) > most:
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch
