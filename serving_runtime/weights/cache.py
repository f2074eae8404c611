"""A folder of artifacts, each under its digest, whole or not at all, whoever shares the folder and whatever is killed.

    FOLDER/
    ├── sha256-…/              verified when it was renamed to this, and by each pod that finds it
    ├── .sha256-….lock         held by whoever looks (together) or downloads (alone); the kernel lets go after a kill
    ├── .sha256-….draft/       what is being downloaded
    ├── .sha256-….journal/     how far each of its files came
    └── .sha256-….gone-…/      what was changed, as far as it could not be removed yet

Nothing here removes what no version has any more: who else uses the folder is not known.
"""

import errno
import fcntl
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from serving_runtime.plan import weights_folder

from .download import download, sizes_of
from .draft import Draft
from .progress import Progress
from .published import MANIFEST, Published, WeightsError, read_manifest, verify
from .ranges import Ranges
from .sources import Source

__all__ = ["bring"]

_SPARE, _SPARE_PART = 1 << 30, 20
"""What of a disk is left to others: so many bytes, and of a small one this part."""
_NO_LOCKS = frozenset({errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP})
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


def bring(source: Source, uri: str, digest: str, folder: Path, progress: Progress, room: int | None = None) -> Path:
    """Have an artifact complete and verified; return its folder. Raise WeightsError where that cannot be done.

    One that is here is verified; what was changed of it since is downloaded again. Where it may have so many bytes
    (`room`), one that is larger is refused before it is downloaded: the kubelet would end the pod, again and again.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = folder / f".{weights_folder(digest)}.lock"
        with _locked(lock, fcntl.LOCK_SH):
            if found := _found(folder, uri, digest):
                return found
        with _locked(lock, fcntl.LOCK_EX):
            return _found(folder, uri, digest) or _downloaded(source, uri, digest, folder, progress, room)
    except OSError as error:
        raise WeightsError(_why(error, folder)) from error


@contextmanager
def _locked(path: Path, how: int) -> Iterator[None]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        _lock(descriptor, path, how)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, path: Path, how: int) -> None:
    try:
        try:
            fcntl.flock(descriptor, how | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"waiting for another pod that brings these weights: it holds {path}", flush=True)
            fcntl.flock(descriptor, how)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        raise WeightsError(
            f"{path} cannot be locked ({error.strerror}), so pods cannot share the claim of serving.cache: name one "
            "whose file system has locks, or leave serving.cache out"
        ) from error


def _found(folder: Path, uri: str, digest: str) -> Path | None:
    target = folder / weights_folder(digest)
    if not target.exists():
        return None
    try:
        count = verify(target, uri, digest)
    except WeightsError as error:
        print(f"what is in {target} is downloaded again: {error}", flush=True)
        return None
    print(f"verified {count} files of {uri}, which are here", flush=True)
    return target


def _downloaded(source: Source, uri: str, digest: str, folder: Path, progress: Progress, room: int | None) -> Path:
    name = weights_folder(digest)
    target, draft, journal = folder / name, folder / f".{name}.draft", folder / f".{name}.journal"
    _put_aside(target)
    ranges = Ranges(source)
    published = read_manifest(ranges.whole(MANIFEST), uri, digest)
    sizes = sizes_of(ranges, published)
    _check_size(sum(sizes.values()), room)
    with ExitStack() as stack:
        drafts = {}
        for number, file in enumerate(sorted(sizes)):
            drafts[file] = Draft(draft / file, journal / str(number), sizes[file], source.longest)
            stack.callback(drafts[file].close)
        _check_room(folder, sum(one.size - one.all_come for one in drafts.values()))
        download(ranges, uri, published, drafts, progress)
    _publish(published, draft, target)
    shutil.rmtree(journal, ignore_errors=True)
    print(f"downloaded and verified {len(sizes)} files of {uri}", flush=True)
    return target


def _put_aside(target: Path) -> None:
    """Have nothing at a place, and removed what was: of what others have open, NFS leaves something for a while."""
    aside = f".{target.name}.gone-"
    if target.exists():
        target.rename(target.with_name(f"{aside}{uuid.uuid4().hex}"))
    for gone in target.parent.glob(f"{aside}*"):
        shutil.rmtree(gone, ignore_errors=True)


def _check_size(size: int, room: int | None) -> None:
    if room is not None and size > room:
        raise WeightsError(
            f"the weights have {size} bytes, and the pod has room for {room}, by what its version says of their size: "
            f"create the version with `bytes: {size}` in `artifact`, or in `artifact.base` where that is what is "
            "brought; or keep them on a claim (serving.cache)"
        )


def _check_room(folder: Path, missing: int) -> None:
    disk = shutil.disk_usage(folder)
    free = max(0, disk.free - min(_SPARE, disk.total // _SPARE_PART))
    if missing > free:
        raise WeightsError(f"the weights need {_gigabytes(missing)} more, and {_gigabytes(free)} are free: {_REMEDY}")


def _publish(published: Published, draft: Path, target: Path) -> None:
    (draft / MANIFEST).write_bytes(published.manifest)
    _flush(draft / MANIFEST)
    for folder in {draft, *(path for path in draft.rglob("*") if path.is_dir())}:
        _flush(folder)
    draft.rename(target)
    _flush(target.parent)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


_REMEDY = (
    "enlarge the claim of serving.cache, or remove from its folder `anneal/weights` what no version has any more; "
    "without serving.cache, free the node's disk"
)


def _why(error: OSError, folder: Path) -> str:
    if error.errno in _FULL:
        return f"the disk is full, with {_gigabytes(shutil.disk_usage(folder).free)} free: {_REMEDY}"
    return f"{error.filename or folder} cannot be read or written: {error.strerror or type(error).__name__}"


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:.1f} GB"
