"""Downloading what was published into a draft, several stretches at once; what is there of an earlier time stays.

Every file is read again as soon as all of it came, while others are on their way. One that then is another, and had
come in part before, is downloaded once more as a whole: a power cut may have spoilt it.
"""

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from .draft import Draft
from .progress import Progress
from .published import Published, WeightsError, changed_files
from .ranges import Ranges

__all__ = ["download", "sizes_of"]

_READERS = 2
"""Files that are read again at once: as fast as most lines, and no more than a container's CPU or two."""


def sizes_of(ranges: Ranges, published: Published) -> dict[str, int]:
    """Return the size of each file: as its manifest says, else as its server does."""
    asked = [name for name in published.files if name not in published.sizes]
    with ThreadPoolExecutor(ranges.streams) as pool:
        found = dict(zip(asked, pool.map(ranges.size, asked), strict=True))
    return {name: published.sizes.get(name, found.get(name, 0)) for name in published.files}


def download(ranges: Ranges, uri: str, published: Published, drafts: Mapping[str, Draft], progress: Progress) -> None:
    """Have each draft complete, as it was published, and on the disk; raise WeightsError where that cannot be done."""
    here = {name: draft.all_come for name, draft in drafts.items()}
    progress.begin(sum(here.values()), sum(draft.size for draft in drafts.values()))
    changed = _changed(ranges, published, drafts, progress)
    for name in changed:
        progress.add(-drafts[name].size)
        drafts[name].clear()
    again = {name: drafts[name] for name in changed if here[name]}
    if changed := [*(set(changed) - again.keys()), *_changed(ranges, published, again, progress)]:
        raise WeightsError(f"{min(changed)} of {uri} was changed after it was published")


def _changed(ranges: Ranges, published: Published, drafts: Mapping[str, Draft], progress: Progress) -> list[str]:
    """Bring what is missing; return the files whose bytes are others than those that were published."""
    if not drafts:
        return []
    with ThreadPoolExecutor(_READERS) as pool:
        reading = _Reading(published, drafts, pool)
        try:
            for name in drafts:
                reading.note(name)
            _bring(ranges, drafts, progress, reading.note)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
        return reading.changed()


class _Reading:
    """Reads each file once it is whole, and has the disk hold it."""

    def __init__(self, published: Published, drafts: Mapping[str, Draft], pool: ThreadPoolExecutor) -> None:
        self._published, self._drafts, self._pool = published, drafts, pool
        self._folder, self._lock = _folder(drafts), threading.Lock()
        self._found: dict[str, Future[list[str]]] = {}

    def note(self, name: str) -> None:
        """More of a file came."""
        draft = self._drafts[name]
        with self._lock:
            if name not in self._found and draft.all_come == draft.size:
                self._found[name] = self._pool.submit(self._read, name)

    def changed(self) -> list[str]:
        """Wait for all; return those whose bytes are others."""
        return [name for one in self._found.values() for name in one.result()]

    def _read(self, name: str) -> list[str]:
        changed = changed_files(self._folder, {name: self._published.files[name]})
        if not changed:
            self._drafts[name].flush()
        return changed


def _folder(drafts: Mapping[str, Draft]) -> Path:
    """That which the names are in."""
    name, draft = next(iter(drafts.items()))
    return draft.path.parents[len(Path(name).parts) - 1]


def _bring(ranges: Ranges, drafts: Mapping[str, Draft], progress: Progress, note: Callable[[str], None]) -> None:
    """Bring what is missing of each, and say when a stretch of one is there; the first that fails ends the others."""
    ended = threading.Event()

    def bring(work: tuple[str, Draft, int]) -> None:
        name, draft, number = work
        begin, end = draft.stretches[number]
        try:
            for part in ranges.parts(name, begin + draft.come(number), end):
                draft.write(number, part)
                progress.add(len(part))
                if ended.is_set():
                    return
            note(name)
        except BaseException:
            ended.set()
            raise

    works = [(name, draft, number) for name, draft in drafts.items() for number in range(len(draft.stretches))]
    missing = [work for work in works if work[1].come(work[2]) < _length(work[1], work[2])]
    with ThreadPoolExecutor(ranges.streams) as pool:
        futures = [pool.submit(bring, work) for work in missing]
        try:
            for future in futures:
                future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _length(draft: Draft, number: int) -> int:
    begin, end = draft.stretches[number]
    return end - begin
