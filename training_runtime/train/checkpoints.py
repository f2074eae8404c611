"""Committed checkpoints: a resume never sees half of one.

Trainer writes a checkpoint file by file into its output folder, which is a draft folder here; when it is done, the
checkpoint is committed under `checkpoints/step-N` and only then older ones go. Trainer itself would take the highest
number, complete or not.
"""

import shutil
from pathlib import Path

from training_runtime.committed import commit, verified_digest

__all__ = ["CommittedCheckpoints"]


class CommittedCheckpoints:
    """The checkpoints of one job; `keep` are kept."""

    def __init__(self, workspace: Path, keep: int) -> None:
        self.draft = workspace / "checkpoints/.draft"
        self._folder = workspace / "checkpoints"
        self._keep = keep

    def start(self) -> None:
        """Clear what a kill left half-written."""
        shutil.rmtree(self.draft, ignore_errors=True)
        self.draft.mkdir(parents=True)

    def newest(self) -> Path | None:
        """Return the newest checkpoint whose every byte matches its manifest."""
        return next((folder for folder in reversed(self._listed()) if verified_digest(folder)), None)

    def take_over(self, step: int) -> None:
        """Commit what Trainer wrote for a step, then drop the oldest."""
        commit(self.draft / f"checkpoint-{step}", self._folder / f"step-{step:08d}")
        for old in self._listed()[: -self._keep]:
            shutil.rmtree(old, ignore_errors=True)

    def _listed(self) -> list[Path]:
        return sorted(self._folder.glob("step-*"))
