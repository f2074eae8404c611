"""Downloading what was published into a draft, several stretches at once; what is there of an earlier time stays.

Every file is read again when all of it came. One that then is another, and had come in part before, is downloaded once
more as a whole: a power cut may have spoilt it.
"""

import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from .draft import Draft
from .progress import Progress
from .published import Published, WeightsError, changed_files
from .ranges import Ranges

__all__ = ["download", "sizes_of"]


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
    _bring(ranges, drafts, progress)
    changed = _changed(published, drafts)
    for name in changed:
        progress.add(-drafts[name].size)
        drafts[name].clear()
    again = {name: drafts[name] for name in changed if here[name]}
    _bring(ranges, again, progress)
    if changed := [*(set(changed) - again.keys()), *_changed(published, again)]:
        raise WeightsError(f"{min(changed)} of {uri} was changed after it was published")
    for draft in drafts.values():
        draft.flush()


def _changed(published: Published, drafts: Mapping[str, Draft]) -> list[str]:
    """The files whose bytes are others than those that were published."""
    if not drafts:
        return []
    folder = _folder(drafts)
    return changed_files(folder, {name: published.files[name] for name in drafts})


def _folder(drafts: Mapping[str, Draft]) -> Path:
    """That which the names are in."""
    name, draft = next(iter(drafts.items()))
    return draft.path.parents[len(Path(name).parts) - 1]


def _bring(ranges: Ranges, drafts: Mapping[str, Draft], progress: Progress) -> None:
    """Bring what is missing of each; the first that fails ends the others."""
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
