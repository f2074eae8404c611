"""A decision is made again from its record, offline."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from anneal_operator.__main__ import verdict
from anneal_operator.decide.statistics.recomputed import recomputed
from anneal_operator.decide.statistics.snapshot import Snapshot
from anneal_operator.decide.statistics.sums import Scale
from anneal_operator.decide.statistics.terms import RULES, Counts, Terms
from tests.support.counted import PARTS, sums_of

TERMS = Terms("Sequential", 0.05, 0, (5000, 5000), 100, 200, increases=True)
COUNTS = Counts((200, 210), (400, 420), (0, 1), (sums_of(200, 3.0, 190.0), sums_of(205, 4.0, 190.0)), Scale(PARTS))
SNAPSHOT = Snapshot("rating", ("a", "b"), TERMS, COUNTS)


def _decision(snapshot: Snapshot = SNAPSHOT) -> dict[str, Any]:
    found = snapshot.conclusion()
    told = {} if found is None else {"outcome": found.outcome, "winner": found.winner, "rule": found.rule}
    reason = {"reason": found.sentence} if found else {}
    return {**told, **reason, "decidedAt": "2026-03-01T12:00:00Z", "snapshot": snapshot.text()}


@pytest.mark.parametrize("shape", ["ConfigMap", "ABExperiment", "alone"])
def test_the_same_numbers_give_the_same_words(shape: str) -> None:
    decision = _decision()
    text = {
        "ConfigMap": {"kind": "ConfigMap", "data": {"start.json": "{}", "decision.json": json.dumps(decision)}},
        "ABExperiment": {"kind": "ABExperiment", "status": {"decision": decision}},
        "alone": decision,
    }[shape]
    told, agrees = recomputed(json.dumps(text))
    recorded, again, conclusion = told.splitlines()
    assert recorded.startswith("recorded:   Winner b, by sequence-0.95: b is better than a: rating +1 [")
    assert again.removeprefix("recomputed: ") == recorded.removeprefix("recorded:   ")
    assert (conclusion, agrees) == ("they agree", True)


def test_a_decision_of_a_build_that_did_not_say_how_it_stands_to_what_was_asked_agrees() -> None:
    asked = replace(SNAPSHOT, terms=replace(TERMS, effect=0.2))
    decision = _decision(asked)
    earlier = decision["reason"].removesuffix("; at least 0.2 was asked for: shown to be as much")
    assert earlier != decision["reason"]
    for reason in (decision["reason"], earlier):
        told, agrees = recomputed(json.dumps(decision | {"reason": reason}))
        assert agrees, told
        assert told.count(reason) == 2


@pytest.mark.parametrize("changes", [{"winner": "a"}, {"outcome": "ControlWins"}, {"reason": "b is nicer"}])
def test_a_decision_that_somebody_changed_is_told(changes: dict[str, str]) -> None:
    told, agrees = recomputed(json.dumps(_decision() | changes))
    assert (told.splitlines()[-1], agrees) == ("they do not agree", False)


def test_numbers_that_somebody_changed_are_told() -> None:
    few = replace(SNAPSHOT, counts=replace(COUNTS, users=(900, 210)))
    told, agrees = recomputed(json.dumps(_decision(snapshot=SNAPSHOT) | {"snapshot": few.text()}))
    assert ("the numbers decide nothing" in told, agrees) == (True, False)


def test_what_time_decided_is_no_matter_of_numbers() -> None:
    equal = replace(SNAPSHOT, counts=replace(COUNTS, sums=(sums_of(200, 3.0, 190.0),) * 2))
    ended = {"outcome": "Inconclusive", "rule": "max-duration", "reason": "maxDuration passed"}
    for snapshot in (equal.text(), "{}"):
        told, agrees = recomputed(json.dumps({**_decision(equal), **ended, "snapshot": snapshot}))
        assert agrees
        assert "recomputed: the numbers decide nothing\nit ended by the rule max-duration" in told


def test_a_winner_by_anything_but_numbers_is_told() -> None:
    told, agrees = recomputed(json.dumps(_decision() | {"rule": "max-duration"}))
    assert (told.splitlines()[-1], agrees) == ("they do not agree", False)


def test_a_winner_that_was_returned_from_while_it_baked_is_told_as_that() -> None:
    returned = json.dumps({"outcome": "Aborted", "reason": "it was aborted by `abort` while the winner baked"})
    data = {"decision.json": json.dumps(_decision()), "return.json": returned}
    told, agrees = recomputed(json.dumps({"kind": "ConfigMap", "data": data}))
    assert agrees
    *_, agree, since = told.splitlines()
    assert (agree, since) == ("they agree", "since then: it was aborted by `abort` while the winner baked")


CUT = json.loads(SNAPSHOT.text())
CUT["counts"]["requests"].pop()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{", "Expecting"),
        ("[]", "there is no decision"),
        ("{}", "there is no decision"),
        (json.dumps({"kind": "ConfigMap", "data": {"start.json": "{}"}}), "there is no decision"),
        (json.dumps(_decision(snapshot=SNAPSHOT) | {"snapshot": '{"samples":{},"users":{}}'}), "kept means"),
        (
            json.dumps(_decision(replace(SNAPSHOT, terms=replace(TERMS, rule=RULES[-1] + 1)))),
            "and this build knows rules",
        ),
        (json.dumps(_decision() | {"snapshot": json.dumps(CUT)}), "there is no decision"),
    ],
)
def test_what_cannot_be_recomputed_is_told_with_the_reason(
    text: str, why: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A record of an earlier build has means that were rounded; one of a later build another rule."""
    path = tmp_path / "record.json"
    path.write_text(text)
    assert verdict(["verdict", str(path)]) == 2
    assert why in capsys.readouterr().err


def test_the_command_prints_and_ends_by_whether_they_agree(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "record.json"
    for winner, code in (("b", 0), ("a", 1)):
        path.write_text(json.dumps(_decision() | {"winner": winner}))
        assert verdict(["verdict", str(path)]) == code
        assert "recomputed: Winner b" in capsys.readouterr().out
    assert verdict(["verdict"]) == 2
    assert verdict(["serve", str(path)]) == 2
    assert verdict(["verdict", str(tmp_path / "nowhere")]) == 2


def test_numbers_are_the_same_however_they_were_kept() -> None:
    assert Snapshot.read(json.loads(SNAPSHOT.text())) == SNAPSHOT
