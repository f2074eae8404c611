"""A resume takes the newest checkpoint that is whole; rotation comes after the commit."""

from pathlib import Path

import pytest

from training_runtime.committed import verified_digest
from training_runtime.errors import PreemptedError
from training_runtime.train.checkpoints import CommittedCheckpoints


@pytest.fixture
def checkpoints(tmp_path: Path) -> CommittedCheckpoints:
    """Checkpoints of which two are kept."""
    made = CommittedCheckpoints(tmp_path, keep=2)
    made.start()
    return made


def _save(checkpoints: CommittedCheckpoints, step: int) -> None:
    folder = checkpoints.draft / f"checkpoint-{step}"
    folder.mkdir()
    (folder / "model.safetensors").write_text(str(step))
    checkpoints.submit(step)


def test_there_is_none_at_first(checkpoints: CommittedCheckpoints) -> None:
    assert checkpoints.newest() is None


def test_the_newest_is_taken_and_older_ones_go(checkpoints: CommittedCheckpoints) -> None:
    for step in (50, 100, 1000):
        _save(checkpoints, step)
    newest = checkpoints.newest()
    assert newest is not None
    assert newest.name == "step-00001000"
    assert sorted(folder.name for folder in newest.parent.glob("step-*")) == ["step-00000100", "step-00001000"]


def test_a_torn_checkpoint_is_passed_over(checkpoints: CommittedCheckpoints) -> None:
    _save(checkpoints, 50)
    _save(checkpoints, 100)
    newest = checkpoints.newest()
    assert newest is not None
    (newest / "model.safetensors").write_text("torn")
    older = checkpoints.newest()
    assert older is not None
    assert older.name == "step-00000050"
    assert verified_digest(older)


def test_what_trainer_had_half_written_is_no_checkpoint(checkpoints: CommittedCheckpoints) -> None:
    (checkpoints.draft / "checkpoint-70").mkdir()
    assert checkpoints.newest() is None
    checkpoints.start()
    assert list(checkpoints.draft.iterdir()) == []


def test_an_attempt_that_was_thought_lost_commits_nothing_more(
    checkpoints: CommittedCheckpoints, tmp_path: Path
) -> None:
    _save(checkpoints, 50)
    later = CommittedCheckpoints(tmp_path, keep=2)
    later.start()
    with pytest.raises(PreemptedError, match="another attempt has begun"):
        _save(checkpoints, 100)
    newest = later.newest()
    assert newest is not None
    assert newest.name == "step-00000050"
