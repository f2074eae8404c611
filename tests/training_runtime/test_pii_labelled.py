"""Recall and precision on 400 sentences that were labelled by reading them, before the finder was changed for them.

`pii_labelled.jsonl` holds 200 Korean and 200 English sentences in the voices of the five teams, with plenty that only
looks like personal data. The rules were tuned on the half marked `dev`; of the half marked `held-out` only the figures
were looked at. How they are labelled: a name without its title and particle, the surname alone where it stands before
a rank; a half-hidden or split number as far as it is written; an account without its bank; a plate with its region.
Nobody's are hotlines, loopback addresses and networks, names of companies, places and law cases.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from training_runtime.plan import Entity
from training_runtime.prepare.pii import ENTITIES, Finder

FINDER = Finder.of([])
NAMED = {kind: name for name, kind in ENTITIES.items()}
ROWS: list[dict[str, Any]] = [
    json.loads(line) for line in (Path(__file__).parent / "pii_labelled.jsonl").read_text(encoding="utf-8").splitlines()
]
RESIDENT = {"ResidentNumber", "AlienNumber"}
OTHERS = {
    *("Phone", "Card", "Passport", "DriverLicense", "BusinessNumber", "BankAccount"),
    *("Plate", "SocialSecurityNumber", "IpAddress"),
}
Span = tuple[int, int, str]


def _labelled(row: dict[str, Any]) -> Iterator[Span]:
    end = 0
    for span in row["spans"]:
        start = row["text"].index(span["text"], end)
        end = start + len(span["text"])
        yield start, end, span["kind"]


def _shares(part: str, kinds: set[str]) -> tuple[float, float]:
    """Recall: labelled places that a find of their kind covers. Precision: finds that are labelled; a name exactly."""
    counts = Counter[str]()
    for row in ROWS:
        if part not in ("whole", row["set"]):
            continue
        wanted = [span for span in _labelled(row) if span[2] in kinds]
        found = [(find.start, find.end, NAMED[find.kind]) for find in FINDER.find(row["text"])]
        found = [find for find in found if find[2] in kinds]
        counts["wanted"] += len(wanted)
        counts["found"] += len(found)
        counts["covered"] += sum(any(_covers(find, span) for find in found) for span in wanted)
        counts["right"] += sum(any(_is_right(find, span) for span in wanted) for find in found)
    return counts["covered"] / counts["wanted"], counts["right"] / counts["found"]


def _covers(find: Span, span: Span) -> bool:
    return find[2] == span[2] and find[0] <= span[0] and find[1] >= span[1]


def _is_right(find: Span, span: Span) -> bool:
    if find[2] == "Name":
        return find == span
    return find[2] == span[2] and find[0] < span[1] and find[1] > span[0]


@pytest.mark.parametrize("part", ["held-out", "whole"])
@pytest.mark.parametrize(
    ("kinds", "recall", "precision"),
    [(RESIDENT, 0.98, 0.95), (OTHERS, 0.95, 0.95), ({"Email"}, 0.95, 0.95), ({"Name"}, 0.90, 0.90)],
    ids=["resident numbers", "other numbers", "e-mail addresses", "names"],
)
def test_recall_and_precision_on_sentences_labelled_by_hand(
    part: str, kinds: set[str], recall: float, precision: float, record_property: Callable[[str, object], None]
) -> None:
    shares = _shares(part, kinds)
    record_property("recall and precision", shares)
    assert shares[0] >= recall
    assert shares[1] >= precision


def test_the_sentences_are_in_two_languages_and_halves_and_every_kind_is_among_them() -> None:
    assert Counter((row["language"], row["set"]) for row in ROWS) == {
        (language, part): 100 for language in ("ko", "en") for part in ("dev", "held-out")
    }
    assert len({row["text"] for row in ROWS}) == 400
    for part in ("dev", "held-out"):
        kinds: set[Entity] = {span["kind"] for row in ROWS if row["set"] == part for span in row["spans"]}
        assert kinds == set(ENTITIES)
        assert sum(not row["spans"] for row in ROWS if row["set"] == part) >= 80
