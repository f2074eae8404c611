"""Feedback finds its answer, counts once, waits for an answer that is behind, and is never promised and then lost."""

import asyncio
import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from serving_runtime.recorder import feedback, recent
from serving_runtime.recorder import inbox as inbox_module
from serving_runtime.recorder.database import Database
from serving_runtime.recorder.feedback import Outcome, Said, Told
from serving_runtime.recorder.inbox import Inbox
from serving_runtime.recorder.ingest import Ingest
from serving_runtime.recorder.line import Exposure
from serving_runtime.recorder.posted import Feedback, answer_of
from serving_runtime.recorder.sums import scaled


def _answer(number: int, user: str | None = "u", **fields: Any) -> dict[str, Any]:
    line = {"exposure": f"{number:032x}", "experiment": "e", "variant": "a", "user": user, "at": 5.0, "status": 200}
    return Exposure.model_validate(line | fields).model_dump()


def _say(database: Database, number: int, value: float, event: str = "", metric: str = "rating") -> Told:
    return database.record_feedback([Said(metric, scaled(value), f"{number:032x}", event=event)])[0]


def _mean(database: Database) -> Any:
    return database.statistics("e", "rating")["variants"]["a"].get("metric", {}).get("mean")


def test_an_event_that_is_repeated_late_does_not_undo_what_was_said_after_it(database: Database) -> None:
    database.record_exposures("s", 1, [_answer(1)])
    for value, event in ((5.0, "first"), (2.0, "second"), (5.0, "first")):
        assert _say(database, 1, value, event) is Outcome.RECORDED
    assert _mean(database) == 3.5


def test_the_same_event_with_another_value_takes_its_place(database: Database) -> None:
    database.record_exposures("s", 1, [_answer(1)])
    for value in (5.0, 1.0):
        _say(database, 1, value, "first")
    assert _mean(database) == 1.0


def test_without_an_event_the_last_word_holds(database: Database) -> None:
    database.record_exposures("s", 1, [_answer(1)])
    for value in (5.0, 5.0, 2.0):
        _say(database, 1, value)
    assert _mean(database) == 2.0


@pytest.mark.parametrize("completion", ["their-7", f"chatcmpl-{1:032x}", f"resp_{9:032x}"])
@pytest.mark.parametrize("is_early", [False, True])
def test_a_completion_s_id_finds_its_answer(database: Database, completion: str, is_early: bool) -> None:
    said = [Said("rating", scaled(4.0), completion=completion)]
    if is_early:
        assert database.record_feedback(said) == [Outcome.HELD]
    database.record_exposures("s", 1, [_answer(1, completion=completion), _answer(2, "v", completion="other")])
    if not is_early:
        assert database.record_feedback(said) == [Outcome.RECORDED]
    metric = database.statistics("e", "rating")["variants"]["a"]["metric"]
    assert (metric["users"], metric["mean"], metric["squares"]) == (1, 4.0, 0.0)
    assert database.statistics("e", "rating")["feedback"] == {"waiting": 0, "dead": {}}


def test_a_completion_s_id_of_several_answers_finds_none(database: Database) -> None:
    database.record_exposures("s", 1, [_answer(number, f"u{number}", completion="cmpl-0") for number in (1, 2)])
    assert database.record_feedback([Said("rating", scaled(4.0), completion="cmpl-0")]) == [Outcome.AMBIGUOUS]


def test_what_waits_counts_in_the_order_in_which_it_was_said(database: Database) -> None:
    for value in (5.0, 2.0):
        assert _say(database, 1, value) is Outcome.HELD
    assert database.statistics("e", "rating")["feedback"]["waiting"] == 1
    database.record_exposures("s", 1, [_answer(1)])
    assert _mean(database) == 2.0


def test_what_waits_too_long_is_a_dead_letter_that_is_counted(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    _say(database, 1, 5.0)
    database.prune()
    assert database.statistics("e", "rating")["feedback"] == {"waiting": 1, "dead": {}}
    now = time.time() + feedback.HOLD_SECONDS + 1
    monkeypatch.setattr(time, "time", lambda: now)
    database.prune()
    assert database.statistics("e", "rating")["feedback"] == {"waiting": 0, "dead": {"unknown": 1}}


def test_what_is_said_of_an_answer_that_is_too_old_is_a_dead_letter_that_is_counted(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    database.record_exposures("s", 1, [_answer(1)])
    start = time.time()
    monkeypatch.setattr(time, "time", lambda: start + 7 * 86400)
    assert _say(database, 1, 5.0, "a week later") is Outcome.RECORDED
    monkeypatch.setattr(time, "time", lambda: start + 31 * 86400)
    assert _say(database, 1, 1.0, "a month later") is Outcome.LATE
    assert database.statistics("e", "rating")["feedback"]["dead"] == {"late": 1}
    assert _mean(database) == 5.0


def test_made_up_ids_fill_no_disk_and_keep_nobody_s_known_answer_from_counting(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feedback, "MOST_WAITING", 3)
    database.record_exposures("s", 1, [_answer(1)])
    outcomes = database.record_feedback([Said("rating", 1, f"{number:032x}") for number in (7, 8, 9, 10, 1)])
    assert outcomes == [Outcome.HELD, Outcome.HELD, Outcome.HELD, Outcome.FULL, Outcome.RECORDED]


_NOBODY_S: list[dict[str, Any]] = [
    {"user": None},
    {"variant": None},
    {"experiment": None, "variant": None},
    {"experiment": None, "variant": None, "model": "m", "user": None},
]


@pytest.mark.parametrize("fields", _NOBODY_S)
@pytest.mark.parametrize("said", [Said("rating", 1, f"{1:032x}"), Said("rating", 1, completion="their-1")])
def test_what_is_said_of_an_answer_that_counts_nowhere_is_told_so_and_does_not_wait(
    database: Database, fields: dict[str, Any], said: Said
) -> None:
    assert database.record_feedback([said]) == [Outcome.HELD]
    database.record_exposures("s", 1, [_answer(1, completion="their-1", **fields)])
    assert database.statistics("e", "rating")["feedback"] == {"waiting": 0, "dead": {"not counted": 1}}
    assert database.record_feedback([said]) == [Outcome.NOT_COUNTED]
    told = database.statistics("e", "rating")
    assert told.pop("open")["variants"] == {}
    assert told == {
        "variants": {},
        "moved_users": 0,
        "control": None,
        "range": None,
        "newest": None,
        "reported": pytest.approx(time.time(), abs=60),
        "feedback": {"waiting": 0, "dead": {"not counted": 1}},
        "scoring": None,
    }


def test_ratings_of_ordinary_answers_leave_room_for_those_of_experiments(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feedback, "MOST_WAITING", 3)
    ordinary = [f'{{"exposure": "{number:032x}", "at": 5.0, "status": 200}}\n' for number in range(10)]
    Ingest(database).take("pod", 0, "".join(ordinary).encode())
    assert {_say(database, number, 5.0) for number in range(10)} == {Outcome.NOT_COUNTED}
    assert _say(database, 10, 5.0) is Outcome.HELD
    database.record_exposures("s", 1, [_answer(10)])
    assert _mean(database) == 5.0


def test_of_answers_that_count_nowhere_the_last_are_known(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recent, "MOST", 3)
    for number in range(9):
        database.record_exposures("s", number, [_answer(number, user=None)])
    outcomes = [_say(database, number, 5.0) for number in range(9)]
    assert outcomes[:3] == [Outcome.HELD] * 3
    assert outcomes[-3:] == [Outcome.NOT_COUNTED] * 3


@pytest.mark.parametrize("known", [True, False])
def test_an_answer_has_so_many_values_and_not_more(database: Database, known: bool) -> None:
    most = feedback.MOST_OF_AN_ANSWER
    if known:
        database.record_exposures("s", 1, [_answer(1)])
    outcomes = [_say(database, 1, 5.0, f"event {number}") for number in range(most + 1)]
    taken = Outcome.RECORDED if known else Outcome.HELD
    assert outcomes == [taken] * most + [Outcome.TOO_MANY]
    assert _say(database, 1, 4.0, "event 0") is taken, "it takes the place of what was said"


@pytest.mark.parametrize("name", ["", "their-1"])
def test_what_waits_may_be_repeated_and_changed_where_no_more_may_wait(
    database: Database, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(feedback, "MOST_WAITING", 1)
    said = [Said("rating", scaled(value), "" if name else f"{1:032x}", name, "one") for value in (5.0, 5.0, 2.0)]
    assert database.record_feedback(said) == [Outcome.HELD] * 3
    assert _say(database, 1, 1.0, "another") is Outcome.FULL
    assert database.record_feedback(said[1:]) == [Outcome.HELD] * 2
    database.record_exposures("s", 1, [_answer(1, completion="their-1")])
    assert _mean(database) == 2.0


def test_an_answer_that_is_called_by_several_names_has_no_more_values(database: Database) -> None:
    most = feedback.MOST_OF_AN_ANSWER
    names = [f"{number}-{1:032x}" for number in range(most + 1)]
    outcomes = [database.record_feedback([Said("rating", 1, completion=name, event=name)])[0] for name in names]
    assert outcomes == [Outcome.HELD] * most + [Outcome.TOO_MANY]
    assert _say(database, 1, 5.0, "another") is Outcome.TOO_MANY


def test_what_waits_for_an_answer_under_several_names_counts_up_to_so_many_values(
    database: Database, tmp_path: Path
) -> None:
    most = feedback.MOST_OF_AN_ANSWER
    for number in range(most):
        assert _say(database, 1, 5.0, f"event {number}") is Outcome.HELD
    said = [Said("rating", scaled(1.0), completion="their-1", event=f"event {number}") for number in range(most + 3)]
    assert database.record_feedback(said) == [Outcome.HELD] * most + [Outcome.TOO_MANY] * 3
    other = [Said("other", 1, completion="their-2", event=f"event {number}") for number in range(most)]
    assert database.record_feedback(other) == [Outcome.HELD] * most
    assert _say(database, 2, 5.0) is Outcome.HELD
    database.record_exposures("s", 1, [_answer(1, completion="their-1"), _answer(2, "v", completion="their-2")])
    connection = sqlite3.connect(tmp_path / "recorder.sqlite")
    assert connection.execute("SELECT COUNT(*) FROM said GROUP BY answer").fetchall() == [(most,)] * 2
    connection.close()
    assert database.statistics("e", "rating")["feedback"] == {"waiting": 0, "dead": {"too many": 1}}
    assert _mean(database) == 1.0


def test_an_erased_user_s_answer_takes_no_feedback(database: Database) -> None:
    database.record_exposures("s", 1, [_answer(1)])
    assert database.erase("u") == 1
    assert _say(database, 1, 5.0) is Outcome.UNKNOWN
    assert database.erase("u") == 0


def test_outside_experiments_a_model_s_users_have_sums_by_day(database: Database, tmp_path: Path) -> None:
    day = 86400.0
    plain: list[dict[str, Any]] = [
        {"at": 0.0, "status": 502, "outcome": "error"},
        {"at": 5.0},
        {"at": day},
        {"at": day, "model": "other"},
        {"at": day, "user": "v"},
    ]
    fields = {"experiment": None, "variant": None, "model": "m"}
    lines = [_answer(number, **(fields | own)) for number, own in enumerate(plain)]
    database.record_exposures("s", 1, lines)
    for number, value in ((0, 1.0), (1, 4.0), (2, 5.0)):
        _say(database, number, value)
    select = (
        "SELECT model, day, users.user, requests, failures, metric, count, total FROM users JOIN scopes"
        " ON scopes.id = scope LEFT JOIN ratings ON ratings.user = users.id ORDER BY model, day, users.user"
    )
    connection = sqlite3.connect(tmp_path / "recorder.sqlite")
    assert connection.execute(select).fetchall() == [
        ("m", 0, "u", 2, 1, "rating", 2, scaled(5.0)),
        ("m", 1, "u", 1, 0, "rating", 1, scaled(5.0)),
        ("m", 1, "v", 1, 0, None, None, None),
        ("other", 1, "u", 1, 0, None, None, None),
    ]
    connection.close()
    assert database.statistics("e", "rating")["variants"] == {}


@pytest.mark.parametrize(
    ("outcome", "status", "kind"),
    [
        (Outcome.RECORDED, 200, None),
        (Outcome.NOT_COUNTED, 200, None),
        (Outcome.HELD, 202, None),
        (Outcome.LATE, 410, "invalid_request_error"),
        (Outcome.UNKNOWN, 404, "invalid_request_error"),
        (Outcome.AMBIGUOUS, 409, "invalid_request_error"),
        (Outcome.TOO_MANY, 429, "invalid_request_error"),
        (Outcome.FULL, 503, "server_error"),
    ],
)
def test_each_outcome_is_told_by_a_status(outcome: Outcome, status: int, kind: str | None) -> None:
    posted = Feedback.model_validate({"completionId": "c", "metric": "rating", "value": 1})
    told = answer_of(outcome, posted)
    assert told.status_code == status
    assert (told.headers.get("Retry-After") is not None) == (status == 503)
    assert kind is None or f'"type":"{kind}"'.encode() in bytes(told.body)
    assert (b'"reason":"' in bytes(told.body)) == (outcome is Outcome.NOT_COUNTED)


def test_what_comes_while_the_disk_works_is_written_together_and_all_hear_what_went_wrong() -> None:
    batches: list[int] = []

    def write(said: Sequence[Said]) -> list[Outcome]:
        batches.append(len(said))
        if said[0].metric == "bad":
            raise sqlite3.OperationalError("database or disk is full")
        time.sleep(0.05)
        return [Outcome.RECORDED] * len(said)

    async def post() -> list[Any]:
        inbox = Inbox(write)
        first = asyncio.create_task(inbox.put(Said("good", 1)))
        await asyncio.sleep(0.01)
        rest = [inbox.put(Said("bad" if number == 0 else "good", 1)) for number in range(20)]
        return [await first, *await asyncio.gather(*rest, return_exceptions=True), await inbox.put(Said("good", 1))]

    told = asyncio.run(post())
    assert batches == [1, 20, 1]
    assert (told[0], told[-1]) == (Outcome.RECORDED, Outcome.RECORDED)
    assert all(isinstance(error, sqlite3.OperationalError) for error in told[1:-1])


def test_more_than_so_many_at_once_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inbox_module, "_MOST", 2)

    async def post() -> list[Told]:
        inbox = Inbox(lambda said: [Outcome.RECORDED] * len(said))
        return await asyncio.gather(*(inbox.put(Said("rating", 1)) for _ in range(3)))

    assert asyncio.run(post()) == [Outcome.RECORDED, Outcome.RECORDED, Outcome.FULL]


@pytest.mark.parametrize(
    ("total", "left", "rows", "held"),
    [
        (1 << 30, 0.6, {"inside", "outside"}, Outcome.HELD),
        (1 << 30, 0.4, {"inside"}, Outcome.HELD),
        (1 << 30, 0.07, {"inside"}, Outcome.HELD),
        (1 << 30, 0.01, set(), Outcome.FULL),
        (1 << 40, 0.01, {"inside", "outside"}, Outcome.HELD),
        (1 << 40, 0.0008, {"inside"}, Outcome.HELD),
    ],
)
def test_on_a_full_disk_sums_go_on_and_rows_are_left_out_in_order(
    database: Database,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    total: int,
    left: float,
    rows: set[str],
    held: Outcome,
) -> None:
    _say(database, 3, 5.0)
    database.record_exposures("s", 0, [_answer(9, experiment=None, variant=None, model="m")])
    volume = SimpleNamespace(total=total, free=int(left * total))
    monkeypatch.setattr("shutil.disk_usage", lambda _: volume)
    outside = _answer(2, experiment=None, variant=None, model="m", exposure="outside")
    database.record_exposures("s", 1, [_answer(1, exposure="inside"), outside, _answer(3)])
    connection = sqlite3.connect(tmp_path / "recorder.sqlite")
    found = {row[0] for row in connection.execute("SELECT id FROM answered")}
    assert found - {bytes.fromhex(f"{number:032x}") for number in (3, 9)} == rows
    assert bytes.fromhex(f"{3:032x}") in found
    assert connection.execute("SELECT SUM(requests) FROM users").fetchone() == (4,)
    connection.close()
    assert _mean(database) == 5.0
    assert _say(database, 4, 5.0) is held
    for name in {"inside", "outside"} - rows:
        assert database.record_feedback([Said("rating", 1, name)]) == [Outcome.NOT_COUNTED]


def test_who_is_outside_experiments_takes_no_room_that_is_left_for_those_within(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Of users of whom a day has a row the sums go on; new ones get none, whoever makes up names."""
    outside = {"experiment": None, "variant": None, "model": "m"}
    database.record_exposures("s", 1, [_answer(1, user="known", **outside)])
    volume = SimpleNamespace(total=1 << 30, free=400 << 20)
    monkeypatch.setattr("shutil.disk_usage", lambda _: volume)
    _say(database, 3, 5.0)
    answers = [_answer(2, user="known", **outside), _answer(3, user="new", **outside), _answer(4, user="within")]
    database.record_exposures("s", 2, answers)
    connection = sqlite3.connect(tmp_path / "recorder.sqlite")
    assert dict(connection.execute("SELECT user, requests FROM users")) == {"known": 2, "within": 1}
    connection.close()
    assert database.statistics("e", "rating")["feedback"] == {"waiting": 0, "dead": {"not counted": 1}}
    assert _say(database, 3, 5.0) is Outcome.NOT_COUNTED
    volume.free = 1 << 30
    database.record_exposures("s", 3, [_answer(5, user="new", **outside)])
    assert [record.message.partition(":")[0] for record in caplog.records] == [
        "the volume has little room",
        "the volume has room again",
    ]
