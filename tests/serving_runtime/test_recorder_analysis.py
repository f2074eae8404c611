"""What analyses need is the same bytes in any order, and what a naive count over everything says."""

import json
import math
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving_runtime.recorder.closing import closed_by
from serving_runtime.recorder.database import Database
from serving_runtime.recorder.definition import Definition, Range
from serving_runtime.recorder.feedback import Said
from serving_runtime.recorder.line import Exposure
from serving_runtime.recorder.parts import late_part
from serving_runtime.recorder.sums import GRID, LOG_PARTS, on_grid, scaled
from serving_runtime.recorder.user import added_by

HOUR, DAY = 3600.0, 86400.0
START = 20_000 * DAY + 20 * HOUR
"""In the evening: some are enrolled on this day, some on the next."""
TIMES = (0.0, 1.0, 3 * HOUR, 6 * HOUR, 23 * HOUR, 24 * HOUR, 24 * HOUR + 1, 30 * HOUR, 40 * HOUR)
THRESHOLDS = [round(700_000 * 1.05 ** (number - 16)) for number in range(33)]
DEFINITION = Definition(control="a", ranges={"rating": Range(min=1, max=5)})
OUTSIDE: dict[str, Any] = {"experiment": None, "variant": None, "model": "m"}


@dataclass(frozen=True)
class Event:
    """An answer, or what is said of one, at so many seconds from the start."""

    at: float
    line: dict[str, Any] | None = None
    said: Said | None = None


def _line(number: int, user: str, at: float, fate: dict[str, Any], variant: str = "a", **more: Any) -> dict[str, Any]:
    line = {"exposure": f"{number:032x}", "experiment": "e", "variant": variant, "user": user, "at": START + at}
    return Exposure.model_validate(line | {"model": "m", "status": 200} | fate | more).model_dump()


FATES: list[dict[str, Any]] = [
    {"outcome": "complete", "last": 0.7, "completionTokens": 5},
    {"outcome": "complete", "stream": True, "first": 0.137, "last": 0.9, "completionTokens": 11},
    {"outcome": "complete", "stream": True, "first": 0.2, "last": 0.2, "completionTokens": 1},
    {"outcome": "broken", "last": 3.1},
    {"status": 503, "outcome": "error"},
    {"status": 499, "outcome": "left"},
]
answers = st.builds(
    lambda number, user, at, fate, variant: Event(at, line=_line(number, user, at, fate, variant)),
    st.integers(0, 40),
    st.sampled_from(["u1", "u2", "u3"]),
    st.sampled_from(TIMES),
    st.sampled_from(FATES),
    st.sampled_from(["a", "b"]),
)
values = st.builds(
    lambda number, at, value, event: Event(at, said=Said("rating", scaled(value), f"{number:032x}", event=event)),
    st.integers(0, 40),
    st.sampled_from(TIMES),
    st.sampled_from([1.0, 2.0, 3.5, 5.0]),
    st.sampled_from(["one", "two"]),
)


class Player:
    """A recorder whose clock is the test's."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "recorder.sqlite"
        self.database = self._opened(0)

    def _opened(self, at: float) -> Database:
        with self.clock(at):
            return Database(self.path)

    @contextmanager
    def clock(self, at: float) -> Iterator[None]:
        with patch("time.time", lambda: START + at):
            yield

    def restart(self, at: float) -> None:
        self.database.close()
        self.database = self._opened(at)

    def play(self, at: float, events: Sequence[Event]) -> None:
        with self.clock(at):
            self.database.record_exposures("s", 1, [event.line for event in events if event.line])
            self.database.record_feedback([event.said for event in events if event.said])

    def close_windows(self, at: float) -> None:
        with self.clock(at):
            self.database.close_windows()

    def tables(self) -> dict[str, Any]:
        connection = sqlite3.connect(self.path)
        orders = {"sums": "1, 2, 3, 4", "cells": "1, 2, 3, 4", "arms": "1, 2", "arm_metrics": "1, 2, 3"}
        found = {
            name: connection.execute(f"SELECT * FROM {name} ORDER BY {order}").fetchall()  # noqa: S608
            for name, order in orders.items()
        }
        connection.close()
        return {name: [row for row in rows if any(row[2:])] for name, rows in found.items()}


@contextmanager
def _player(define: bool = True) -> Iterator[Player]:
    """One that has been told what the experiment measures, knows thresholds, and what two users were like before."""
    with TemporaryDirectory() as name, patch("serving_runtime.recorder.closing._SILENCE_SECONDS", math.inf):
        player = Player(Path(name))
        before = [Event(0, line=_line(1000 + days, "u1", -days * DAY, FATES[1], **OUTSIDE)) for days in (1, 2, 14, 15)]
        before.append(Event(0, line=_line(1020, "u2", -DAY, FATES[4], **OUTSIDE)))
        player.play(-HOUR, before)
        said = [
            Event(0, said=Said("rating", scaled(value), f"{1000 + days:032x}"))
            for days, value in ((1, 2.0), (2, 5.0), (15, 1.0))
        ]
        player.play(-HOUR, said)
        if define:
            player.database.define("e", DEFINITION)
        connection = sqlite3.connect(player.path)
        connection.execute("INSERT OR IGNORE INTO scopes (experiment) VALUES ('e')")
        connection.execute("UPDATE scopes SET thresholds = ? WHERE experiment = 'e'", (json.dumps(THRESHOLDS),))
        connection.commit()
        connection.close()
        yield player
        player.database.close()


def _perform(player: Player, events: Sequence[Event], data: st.DataObject) -> None:
    """Each line arrives up to two hours late, some twice; feedback as it is said. Windows are closed in between."""
    arrivals = []
    for event in events:
        delay = data.draw(st.sampled_from([0.0, 2.0, 2 * HOUR])) if event.line else 0.0
        arrivals.append((event.at + delay, event))
        if event.line and data.draw(st.booleans()):
            arrivals.append((event.at + data.draw(st.sampled_from([2 * HOUR, 60 * HOUR])), event))
    order = data.draw(st.permutations(range(len(arrivals))))
    arrivals = sorted((arrivals[place] for place in order), key=lambda arrival: arrival[0])
    while arrivals:
        together = [arrival for arrival in arrivals[: data.draw(st.integers(1, 4))] if arrival[0] == arrivals[0][0]]
        arrivals = arrivals[len(together) :]
        player.play(together[0][0], [event for _, event in together])
        if data.draw(st.booleans()):
            player.close_windows(together[0][0])
        if data.draw(st.integers(0, 9)) == 0:
            player.restart(together[0][0])
    for hours in (24, 100, 200):
        player.close_windows(hours * HOUR)


def _plausible(events: list[Event]) -> list[Event]:
    """One line per exposure; and what is said after it, under an event's id once while its line may be behind."""
    lines: dict[str, Event] = {}
    for event in events:
        if event.line:
            lines.setdefault(event.line["exposure"], event)
    said: dict[tuple[str, str], list[Event]] = defaultdict(list)
    for event in sorted((one for one in events if one.said), key=lambda one: one.at):
        told = event.said
        if told and told.exposure in lines and event.at >= lines[told.exposure].at:
            same = said[told.exposure, told.event]
            if not same or event.at > same[-1].at + 2 * HOUR:
                same.append(event)
    return [*lines.values(), *(event for same in said.values() for event in same)]


def _half_even(mean: Fraction) -> int:
    return min(max(round(mean * GRID), 0), GRID)


def _naive(events: Sequence[Event]) -> dict[str, Any]:
    """From everything at once: lists by variant, day and name, and histograms by variant and name."""
    lists: dict[tuple[str, int], Counter[str]] = defaultdict(Counter)
    cells: dict[tuple[str, str], Counter[int]] = defaultdict(Counter)
    theirs: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for event in events:
        if event.line:
            theirs[event.line["user"]].append(event.line)
    for user, lines in theirs.items():
        first, variant = min((line["at"], line["variant"]) for line in lines)
        add = Adder(lists[variant, int(first // DAY)], defaultdict(Counter))
        _add_open(add, lines)
        _add_closed(add, user, lines, events, first)
        for name, counted in add.cells.items():
            cells[variant, name] += counted
        for line in lines:
            if _failed(line) or line["outcome"] == "complete":
                cell = 1 << 20 if _failed(line) else math.ceil(math.log(line["last"] * 1000) / math.log(1.02))
                cells[line["variant"], "answers.all"][cell] += 1
    return {"lists": {key: +arm for key, arm in lists.items()}, "cells": dict(cells)}


@dataclass
class Adder:
    """To the lists of one arm and day, by kind and name, and to histograms."""

    arm: Counter[str]
    cells: dict[str, Counter[int]]

    def __call__(self, kind: str, numbers: dict[str, int]) -> None:
        for name, number in numbers.items():
            self.arm[f"{kind}/{name}"] += number


def _add_open(add: Adder, lines: Sequence[dict[str, Any]]) -> None:
    add("users", {"exposed": 1, "failed": int(any(map(_failed, lines)))})
    if any(line["outcome"] == "left" for line in lines):
        add("left", {"left": 1})
    _add_quick(add, lines)
    for name, (m, d, _) in _measured(lines).items():
        if d:
            add(f"ratio {name}", {"n": 1, "m": m, "d": d, "mm": m * m, "dd": d * d, "md": m * d})


def _add_closed(add: Adder, user: str, lines: Sequence[dict[str, Any]], events: Sequence[Event], first: float) -> None:
    add("closed", {"users": 1})
    history = _history(user, int(first // DAY))
    for name, (m, d, most) in _measured([line for line in lines if line["at"] <= first + DAY]).items():
        before = history.get(name)
        if d:
            _add_value(add, name, Fraction(m, d * most), None if before is None else before / most)
    said, late = _said(lines, events, first)
    if late:
        add("late rating", {"values": late})
    if said:
        before = history.get("rating")
        mean = (Fraction(sum(said), len(said)) / 10**9 - 1) / 4
        _add_value(add, "rating", mean, None if before is None else (before - 1) / 4)


def _failed(line: dict[str, Any]) -> bool:
    return bool(line["outcome"] == "broken" or line["status"] >= 500)


def _add_quick(add: Adder, lines: Sequence[dict[str, Any]]) -> None:
    timed = [
        math.inf if _failed(line) else line["last"] for line in lines if _failed(line) or line["outcome"] == "complete"
    ]
    d = len(timed)
    if d:
        add("quick", {"n": 1, "d": d, "dd": d * d})
        for number, threshold in enumerate(THRESHOLDS):
            c = sum(seconds * 1e6 <= threshold for seconds in timed)
            add("quick", {f"c{number}": c, f"cc{number}": c * c, f"cd{number}": c * d})


def _add_value(add: Adder, name: str, mean: Fraction, before: Fraction | None) -> None:
    y = _half_even(mean)
    add(f"value {name}", {"n": 1, "y": y, "yy": y * y})
    if before is not None:
        x = _half_even(before)
        add(f"value {name}", {"h": 1, "yh": y, "x": x, "xx": x * x, "xy": x * y})
    add.cells[name][round(Fraction(y, 104))] += 1


def _measured(lines: Sequence[dict[str, Any]]) -> dict[str, tuple[int, int, int]]:
    longest = _log(600)
    complete = [line for line in lines if line["outcome"] == "complete"]
    streams = [line for line in complete if line["stream"]]
    failures = sum(map(_failed, lines))
    paced = [line for line in streams if line["completion_tokens"] > 1]
    return {
        "answers.errors": (failures, len(lines), 1),
        "answers.latency": (
            sum(_log(line["last"]) for line in complete) + failures * longest,
            len(complete) + failures,
            longest,
        ),
        "answers.first": (sum(_log(line["first"]) for line in streams), len(streams), longest),
        "answers.pace": (
            sum(round((line["last"] - line["first"]) * 1e6) for line in paced),
            sum(line["completion_tokens"] - 1 for line in paced),
            10_000_000,
        ),
        "answers.tokens": (sum(line["completion_tokens"] or 0 for line in lines), len(lines), 131_072),
    }


def _log(seconds: float) -> int:
    return round(math.log(seconds * 1000) * LOG_PARTS)


def _history(user: str, day: int) -> dict[str, Fraction]:
    """As `_player` has told it: u1's days are those before the first, u2 failed on the last of them."""
    today = int(START // DAY)
    known = {"u1": [today - days for days in (1, 2, 14, 15)], "u2": [today - 1]}.get(user, [])
    in_reach = [one for one in known if day - 14 <= one < day]
    lines = [_line(0, user, 0, FATES[4 if user == "u2" else 1], **OUTSIDE) for _ in in_reach]
    found = {name: Fraction(m, d) for name, (m, d, _) in _measured(lines).items() if d} if lines else {}
    rated = [{1: 2, 2: 5, 15: 1}[today - one] for one in in_reach if today - one in (1, 2, 15)] if user == "u1" else []
    return found | ({"rating": Fraction(sum(rated), len(rated))} if rated else {})


def _said(lines: Sequence[dict[str, Any]], events: Sequence[Event], first: float) -> tuple[list[int], int]:
    """What was said within the window, each event's last; and how many events said something else or new later."""
    own = {line["exposure"] for line in lines}
    kept: dict[tuple[str, str], int] = {}
    last: dict[tuple[str, str], int] = {}
    late = set()
    for event in sorted((one for one in events if one.said), key=lambda one: one.at):
        said = event.said
        if said is None or said.exposure not in own:
            continue
        key = (said.exposure, said.event)
        if START + event.at <= first + DAY:
            kept[key] = said.value
        elif last.get(key) != said.value:
            late.add(key)
        last[key] = said.value
    return list(kept.values()), len(late)


def _told(player: Player) -> dict[str, Any]:
    told = player.database.sums("e", "rating")["variants"]
    lists = {
        (variant, day): +Counter({f"{kind}/{name}": n for kind, one in kinds.items() for name, n in one.items()})
        for variant, arm in told.items()
        for day, kinds in arm["days"].items()
    }
    cells = {
        (variant, name): Counter({1 << 20 if cell == "inf" else int(cell): n for cell, n in counted.items()})
        for variant, arm in told.items()
        for name, counted in arm["cells"].items()
    }
    return {"lists": lists, "cells": cells}


@settings(max_examples=60, deadline=None)
@given(st.lists(answers | values, max_size=25), st.data())
def test_any_order_split_replay_and_restart_give_the_same_bytes_and_the_sums_of_a_naive_count(
    drawn: list[Event], data: st.DataObject
) -> None:
    events = _plausible(drawn)
    with _player() as one, _player(define := data.draw(st.booleans())) as other:
        _perform(one, events, data)
        _perform(other, events, data)
        if not define:
            other.database.define("e", DEFINITION)
        assert one.tables() == other.tables()
        naive = _naive(events)
        told = _told(one)
        assert told["lists"] == naive["lists"]
        assert told["cells"] == {key: cells for key, cells in naive["cells"].items() if cells}


@settings(max_examples=40, deadline=None)
@given(st.lists(answers | values, max_size=25), st.data())
def test_rows_and_what_is_left_of_erased_ones_are_always_the_sums(drawn: list[Event], data: st.DataObject) -> None:
    events = sorted(_plausible(drawn), key=lambda event: event.at)
    cut = data.draw(st.integers(0, len(events)))
    with _player() as player:
        for number, event in enumerate(events):
            player.play(event.at, [event])
            if number == cut:
                player.close_windows(event.at + data.draw(st.sampled_from([0.0, 50 * HOUR])))
                player.database.erase(data.draw(st.sampled_from(["u1", "u2"])))
                _rows_and_residual_are_the_sums(player)
        player.close_windows(200 * HOUR)
        _rows_and_residual_are_the_sums(player)
        for user in ("u1", "u2", "u3"):
            player.database.erase(user)
        _rows_and_residual_are_the_sums(player)
        connection = sqlite3.connect(player.path)
        for table in ("users", "windows", "histories", "ratings", "said"):
            assert connection.execute(f"SELECT COUNT(*) FROM {table}").fetchone() == (0,)  # noqa: S608
        connection.close()


def _rows_and_residual_are_the_sums(player: Player) -> None:
    connection = sqlite3.connect(player.path)
    lists: dict[Any, list[int]] = {}
    cells: Counter[Any] = Counter()

    def add(key: Any, numbers: Sequence[int]) -> None:
        lists[key] = [a + b for a, b in zip(lists.get(key, [0] * len(numbers)), numbers, strict=True)]

    for (number,) in connection.execute("SELECT id FROM users WHERE variant IS NOT NULL").fetchall():
        scope, told = added_by(connection, number)
        closed, own_cells = closed_by(connection, number)
        for parts in (told.lists, closed, late_part(connection, number)):
            for name, numbers in parts.items():
                add((scope, told.variant, told.day, name), numbers)
        cells.update((scope, told.variant, *cell) for cell in own_cells)
    for scope, variant, day, name, parts in connection.execute("SELECT * FROM residual_sums"):
        add((scope, variant, day, name), json.loads(parts))
    for scope, variant, name, cell, count in connection.execute("SELECT * FROM residual_cells"):
        cells[scope, variant, name, cell] += count
    kept = {tuple(key): json.loads(parts) for *key, parts in connection.execute("SELECT * FROM sums")}
    rows = connection.execute("SELECT * FROM cells WHERE name != 'answers.all'")
    counted = {tuple(key): count for *key, count in rows}
    connection.close()
    assert kept == {key: numbers for key, numbers in lists.items() if any(numbers)}
    assert counted == +cells


def test_a_look_has_the_closed_sums_of_all_days_of_enrolment_together() -> None:
    lines = [_line(number, f"u{number}", number * 3 * HOUR, FATES[0], "ab"[number % 2]) for number in range(6)]
    said = [Said("rating", scaled(1.0 + number % 5), f"{number:032x}") for number in range(5)]
    events = [Event(line["at"] - START, line=line) for line in lines] + [Event(16 * HOUR, said=one) for one in said]
    with _player() as player:
        for event in events:
            player.play(event.at, [event])
        assert all("closed" not in arm for arm in player.database.statistics("e", "rating")["variants"].values())
        player.close_windows(60 * HOUR)
        look, page = player.database.statistics("e", "rating"), player.database.sums("e", "rating")["variants"]
        for variant, arm in page.items():
            assert len(arm["days"]) == 2
            closed = look["variants"][variant]["closed"]
            days = arm["days"].values()
            assert closed["users"] == sum(day["closed"]["users"] for day in days) == 3
            told = Counter[str]()
            for day in days:
                told.update(day.get("value rating", {}))
            assert (+told, closed["parts"]) == (+Counter(closed["sums"]), GRID)
            assert closed["cells"] == arm["cells"]["rating"]


def test_a_page_of_sums_is_of_one_moment_and_of_an_unknown_experiment_empty() -> None:
    with _player() as player:
        assert player.database.sums("other", "rating") == {
            "control": None,
            "range": None,
            "thresholds": None,
            "variants": {},
        }
        told = player.database.sums("e", "rating")
        assert (told["control"], told["range"], told["thresholds"]) == ("a", {"min": 1.0, "max": 5.0}, THRESHOLDS)


@pytest.mark.parametrize(
    ("mean", "place"), [(Fraction(11, 3), 698_880), (Fraction(1), 0), (Fraction(5), GRID), (Fraction(7), GRID)]
)
def test_a_mean_has_a_place_between_the_ends_of_its_range(mean: Fraction, place: int) -> None:
    count = mean.denominator
    assert on_grid(mean.numerator * 10**9, count, 10**9, 5 * 10**9) == place


def test_halves_are_rounded_to_even() -> None:
    assert [on_grid(number, 2 * GRID, 0, 1) for number in (1, 3, 5)] == [0, 2, 2]
