"""What the end-to-end test of faults calls lost, told twice, or told otherwise than its clients saw it."""

from dataclasses import replace

import pytest

from tests.e2e.accounts import Account, Row, account, hashed
from tests.e2e.load import Attempt

KEY = "key"
ASKED = Attempt(user="u", request=0, kind="stream", began=1.0, ended=2.0, status=200, exposure="ab", variant="stable")
COMPLETE = replace(ASKED, outcome="complete")
ROW = Row(variant="stable", requests=1, outcomes=frozenset({"complete"}), exposure="ab")
BROKEN = replace(ROW, outcomes=frozenset({"broken"}))
UNANSWERED = replace(ASKED, status=None, exposure=None, variant=None, outcome="unanswered")


def _compared(attempt: Attempt, *rows: Row) -> Account:
    return account([attempt], {hashed(KEY, attempt.user): row for row in rows}, KEY, ())


@pytest.mark.parametrize(
    ("attempt", "rows", "wrong"),
    [
        (COMPLETE, [ROW], set()),
        (COMPLETE, [], {"missing"}),
        (COMPLETE, [replace(ROW, requests=2)], {"repeated"}),
        (COMPLETE, [BROKEN], {"otherwise"}),
        (COMPLETE, [replace(ROW, variant="tuned")], {"otherwise"}),
        (COMPLETE, [replace(ROW, exposure="cd")], {"otherwise"}),
        (COMPLETE, [replace(ROW, exposure=None)], set()),
        (replace(ASKED, outcome="broken"), [BROKEN], {"failed"}),
        (replace(ASKED, outcome="broken"), [ROW], {"failed", "otherwise"}),
        (replace(ASKED, outcome="truncated"), [ROW], {"failed", "truncated", "otherwise"}),
        (replace(ASKED, outcome="error", status=503), [BROKEN], {"failed", "refused", "otherwise"}),
        (UNANSWERED, [], {"failed"}),
        (UNANSWERED, [BROKEN], {"failed"}),
    ],
)
def test_what_is_wrong_of_an_attempt_is_found(attempt: Attempt, rows: list[Row], wrong: set[str]) -> None:
    found = _compared(attempt, *rows)
    lists = ("failed", "refused", "truncated", "missing", "repeated", "otherwise")
    assert {name for name in lists if getattr(found, name)} == wrong


def test_a_request_that_is_asked_again_fails_only_where_its_last_attempt_does() -> None:
    again = replace(COMPLETE, user="v", began=3.0, ended=4.0)
    rows = {hashed(KEY, "v"): ROW}
    assert account([UNANSWERED, again], rows, KEY, ()).failed == []
    assert account([replace(COMPLETE, began=0.5), replace(again, outcome="broken")], rows, KEY, ()).failed != []


def test_a_record_of_nobody_is_a_stranger_unless_it_was_there_before() -> None:
    rows = {hashed(KEY, "u"): ROW, "new": ROW, "old": ROW}
    assert account([COMPLETE], rows, KEY, ["old"]).strangers == 1
