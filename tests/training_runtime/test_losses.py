"""Losses are the model's own, to five digits, and no tensor holds the logits of many tokens."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch.nn.functional import cross_entropy
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel
from typing_extensions import override

from training_runtime.evaluate.losses import Portions, losses, portions

VOCABULARY = 50_000
SMALL = {
    "vocab_size": VOCABULARY, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
    "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16, "max_position_embeddings": 1024,
    "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
Row = tuple[list[int], list[int]]


@contextmanager
def _model(kind: str, **more: Any) -> Iterator[PreTrainedModel]:
    torch.manual_seed(1)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **SMALL, **more)).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.normal_(std=0.3)
    yield model


def _rows(*lengths: int) -> list[Row]:
    generator = torch.Generator().manual_seed(2)
    made = []
    for length in lengths:
        ids = torch.randint(3, VOCABULARY, (length,), generator=generator).tolist()
        asked = length // 3
        made.append((ids, [-100] * asked + ids[asked:]))
    return made


def _naive(model: PreTrainedModel, rows: list[Row]) -> list[tuple[float, int]]:
    found = []
    for ids, labels in rows:
        with torch.inference_mode():
            logits = model(input_ids=torch.tensor([ids])).logits[0, :-1]
        wanted = torch.tensor(labels[1:])
        loss = cross_entropy(logits.double(), wanted, reduction="sum", ignore_index=-100)
        found.append((loss.item(), int((wanted != -100).sum())))
    return found


class _LargestLogits(TorchDispatchMode):  # type: ignore[misc] # untyped base
    """Keeps the most tokens whose logits any tensor holds."""

    most = 0

    @override
    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = function(*args, **(kwargs or {}))
        for tensor in made if isinstance(made, (tuple, list)) else [made]:
            if isinstance(tensor, torch.Tensor) and tensor.dim() and tensor.shape[-1] == VOCABULARY:
                type(self).most = max(self.most, tensor.numel() // VOCABULARY)
        return made


@pytest.mark.parametrize(
    ("kind", "more"),
    [("qwen3", {}), ("gemma2", {"final_logit_softcapping": 5.0}), ("granite", {"logits_scaling": 4.0}), ("cohere", {})],
)
def test_losses_are_those_of_the_whole_logits_whatever_a_model_does_to_them(kind: str, more: dict[str, Any]) -> None:
    rows = _rows(40, 3, 300, 2, 17)
    rows.append((rows[0][0], [-100] * 40))
    with _model(kind, **more) as model:
        found = list(losses(model, rows, Portions(400, 100, 0, 0)))
        known = _naive(model, rows)
    assert [tokens for _, tokens in found] == [tokens for _, tokens in known]
    for (loss, tokens), (whole, _) in zip(found, known, strict=True):
        assert loss / max(1, tokens) == pytest.approx(whole / max(1, tokens), rel=1e-5)
    assert found[-1] == (0.0, 0)


def test_a_long_row_s_logits_are_never_whole() -> None:
    at_once = 40  # more than hidden_size: the head's weight, transposed, looks like the logits of 32 tokens
    with _model("qwen3") as model, _LargestLogits() as seen:
        list(losses(model, _rows(600, 500), Portions(16384, at_once, 0, 0)))
    assert 32 <= seen.most <= at_once


def test_the_model_s_head_is_its_own_again_afterwards() -> None:
    with _model("qwen3") as model:
        ids = torch.tensor([[5, 6, 7]])
        before = model(input_ids=ids).logits
        list(losses(model, _rows(10)))
        assert torch.equal(model(input_ids=ids).logits, before)


@pytest.mark.parametrize(
    ("room", "hidden", "logits"),
    [
        (100 << 30, 16384, (1 << 30) // (12 * VOCABULARY)),
        (9 << 20, (3 << 20) // (4 * (6 * 32 + 3 * 64)), (3 << 20) // (12 * VOCABULARY)),
        (0, 1, 1),
    ],
)
def test_a_batch_is_as_large_as_the_memory_that_is_free(room: int, hidden: int, logits: int) -> None:
    with _model("qwen3") as model:
        found = portions(model, room)
    assert (found.hidden, found.logits) == (hidden, logits)
    assert found.taken <= max(room, found.hidden_bytes + found.logit_bytes)


class _Small(TorchDispatchMode):  # type: ignore[misc] # untyped base
    """A GPU whose memory holds the layers' work on so many tokens and no more."""

    tokens = 100

    @override
    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = function(*args, **(kwargs or {}))
        is_inner = isinstance(made, torch.Tensor) and made.dim() == 3 and made.shape[-1] == SMALL["intermediate_size"]
        if is_inner and made.shape[0] * made.shape[1] > self.tokens:
            raise torch.OutOfMemoryError("no memory")
        return made


def test_rows_that_the_memory_does_not_hold_together_are_halved_until_it_does() -> None:
    rows = _rows(40, 50, 100, 60, 3, 17, 30)
    with _model("qwen3") as model:
        known = list(losses(model, rows))
        with _Small():
            found = list(losses(model, rows))
    assert [tokens for _, tokens in found] == [tokens for _, tokens in known]
    assert [loss for loss, _ in found] == pytest.approx([loss for loss, _ in known], rel=1e-5)


def test_one_row_that_the_memory_does_not_hold_is_an_error() -> None:
    with _model("qwen3") as model, _Small(), pytest.raises(torch.OutOfMemoryError):
        list(losses(model, _rows(40, 101)))
