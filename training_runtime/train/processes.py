"""The processes of one training: how they meet and wait for each other, and which of them speaks for all."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from training_runtime import log
from training_runtime.plan import RENDEZVOUS_PORT

from .strategy import Strategy

__all__ = ["barrier", "first_alone", "is_first", "join", "log_event"]


def is_first() -> bool:
    """Whether this process is the one that speaks for all."""
    from torch import distributed

    return not distributed.is_initialized() or distributed.get_rank() == 0


def barrier() -> None:
    """Wait for the other processes, where there are any."""
    from torch import distributed

    if distributed.is_initialized():
        distributed.barrier()


@contextmanager
def first_alone() -> Iterator[None]:
    """Have the first process do something before the others do it, too."""
    if not is_first():
        barrier()
    yield
    if is_first():
        barrier()


def join(strategy: Strategy) -> None:
    """Meet the other processes; DeepSpeed must be met before the model is loaded (on a CPU with gloo)."""
    import torch

    backend = "nccl" if torch.cuda.is_available() else "gloo"
    if strategy.startswith("ZeRO"):
        _join_by_deepspeed(backend)
    elif int(os.environ.get("WORLD_SIZE", "1")) > 1:
        torch.distributed.init_process_group(backend)
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))


def _join_by_deepspeed(backend: str) -> None:
    if backend == "gloo":
        os.environ["DS_ACCELERATOR"] = "cpu"
    for name, value in (("RANK", "0"), ("LOCAL_RANK", "0"), ("WORLD_SIZE", "1"), ("MASTER_ADDR", "127.0.0.1")):
        os.environ.setdefault(name, value)
    os.environ.setdefault("MASTER_PORT", str(RENDEZVOUS_PORT))
    import deepspeed

    # DeepSpeed would compile its shared-memory exchange at first use, which needs a compiler: gloo does without.
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    deepspeed.init_distributed(dist_backend=backend, verbose=False)


def log_event(event: str, **facts: object) -> None:
    """Write a line of the log, on the process that speaks for all; a person at a terminal has the progress bar."""
    if is_first() and not sys.stdout.isatty():
        log.log_event(event, **facts)
