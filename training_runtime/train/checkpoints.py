"""Committed checkpoints: a resume never sees half of one.

Trainer writes a checkpoint file by file into its output folder, which is a draft folder here; when every process is
done, the checkpoint is committed under `checkpoints/step-N` and only then older ones go. Trainer itself would take the
highest number, complete or not.

Where one process writes everything, a thread writes and commits while training goes on: one checkpoint at a time, and
the next one waits for it. So a kill costs the steps since the last commit.

Whoever starts last holds the folder: a process that was thought lost with its node, and was not, commits nothing more.
"""

import shutil
import uuid
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from training_runtime.committed import commit, verified_digest
from training_runtime.errors import PreemptedError

__all__ = ["CommittedCheckpoints", "barrier", "is_first", "last_commit"]


def is_first() -> bool:
    """Whether this process is the one that speaks for all."""
    from torch import distributed

    return not distributed.is_initialized() or distributed.get_rank() == 0


def barrier() -> None:
    """Wait for the other processes, where there are any."""
    from torch import distributed

    if distributed.is_initialized():
        distributed.barrier()


def last_commit(workspace: Path) -> tuple[int, float] | None:
    """Return the step of the newest checkpoint, and when it was committed (seconds since 1970), without reading it."""
    newest = max((workspace / "checkpoints").glob("step-" + 8 * "[0-9]"), default=None)
    return (int(newest.name[-8:]), newest.stat().st_mtime) if newest else None


class CommittedCheckpoints:
    """The checkpoints of one job; `keep` are kept, and the best one beside them."""

    def __init__(self, workspace: Path, keep: int, *, in_thread: bool = False) -> None:
        self.draft = workspace / "checkpoints/.draft"
        self._folder = workspace / "checkpoints"
        self._holder = self._folder / ".holder"
        self._self = uuid.uuid4().hex
        self._keep = keep
        self.in_thread = in_thread
        self._late: list[Callable[[], object]] = []
        self._writer = ThreadPoolExecutor(1, "checkpoint")
        self._commit: Future[None] | None = None

    def start(self) -> None:
        """Take the folder, and clear what a kill left half-written; the other processes wait until that is done."""
        if is_first():
            shutil.rmtree(self.draft, ignore_errors=True)
            self.draft.mkdir(parents=True)
            self._holder.write_text(self._self)
        barrier()

    def newest(self) -> Path | None:
        """Return the newest checkpoint whose every byte matches its manifest."""
        return next((folder for folder in reversed(self._listed()) if verified_digest(folder)), None)

    def at(self, step: int) -> Path | None:
        """Return the checkpoint of a step, None where there is none that is whole."""
        folder = self._folder / f"step-{step:08d}"
        return folder if verified_digest(folder) else None

    def write_later(self, work: Callable[[], object]) -> None:
        """Have a part of the checkpoint that is being saved written by the thread that commits it."""
        self._late.append(work)

    def take_over(self, step: int, best: int | None = None, told: Callable[[], None] = lambda: None) -> None:
        """Commit what the processes wrote for a step, drop the oldest but the best, then call `told`.

        With a thread this returns before any of it; `settle` waits.
        """
        self.settle()
        barrier()
        if is_first():
            late, self._late = self._late, []
            self._commit = self._writer.submit(self._write, late, step, best, told)
        if not self.in_thread:
            self.settle()
            barrier()

    def settle(self) -> None:
        """Wait until what was taken over is committed; raise what kept it from being."""
        if self._commit:
            done, self._commit = self._commit, None
            done.result()

    def _write(self, late: list[Callable[[], object]], step: int, best: int | None, told: Callable[[], None]) -> None:
        for work in late:
            work()
        if self._holder.read_text() != self._self:
            raise PreemptedError(f"step {step} is not saved: another attempt has begun, and holds the checkpoints")
        commit(self.draft / f"checkpoint-{step}", self._folder / f"step-{step:08d}")
        for old in self._listed()[: -self._keep]:
            if old.name != f"step-{best or 0:08d}":
                shutil.rmtree(old, ignore_errors=True)
        told()

    def _listed(self) -> list[Path]:
        return sorted(self._folder.glob("step-*"))
