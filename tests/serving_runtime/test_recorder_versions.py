"""What each version answered is counted once, whoever asked, and kept by a file of the release before, too."""

import json
import sqlite3
import urllib.request
from pathlib import Path
from typing import Any

from serving_runtime.recorder.database import Database
from serving_runtime.recorder.ingest import Ingest
from tests.support.recorder import KEY, at, recorder, send

NOTHING = {"requests": 0, "prompt_tokens": 0, "completion_tokens": 0}


def _line(number: int, version: str | None, **told: Any) -> bytes:
    exposure = {"exposure": f"{number:032x}", "version": version, "at": 1.0, "status": 200, "outcome": "complete"}
    return (json.dumps(exposure | told) + "\n").encode()


def test_all_answers_of_a_version_count_once(tmp_path: Path) -> None:
    database = Database(tmp_path / "recorder.sqlite")
    ingest = Ingest(database)
    first = b"".join(
        [
            _line(1, "stable", model="m", user="u", promptTokens=10, completionTokens=5),
            _line(2, "stable", promptTokens=7),
            _line(3, "stable", experiment="e", variant="a", user="u", completionTokens=2),
            _line(4, "stable", status=503, outcome="error"),
            _line(5, "tuned"),
            _line(6, None, status=404, outcome="error"),
        ]
    )
    assert ingest.take("pod", 0, first) == len(first)
    assert ingest.take("pod", 0, first) == len(first), "the same once more"
    second = _line(7, "stable", completionTokens=1)
    ingest.take("pod", len(first), second)
    assert database.answered("stable") == {"requests": 5, "prompt_tokens": 17, "completion_tokens": 8}
    assert database.answered("tuned") == NOTHING | {"requests": 1}
    assert database.answered("unknown") == NOTHING
    database.erase("u")
    assert database.answered("stable")["requests"] == 5
    database.close()


def test_a_file_that_does_not_count_versions_yet_begins_to(tmp_path: Path) -> None:
    path = tmp_path / "recorder.sqlite"
    Database(path).close()
    earlier = sqlite3.connect(path)
    earlier.execute("DROP TABLE versions")
    earlier.close()
    database = Database(path)
    Ingest(database).take("pod", 0, _line(1, "stable"))
    assert database.answered("stable") == NOTHING | {"requests": 1}
    database.close()


def test_the_operator_asks_for_one_version(tmp_path: Path) -> None:
    with recorder(tmp_path) as address:
        send(address, _line(1, "stable", promptTokens=3), **at(0))
        asked = urllib.request.Request(f"http://{address}/versions/stable", headers={"Authorization": f"Bearer {KEY}"})
        with urllib.request.urlopen(asked, timeout=20) as answer:
            assert json.load(answer) == {"requests": 1, "prompt_tokens": 3, "completion_tokens": 0}
