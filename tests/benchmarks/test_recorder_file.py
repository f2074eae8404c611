"""The file that the recorder's benchmark begins with is one that the recorder itself would have written."""

import sqlite3
from pathlib import Path

from benchmarks.recorder_file import EXPERIMENT, METRIC, fill, variant_of
from serving_runtime.recorder.database import Database
from serving_runtime.recorder.feedback import Said
from serving_runtime.recorder.line import Exposure

NOW = 1_800_000_000.0


def test_what_was_written_at_once_counts_like_what_was_recorded(tmp_path: Path) -> None:
    at_once, recorded = tmp_path / "at-once.sqlite", Database(tmp_path / "recorded.sqlite")
    fill(at_once, 400, 60, NOW)
    connection = sqlite3.connect(at_once)
    rows = connection.execute("SELECT lower(hex(id)), user FROM answered")
    names = dict(connection.execute("SELECT id, user FROM users"))
    answers = [(exposure, user, names[user]) for exposure, user in rows]
    said = connection.execute("SELECT lower(hex(id)), value FROM said JOIN answered ON number = answer").fetchall()
    connection.close()
    recorded.record_exposures("s", 1, [_answer(*each) for each in answers])
    recorded.record_feedback([Said(METRIC, value, exposure) for exposure, value in said])
    filled = Database(at_once)
    told = [database.statistics(EXPERIMENT, METRIC) | {"newest": 0, "reported": 0} for database in (filled, recorded)]
    filled.close()
    recorded.close()
    assert told[0] == told[1]
    assert len(answers) == 400
    assert len(said) == len(names)


def _answer(exposure: str, user: int, name: str) -> dict[str, object]:
    line = {"exposure": exposure, "experiment": EXPERIMENT, "variant": variant_of(user - 1), "user": name, "at": NOW}
    line |= {"status": 200, "outcome": "complete", "last": 1.0, "promptTokens": 200, "completionTokens": 60}
    return Exposure.model_validate(line).model_dump()
