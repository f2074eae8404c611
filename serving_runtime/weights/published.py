"""What was published: files as their manifest lists them, each with its SHA-256. Its own digest is the artifact's.

Nothing else is loaded: a file that the manifest does not list is as bad as one that was changed, since an engine takes
whatever weights and code lie in its folder.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

__all__ = ["MANIFEST", "Published", "WeightsError", "changed_files", "files_of", "read_manifest", "verify"]

MANIFEST = "manifest.json"
_AT_ONCE = 8
_MISSING = (FileNotFoundError, IsADirectoryError, NotADirectoryError)
"""What a folder is to blame for; a disk that cannot be read tells nothing of what it holds."""


class WeightsError(Exception):
    """The weights cannot be had, or are not the published ones."""


@dataclass(frozen=True)
class Published:
    """A folder, as its manifest has it."""

    manifest: bytes
    files: Mapping[str, str]
    """The SHA-256 of each file, in hexadecimal."""
    sizes: Mapping[str, int]
    """In bytes, of those files whose manifest says so: an earlier build's does not."""


def read_manifest(content: bytes, uri: str, digest: str) -> Published:
    """Return what a manifest lists; raise WeightsError where it is not the one that was published."""
    found = f"sha256:{hashlib.sha256(content).hexdigest()}"
    if found != digest:
        raise WeightsError(f"the manifest of {uri} has {found}, published was {digest}")
    try:
        told = json.loads(content)
        files, sizes = dict(told["files"]), dict(told.get("bytes", {}))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise WeightsError(
            f"{MANIFEST} of {uri} lists no files: artifact.digest is to be that of a manifest"
        ) from error
    for name in files:
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise WeightsError(f"the manifest of {uri} names a file outside it: {name}")
    return Published(content, files, sizes)


def verify(folder: Path, uri: str, digest: str) -> int:
    """Return how many files a complete folder has; raise WeightsError where it is not as it was published."""
    try:
        content = (folder / MANIFEST).read_bytes()
    except _MISSING as error:
        raise WeightsError(f"{uri} has no {MANIFEST} to be verified by ({error.strerror})") from error
    published = read_manifest(content, uri, digest)
    if changed := changed_files(folder, published.files):
        raise WeightsError(f"{changed[0]} of {uri} was changed after it was published")
    if unlisted := sorted(files_of(folder) - published.files.keys() - {MANIFEST}):
        raise WeightsError(f"{uri} holds {unlisted[0]}, which its manifest does not list: remove it")
    return len(published.files)


def changed_files(folder: Path, files: Mapping[str, str]) -> list[str]:
    """Return those that are missing, or whose bytes are others."""
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        found: Iterable[str] = pool.map(lambda name: _sha256(folder / name), files)
        return [name for name, digest in zip(files, found, strict=True) if digest != files[name]]


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except _MISSING:
        return ""


def files_of(folder: Path) -> set[str]:
    """Return the files in it, and what leads elsewhere, but those with a dot before their name or a folder's, which
    nobody loads.
    """
    found = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file() or path.is_symlink())
    return {path.as_posix() for path in found if not any(part.startswith(".") for part in path.parts)}
