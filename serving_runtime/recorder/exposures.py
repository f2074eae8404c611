"""Reading the exposures that nginx wrote, one JSON line each, one file per hour.

nginx appends whole lines; after a kill the last may be half, and is read when the next one completes or the hour is
over. A file is deleted once it was read to its end and a later one exists.
"""

import json
import logging
from pathlib import Path
from typing import Any

from .database import Database

__all__ = ["record_new_exposures"]

_BATCH = 4 << 20
log = logging.getLogger("recorder")


def record_new_exposures(folder: Path, database: Database) -> int:
    """Record what was appended since the last call; return how many exposures that were."""
    files = sorted(folder.glob("*.jsonl"))
    total = 0
    for file in files:
        total += _read(file, database)
        if file != files[-1]:
            file.unlink()
            database.forget_file(file.name)
    return total


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
            exposures = [line for line in map(_parse, complete.splitlines()) if line]
            database.record_exposures(path.name, position, exposures)
            total += len(exposures)
            file.seek(position)
    return total


def _parse(line: bytes) -> dict[str, Any] | None:
    try:
        exposure: dict[str, Any] = json.loads(line)
    except ValueError:
        log.warning("a line of exposures is no JSON and was left out: %r", line[:200])
        return None
    return exposure
