"""Checkpoints that hardly stop the loop: the state is copied to memory, and a thread writes the copy.

For strategies where one process holds and writes the whole state. Where the memory does not hold a copy, Trainer
writes as it always does, and the loop waits.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .checkpoints import CommittedCheckpoints
from .device import memory_left

if TYPE_CHECKING:
    from torch import Tensor
    from trl import SFTTrainer

__all__ = ["snapshotting_trainer"]

_COPIES_THAT_MUST_FIT = 2
"""How many times the copy must fit into the memory that is left: the writer needs some too."""


def snapshotting_trainer(checkpoints: CommittedCheckpoints) -> "type[SFTTrainer]":
    """Return the trainer that leaves the large files of a checkpoint to the thread; imported only here."""
    import torch
    from transformers.trainer import OPTIMIZER_NAME, SCHEDULER_NAME
    from trl import SFTTrainer

    class Snapshotting(SFTTrainer):  # type: ignore[misc] # untyped base
        """Trainer's own save, its two large parts taken out, and the card that TRL writes anew into each draft."""

        def create_model_card(self, *_: Any, **__: Any) -> None:  # noqa: ANN401 - TRL's
            """Leave the card to publishing; rendering it took half of what a small model's save stalls."""

        def _save_checkpoint(self, model: Any, trial: Any) -> None:  # noqa: ANN401 - Trainer's
            checkpoints.wait()
            super()._save_checkpoint(model, trial)

        def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:  # noqa: ANN401 - Trainer's
            folder = Path(output_dir or self.args.output_dir)
            if not folder.is_relative_to(checkpoints.draft):
                super()._save(output_dir, state_dict)
                return
            folder.mkdir(parents=True, exist_ok=True)
            frozen = {weight.data_ptr() for weight in self.model.parameters() if not weight.requires_grad}
            write = partial(super()._save, str(folder))
            _write(checkpoints, write, self.model.state_dict(), frozen)

        def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
            if not self.args.should_save:
                return
            folder = Path(output_dir)
            write = partial(torch.save, f=folder / OPTIMIZER_NAME)
            _write(checkpoints, write, self.optimizer.state_dict(), set())
            torch.save(self.lr_scheduler.state_dict(), folder / SCHEDULER_NAME)

    return Snapshotting


def _write(
    checkpoints: CommittedCheckpoints, write: Callable[[Any], object], state: dict[str, Any], frozen: set[int]
) -> None:
    """Write a copy of the state later, or the state itself now; tensors at `frozen` addresses never change."""
    from torch import Tensor
    from torch.utils import _pytree as tree

    copies: dict[int, Tensor] = {}

    def copied(tensor: "Tensor") -> "Tensor":
        """Tied weights stay one tensor."""
        at = tensor.data_ptr()
        if at in frozen:
            return tensor
        if not at or at not in copies:
            copies[at] = tensor.detach().to("cpu", copy=True)
        return copies[at]

    changing = {leaf.data_ptr(): leaf.nbytes for leaf in tree.tree_leaves(state) if isinstance(leaf, Tensor)}
    if sum(size for at, size in changing.items() if at not in frozen) * _COPIES_THAT_MUST_FIT > memory_left():
        write(state)
        return
    copy = tree.tree_map_only(Tensor, copied, state)
    checkpoints.defer(lambda: write(copy))
