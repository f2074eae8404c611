"""The loss of each row, without ever holding a row's logits whole.

A vocabulary of 152,000 makes 25 GB of logits from 16,384 tokens. So the model's head is given the hidden states of a
few tokens at a time, and only of those that are learnt. What a model does to its logits after the head (a scale, a soft
cap) is its own code still: the head's input is exchanged while the model runs, on one token.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

__all__ = ["losses"]

_BATCH_TOKENS = 16384
_LOGITS_BYTES = 1 << 30
_BYTES_PER_LOGIT = 12
"""As the head gives it, in 32 bit, and as its logarithm."""

Row = tuple[list[int], list[int]]


def losses(
    model: "PreTrainedModel", rows: Sequence[Row], logits_bytes: int = _LOGITS_BYTES
) -> Iterator[tuple[float, int]]:
    """Yield each row's summed loss and how many tokens it is of; rows are token ids and labels."""
    import torch

    at_once = max(1, logits_bytes // (_BYTES_PER_LOGIT * model.get_output_embeddings().weight.shape[0]))
    for part in _batches(rows):
        ids, labels, mask = _padded(part, model.device)
        wanted = labels[:, 1:]
        learnt = wanted != -100
        counts = learnt.sum(dim=1).tolist()
        with torch.inference_mode():
            states = _hidden_states(model, ids, mask)[:, :-1][learnt]
            each = _token_losses(model, states, wanted[learnt], at_once)
        yield from ((float(tokens.sum()), count) for tokens, count in zip(each.split(counts), counts, strict=True))


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


def _batches(rows: Sequence[Row]) -> Iterator[list[Row]]:
    batch: list[Row] = []
    for row in rows:
        if batch and max(len(row[0]), *(len(ids) for ids, _ in batch)) * (len(batch) + 1) > _BATCH_TOKENS:
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch
