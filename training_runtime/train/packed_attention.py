"""Attention inside a pack of rows, where FlashAttention is not installed.

Transformers' SDPA computes the whole square of a pack and masks what lies between its rows; here every row is a causal
square of its own, so that a pack costs what its rows cost. The same sums, but for the order of additions.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

__all__ = ["register_packed_attention"]

_NAME = "sdpa_packed"


def register_packed_attention() -> str:
    """Make it known to transformers; return the name under which a model is loaded with it."""
    from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, sdpa_mask
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    ALL_ATTENTION_FUNCTIONS.register(_NAME, _attend)
    ALL_MASK_ATTENTION_FUNCTIONS.register(_NAME, sdpa_mask)
    return _NAME


def _attend(
    module: "torch.nn.Module",
    query: "torch.Tensor",
    key: "torch.Tensor",
    value: "torch.Tensor",
    attention_mask: "torch.Tensor | None",
    dropout: float = 0.0,
    scaling: float | None = None,
    **kwargs: Any,  # noqa: ANN401 - whatever the model's layers hand on
) -> "tuple[torch.Tensor, None]":
    """As transformers' `sdpa_attention_forward`; query, key and value are batch x heads x tokens x head size.

    A batch of several rows, a sliding window and a cache are left to it.
    """
    import torch
    from torch.nn.functional import scaled_dot_product_attention
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    lengths = _row_lengths(kwargs.get("position_ids"))
    if sum(lengths) != key.shape[2] or query.shape[2] != key.shape[2] or kwargs.get("sliding_window"):
        masked: tuple[torch.Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout, scaling, **kwargs
        )
        return masked
    rows = zip(query.split(lengths, 2), key.split(lengths, 2), value.split(lengths, 2), strict=True)
    attended = [
        scaled_dot_product_attention(*row, dropout_p=dropout, is_causal=True, scale=scaling, enable_gqa=True)
        for row in rows
    ]
    return torch.cat(attended, 2).transpose(1, 2).contiguous(), None


def _row_lengths(position_ids: "torch.Tensor | None") -> list[int]:
    """The lengths of the rows in a pack, [] for anything else; asked of the device once a batch, not once a layer."""
    if position_ids is None or position_ids.shape[0] != 1:
        return []
    known: list[int] | None = getattr(position_ids, "row_lengths", None)
    if known is None:
        starts = position_ids[0].eq(0).nonzero()[:, 0].tolist()
        known = [end - start for start, end in zip(starts, [*starts[1:], position_ids.shape[1]], strict=True)]
        setattr(position_ids, "row_lengths", known)  # noqa: B010 - a tensor declares no such attribute
    return known
