"""The table of what cannot work is whole, and the users' page is made from it."""

from .impossible import IMPOSSIBLE, PAGE, page


def test_the_page_is_what_the_table_makes() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run `python -m tests.impossible`"


def test_each_row_is_another_spec_with_a_remedy() -> None:
    assert len({row.wish for row in IMPOSSIBLE}) == len(IMPOSSIBLE) > 50
    assert all(row.told and row.instead for row in IMPOSSIBLE)
    assert {row.by for row in IMPOSSIBLE} == {"apply", "prepare"}
