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
from training_runtime.workspace import checkpoint_name

from .processes import barrier, is_first

__all__ = ["CommittedCheckpoints", "last_commit"]


def last_commit(folder: Path) -> tuple[int, float] | None:
    """Return the step of the newest checkpoint, and when it was committed (seconds since 1970), without reading it."""
    newest = max(folder.glob("step-" + 8 * "[0-9]"), default=None)
    return (int(newest.name[-8:]), newest.stat().st_mtime) if newest else None


class CommittedCheckpoints:
    """The checkpoints of one job; `keep` are kept, and the best one beside them."""

    def __init__(self, folder: Path, keep: int, *, in_thread: bool = False) -> None:
        self.draft = folder / ".draft"
        self._folder = folder
        self._holder = folder / ".holder"
        self._identity = uuid.uuid4().hex
        self._keep = keep
        self.in_thread = in_thread
        self._deferred: list[Callable[[], object]] = []
        self._writer = ThreadPoolExecutor(1, "checkpoint")
        self._commit: Future[None] | None = None

    def start(self) -> None:
        """Take the folder, and clear what a kill left half-written; the other processes wait until that is done."""
        if is_first():
            shutil.rmtree(self.draft, ignore_errors=True)
            self.draft.mkdir(parents=True)
            self._holder.write_text(self._identity)
        barrier()

    def newest(self) -> Path | None:
        """Return the newest checkpoint whose every byte matches its manifest."""
        return next((folder for folder in reversed(self._all()) if verified_digest(folder)), None)

    def at(self, step: int) -> Path | None:
        """Return the checkpoint of a step, None where there is none that is whole."""
        folder = self._folder / checkpoint_name(step)
        return folder if verified_digest(folder) else None

    def defer(self, write: Callable[[], object]) -> None:
        """Have a part of the checkpoint that is being saved written by the thread that commits it."""
        self._deferred.append(write)

    def submit(self, step: int, best: int | None = None, on_commit: Callable[[], None] = lambda: None) -> None:
        """Commit what the processes wrote for a step, drop the oldest but the best, then call `on_commit`.

        With a thread this returns before any of it; `wait` blocks until it is done.
        """
        self.wait()
        barrier()
        if is_first():
            deferred, self._deferred = self._deferred, []
            self._commit = self._writer.submit(self._write, deferred, step, best, on_commit)
        if not self.in_thread:
            self.wait()
            barrier()

    def wait(self) -> None:
        """Wait until what was submitted is committed; raise what kept it from being."""
        if self._commit:
            submitted, self._commit = self._commit, None
            submitted.result()

    def _write(
        self, deferred: list[Callable[[], object]], step: int, best: int | None, on_commit: Callable[[], None]
    ) -> None:
        for write in deferred:
            write()
        if self._holder.read_text() != self._identity:
            raise PreemptedError(f"step {step} is not saved: another attempt has begun, and holds the checkpoints")
        commit(self.draft / f"checkpoint-{step}", self._folder / checkpoint_name(step))
        for old in self._all()[: -self._keep]:
            if old.name != checkpoint_name(best or 0):
                shutil.rmtree(old, ignore_errors=True)
        on_commit()

    def _all(self) -> list[Path]:
        return sorted(self._folder.glob("step-*"))
