"""What came of copies is summed for each challenger, once, and nobody is counted by them."""

import json
import math
import sqlite3
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from serving_runtime.recorder.database import Database
from serving_runtime.recorder.ingest import Ingest
from serving_runtime.recorder.sums import LOG_PARTS
from tests.support.recorder import KEY, at, line, recorder, send

WHOLE: dict[str, Any] = {
    "outcome": "complete",
    "equal": False,
    "similarity": 0.5,
    "first": 0.1,
    "last": 2.0,
    "controlFirst": 0.2,
    "controlLast": 1.0,
    "tokens": 12,
    "controlTokens": 10,
}


def _line(variant: str = "b", experiment: str = "e", **told: Any) -> bytes:
    copy = {"experiment": experiment, "variant": variant, "version": "m-2", "model": "m", "at": 1.0, **told}
    return ('{"shadow":' + json.dumps(copy) + "}\n").encode()


def _log(seconds: float) -> int:
    return round(math.log(seconds * 1000) * LOG_PARTS)


def test_copies_are_summed_by_challenger_and_count_once(tmp_path: Path) -> None:
    database = Database(tmp_path / "recorder.sqlite")
    ingest = Ingest(database)
    lines = [
        _line(**WHOLE),
        _line(**WHOLE | {"equal": True, "similarity": 1, "stream": True, "json": True, "controlJson": False}),
        _line(**{**WHOLE, "last": None, "tokens": None}),
        *(_line(outcome=outcome) for outcome in ("timeout", "error", "broken", "long")),
        _line("c", outcome="error"),
        line(1).encode(),
    ]
    text = b"".join(lines)
    for _ in range(2):
        assert ingest.take("pod", 0, text) == len(text)
    told = database.shadowed("e")["variants"]
    assert told["b"] == {
        "requests": 7,
        "failures": 3,
        "compared": 3,
        "equal": 1,
        "similarity": 2_000_000,
        "timed": 2,
        "ln_latency": pytest.approx(2 * _log(2), abs=2),
        "control_ln_latency": pytest.approx(2 * _log(1), abs=2),
        "firsts": 1,
        "ln_first": pytest.approx(_log(0.1), abs=1),
        "control_ln_first": pytest.approx(_log(0.2), abs=1),
        "counted": 2,
        "tokens": 24,
        "control_tokens": 20,
        "json_asked": 1,
        "json_valid": 1,
        "control_json_valid": 0,
    }
    assert (told["c"]["requests"], told["c"]["failures"], told["c"]["compared"]) == (1, 1, 0)
    statistics = database.statistics("e", "rating")["variants"]
    assert {name: arm["requests"] for name, arm in statistics.items()} == {"a": 1}, "the answer, and no copy"
    assert database.answered("m-2")["requests"] == 0
    assert database.shadowed("other")["variants"] == {}
    assert database.shadowed("e")["parts"] == {"similarity": 1_000_000, "logarithm": LOG_PARTS}
    database.close()


def test_a_copy_that_tells_nothing_is_left_out_and_holds_up_none(tmp_path: Path) -> None:
    database = Database(tmp_path / "recorder.sqlite")
    bad = [b'{"shadow":{}}\n', b'{"shadow":5}\n', _line(**WHOLE | {"similarity": 2}), _line(**WHOLE | {"tokens": -1})]
    text = b"".join([*bad, _line(**WHOLE, other=[1])])
    assert Ingest(database).take("pod", 0, text) == len(text)
    assert database.shadowed("e")["variants"]["b"]["requests"] == 1
    database.close()


def test_a_file_that_does_not_know_copies_yet_begins_to(tmp_path: Path) -> None:
    path = tmp_path / "recorder.sqlite"
    Database(path).close()
    earlier = sqlite3.connect(path)
    earlier.execute("DROP TABLE shadows")
    earlier.close()
    database = Database(path)
    Ingest(database).take("pod", 0, _line(**WHOLE))
    assert database.shadowed("e")["variants"]["b"]["compared"] == 1
    database.close()


def test_the_operator_asks_for_one_experiment(tmp_path: Path) -> None:
    with recorder(tmp_path) as address:
        assert send(address, _line(**WHOLE), **at(0))[0] == 200
        url = f"http://{address}/experiments/e/shadow"
        request = urllib.request.Request(url, headers={"Authorization": f"Bearer {KEY}"})
        with urllib.request.urlopen(request, timeout=20) as answer:
            assert json.load(answer)["variants"]["b"]["compared"] == 1
