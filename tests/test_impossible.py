"""The table of what cannot work is whole, and the users' page is made from it."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from .impossible import IMPOSSIBLE, PAGE, page

_REMEDY = re.compile(
    r"(?:^|[ ,:;])(?:add|ask|change|choose|convert|ends?|give|leave|lower|mend|name|needs?|one of|put|raise|remove|say"
    r"|set|take|use|write) "
)
_DEFINITIONS = Path(__file__).parents[1] / "crds"


def _messages(node: Any) -> Iterator[str]:
    children = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    if isinstance(node, dict) and isinstance(node.get("message"), str):
        yield node["message"]
    for child in children:
        yield from _messages(child)


def test_the_page_is_what_the_table_makes() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run `python -m tests.impossible`"


def test_each_row_is_another_spec_with_a_remedy() -> None:
    assert len({row.wish for row in IMPOSSIBLE}) == len(IMPOSSIBLE) > 50
    assert all(row.told and row.instead for row in IMPOSSIBLE)
    assert {row.by for row in IMPOSSIBLE} == {"apply", "prepare"}


def test_what_is_told_says_what_to_do() -> None:
    assert [row.told for row in IMPOSSIBLE if not _REMEDY.search(row.told)] == []


def test_what_apply_tells_is_said_by_a_rule_of_the_definitions() -> None:
    said = [message for path in _DEFINITIONS.glob("*.yaml") for message in _messages(yaml.safe_load(path.read_text()))]
    told = [row.told for row in IMPOSSIBLE if row.by == "apply"]
    assert [words for words in told if not any(words in message for message in said)] == []
