"""Reading the lines that the router wrote, one of JSON per answer, in a file per worker and minute.

A worker appends whole lines; after a kill the last may be half, and is read when the next one completes or the file is
over. A file goes once it was read to its end, a later minute began, and nothing was appended for a minute. Answers that
count for nobody are passed over.
"""

import logging
import time
from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from .database import Database
from .line import Exposure

__all__ = ["forget_what_is_gone", "record_new_exposures"]

_BATCH = 4 << 20
_QUIET_SECONDS = 60.0
log = logging.getLogger("recorder")


def record_new_exposures(folder: Path, database: Database) -> int:
    """Record what was appended since the last call; return how many exposures that were."""
    files = sorted(folder.glob("*.jsonl"))
    total = 0
    for file in files:
        total += _read(file, database)
        is_over = _minute(file) < _minute(files[-1])
        if is_over and time.time() - file.stat().st_mtime > _QUIET_SECONDS:
            file.unlink()
            database.forget_file(file.name)
    return total


def _minute(file: Path) -> str:
    return file.name.partition("-")[0]


def forget_what_is_gone(folders: Sequence[Path], database: Database) -> None:
    """Forget how far files were read that went with an earlier pod."""
    for name in database.files() - {file.name for folder in folders for file in folder.glob("*.jsonl")}:
        database.forget_file(name)


def _read(path: Path, database: Database) -> int:
    position = database.position(path.name)
    total = 0
    with path.open("rb") as file:
        file.seek(position)
        while chunk := file.read(_BATCH):
            complete = chunk[: chunk.rfind(b"\n") + 1]
            if not complete:
                break
            position += len(complete)
            exposures = [line for line in map(_parse, filter(None, complete.splitlines())) if line]
            database.record_exposures(path.name, position, [exposure.model_dump() for exposure in exposures])
            total += len(exposures)
            file.seek(position)
    return total


def _parse(line: bytes) -> Exposure | None:
    try:
        exposure = Exposure.model_validate_json(line)
    except ValidationError as error:
        log.warning("a line was left out that does not tell an answer: %s: %r", error.errors()[0]["msg"], line[:200])
        return None
    return exposure if exposure.is_counted else None
