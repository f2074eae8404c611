"""A committed folder is complete or not there, whatever was killed when."""

from pathlib import Path

import pytest

from training_runtime.committed import MANIFEST, committing, verified_digest


@pytest.fixture
def committed(tmp_path: Path) -> Path:
    """A folder with two files."""
    target = tmp_path / "model"
    with committing(target) as draft:
        (draft / "config.json").write_text("{}")
        (draft / "weights").mkdir()
        (draft / "weights/part.safetensors").write_bytes(b"numbers")
    return target


def test_a_committed_folder_verifies(committed: Path) -> None:
    digest = verified_digest(committed)
    assert digest is not None
    assert digest.startswith("sha256:")
    assert (committed / "weights/part.safetensors").read_bytes() == b"numbers"


def test_the_same_bytes_have_the_same_digest(committed: Path, tmp_path: Path) -> None:
    with committing(tmp_path / "again") as draft:
        (draft / "weights").mkdir()
        (draft / "weights/part.safetensors").write_bytes(b"numbers")
        (draft / "config.json").write_text("{}")
    assert verified_digest(tmp_path / "again") == verified_digest(committed)


@pytest.mark.parametrize("name", ["config.json", "weights/part.safetensors"])
def test_a_changed_byte_is_noticed(committed: Path, name: str) -> None:
    (committed / name).write_bytes(b"numbers!")
    assert verified_digest(committed) is None


@pytest.mark.parametrize("name", ["config.json", MANIFEST])
def test_a_missing_file_is_noticed(committed: Path, name: str) -> None:
    (committed / name).unlink()
    assert verified_digest(committed) is None


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"{}", b'{"files": [1]}', b'{"files": {"config.json": 5}}'])
def test_a_broken_manifest_is_no_manifest(committed: Path, content: bytes) -> None:
    (committed / MANIFEST).write_bytes(content)
    assert verified_digest(committed) is None


def test_nothing_is_visible_before_the_commit(tmp_path: Path) -> None:
    target = tmp_path / "model"
    with committing(target) as draft:
        (draft / "config.json").write_text("{}")
        assert not target.exists()


def _write_half(target: Path) -> None:
    with committing(target) as draft:
        (draft / "config.json").write_text("half")
        raise OSError("disk full")


def test_an_error_while_writing_leaves_the_old_folder(committed: Path) -> None:
    before = verified_digest(committed)
    with pytest.raises(OSError, match="disk full"):
        _write_half(committed)
    assert verified_digest(committed) == before


def test_what_a_kill_left_half_written_is_cleared(committed: Path) -> None:
    leftover = committed.with_name(f".{committed.name}.draft")
    leftover.mkdir()
    (leftover / "old").write_text("half")
    with committing(committed) as draft:
        (draft / "config.json").write_text("{}")
    assert not (committed / "old").exists()
    assert verified_digest(committed) is not None
