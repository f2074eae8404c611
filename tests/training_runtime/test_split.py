"""Rows are held out by stratum, the same way every time."""

from collections import Counter

import pytest

from training_runtime.errors import DataError
from training_runtime.plan import SplitPlan
from training_runtime.prepare.split import split_rows


def _rule(validation: float = 0.1, test: float = 0.1, seed: int = 42) -> SplitPlan:
    return SplitPlan(validation=validation, test=test, stratify_by=None, seed=seed)


def test_every_row_is_in_exactly_one_part() -> None:
    parts = split_rows(["a"] * 100, _rule())
    assert Counter(position for part in parts.values() for position in part) == Counter(range(100))
    assert {name: len(part) for name, part in parts.items()} == {"train": 80, "validation": 10, "test": 10}


def test_strata_keep_their_shares() -> None:
    strata = ["rare"] * 50 + ["common"] * 950
    parts = split_rows(strata, _rule())
    assert Counter(strata[i] for i in parts["test"]) == {"rare": 5, "common": 95}


def test_many_small_strata_do_not_all_round_the_same_way() -> None:
    parts = split_rows([str(i // 4) for i in range(400)], _rule())
    assert len(parts["test"]) == pytest.approx(40, abs=1)


def test_the_seed_decides() -> None:
    strata = ["a"] * 50
    assert split_rows(strata, _rule()) == split_rows(strata, _rule())
    assert split_rows(strata, _rule()) != split_rows(strata, _rule(seed=7))


def test_no_validation_is_allowed() -> None:
    assert split_rows(["a"] * 10, _rule(validation=0.0))["validation"] == []


@pytest.mark.parametrize("rows", [1, 3])
def test_a_part_that_stays_empty_is_bad_data(rows: int) -> None:
    with pytest.raises(DataError, match="leave none for"):
        split_rows(["a"] * rows, _rule())
