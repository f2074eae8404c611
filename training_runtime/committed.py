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
from typing import Any

__all__ = ["MANIFEST", "commit", "committing", "facts_of", "file_digest", "verified_digest"]

MANIFEST = "manifest.json"


@contextmanager
def committing(target: Path) -> Iterator[Path]:
    """Give a folder to write into, and make it visible as `target` when the block ends without an error.

    A file MANIFEST that the block leaves, a JSON object, becomes part of the manifest: what a reader should know of
    the folder besides its files.
    """
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
    facts = facts_of(draft) if files.pop(MANIFEST, None) else {}
    for path in files.values():
        _flush(path)
    listed = {name: file_digest(path) for name, path in files.items()}
    content = json.dumps({**facts, "files": listed}, indent=1, sort_keys=True, ensure_ascii=False).encode()
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
        listed = json.loads(content)["files"]
        intact = all(file_digest(folder / name) == digest for name, digest in listed.items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return _digest(content) if intact else None


def facts_of(folder: Path) -> dict[str, Any]:
    """Return what the manifest says besides the files; raise OSError or ValueError where there is none."""
    content = json.loads((folder / MANIFEST).read_bytes())
    if not isinstance(content, dict):
        raise TypeError(f"{folder / MANIFEST} must hold a JSON object")
    return {name: value for name, value in content.items() if name != "files"}


def _digest(manifest: bytes) -> str:
    return f"sha256:{hashlib.sha256(manifest).hexdigest()}"


def file_digest(path: Path) -> str:
    """Return a file's SHA-256 in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
