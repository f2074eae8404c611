"""Committed checkpoints: a resume never sees half of one.

Trainer writes a checkpoint file by file into its output folder, which is a draft folder here; when every process is
done, the checkpoint is committed under `checkpoints/step-N` and only then older ones go. Trainer itself would take the
highest number, complete or not.
"""

import shutil
from pathlib import Path

from training_runtime.committed import commit, verified_digest

__all__ = ["CommittedCheckpoints", "barrier", "is_first"]


def is_first() -> bool:
    """Whether this process is the one that speaks for all."""
    from torch import distributed

    return not distributed.is_initialized() or distributed.get_rank() == 0


def barrier() -> None:
    """Wait for the other processes, where there are any."""
    from torch import distributed

    if distributed.is_initialized():
        distributed.barrier()


class CommittedCheckpoints:
    """The checkpoints of one job; `keep` are kept, and the best one beside them."""

    def __init__(self, workspace: Path, keep: int) -> None:
        self.draft = workspace / "checkpoints/.draft"
        self._folder = workspace / "checkpoints"
        self._keep = keep

    def start(self) -> None:
        """Clear what a kill left half-written; the other processes wait until that is done."""
        if is_first():
            shutil.rmtree(self.draft, ignore_errors=True)
            self.draft.mkdir(parents=True)
        barrier()

    def newest(self) -> Path | None:
        """Return the newest checkpoint whose every byte matches its manifest."""
        return next((folder for folder in reversed(self._listed()) if verified_digest(folder)), None)

    def at(self, step: int) -> Path | None:
        """Return the checkpoint of a step, None where there is none that is whole."""
        folder = self._folder / f"step-{step:08d}"
        return folder if verified_digest(folder) else None

    def take_over(self, step: int, best: int | None = None) -> None:
        """Commit what the processes wrote for a step, then drop the oldest but the best."""
        barrier()
        if is_first():
            commit(self.draft / f"checkpoint-{step}", self._folder / f"step-{step:08d}")
            for old in self._listed()[: -self._keep]:
                if old.name != f"step-{best or 0:08d}":
                    shutil.rmtree(old, ignore_errors=True)
        barrier()

    def _listed(self) -> list[Path]:
        return sorted(self._folder.glob("step-*"))
