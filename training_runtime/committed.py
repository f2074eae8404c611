"""Folders that are either complete or not there, whatever was killed when.

A folder is written under another name, every file is flushed to disk, a manifest with each file's SHA-256 is written
last, and one rename makes it visible. What a kill leaves is either the old state or the new one; a folder whose bytes
changed afterwards no longer matches its manifest and counts as absent.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["MANIFEST", "commit", "committing", "verified_digest"]

MANIFEST = "manifest.json"


@contextmanager
def committing(target: Path) -> Iterator[Path]:
    """Give a folder to write into, and make it visible as `target` when the block ends without an error."""
    draft = target.with_name(f".{target.name}.draft")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    yield draft
    commit(draft, target)


def commit(draft: Path, target: Path) -> str:
    """Make a finished folder of the same file system visible as `target`; return its digest.

    An older `target` is replaced: for a moment there is none, never half of one.
    """
    files = {str(path.relative_to(draft)): path for path in sorted(draft.rglob("*")) if path.is_file()}
    files.pop(MANIFEST, None)
    for path in files.values():
        _flush(path)
    content = json.dumps({name: _sha256(path) for name, path in files.items()}, indent=1, sort_keys=True).encode()
    (draft / MANIFEST).write_bytes(content)
    _flush(draft / MANIFEST)
    for folder in {path.parent for path in files.values()} | {draft}:
        _flush(folder)
    shutil.rmtree(target, ignore_errors=True)
    draft.rename(target)
    _flush(target.parent)
    return _digest(content)


def verified_digest(folder: Path) -> str | None:
    """Return the digest of a committed folder, or None where it is absent, incomplete or changed."""
    try:
        content = (folder / MANIFEST).read_bytes()
        listed = json.loads(content)
        intact = isinstance(listed, dict) and all(_sha256(folder / n) == digest for n, digest in listed.items())
    except (OSError, ValueError):
        return None
    return _digest(content) if intact else None


def _digest(manifest: bytes) -> str:
    return f"sha256:{hashlib.sha256(manifest).hexdigest()}"


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
