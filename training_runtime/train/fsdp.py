"""FSDP2 through Accelerate, also where there is no GPU: on CPUs Accelerate would silently train with DDP instead."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trl import SFTTrainer

__all__ = ["fsdp_trainer"]


def fsdp_trainer() -> "type[SFTTrainer]":
    """Return the trainer whose accelerator shards; its base class is imported only here."""
    import torch
    from accelerate import DistributedType, FullyShardedDataParallelPlugin
    from accelerate.state import AcceleratorState, PartialState
    from trl import SFTTrainer

    class Sharding(SFTTrainer):  # type: ignore[misc] # untyped base
        """Tells Accelerate's state, once it is made, what it would have taken from a GPU."""

        def create_accelerator_and_postprocess(self) -> None:
            super().create_accelerator_and_postprocess()
            if torch.cuda.is_available():
                return
            # There are no setters, and the partial state is copied over the whole one whenever either is made again.
            PartialState._shared_state["distributed_type"] = DistributedType.FSDP  # noqa: SLF001
            whole: dict[str, Any] = AcceleratorState._shared_state  # noqa: SLF001
            whole["distributed_type"] = DistributedType.FSDP
            whole["fsdp_plugin"] = FullyShardedDataParallelPlugin(
                fsdp_version=2, auto_wrap_policy="transformer_based_wrap", state_dict_type="FULL_STATE_DICT"
            )
            self.is_fsdp_enabled = True

    return Sharding
