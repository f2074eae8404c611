"""Rows are held out by stratum, groups stay together, the same way every time."""

from collections import Counter

import pytest

from training_runtime.errors import DataError
from training_runtime.plan import SplitPlan
from training_runtime.prepare.split import split_rows
from training_runtime.workspace import PARTS


def _rule(validation: float = 0.1, test: float = 0.1, seed: int = 42) -> SplitPlan:
    return SplitPlan(validation=validation, test=test, stratify_by=None, seed=seed)


def test_shares_are_kept() -> None:
    parts = split_rows(["a"] * 100, None, _rule())
    assert {PARTS[part]: count for part, count in Counter(parts).items()} == {"train": 80, "validation": 10, "test": 10}


def test_strata_keep_their_shares() -> None:
    strata = ["rare"] * 50 + ["common"] * 950
    parts = split_rows(strata, None, _rule())
    assert Counter(strata[i] for i, part in enumerate(parts) if part == 2) == {"rare": 5, "common": 95}


def test_many_small_strata_do_not_all_round_the_same_way() -> None:
    parts = split_rows([str(i // 4) for i in range(400)], None, _rule())
    assert parts.count(2) == pytest.approx(40, abs=1)


def test_a_group_is_never_cut() -> None:
    groups = [i // 7 for i in range(700)]
    parts = split_rows(["a"] * 700, groups, _rule())
    assert all(len(set(parts[g * 7 : g * 7 + 7])) == 1 for g in range(100))
    assert parts.count(1) == pytest.approx(70, abs=7)
    assert parts.count(2) == pytest.approx(70, abs=7)


def test_the_seed_decides() -> None:
    strata = ["a"] * 50
    assert split_rows(strata, None, _rule()) == split_rows(strata, None, _rule())
    assert split_rows(strata, None, _rule()) != split_rows(strata, None, _rule(seed=7))


def test_no_validation_is_allowed() -> None:
    assert split_rows(["a"] * 10, None, _rule(validation=0.0)).count(1) == 0


@pytest.mark.parametrize("rows", [1, 3])
def test_a_part_that_stays_empty_is_bad_data(rows: int) -> None:
    with pytest.raises(DataError, match="leave none for"):
        split_rows(["a"] * rows, None, _rule())
