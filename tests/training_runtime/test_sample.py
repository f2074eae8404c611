"""Which rows evaluation asks: a sample with each label's share, whatever the order on the disk."""

import json
import random
from collections import Counter
from pathlib import Path

import pytest

from training_runtime.evaluate.sample import chosen, drawn_key, sample


def _keys(texts: list[str], seed: int = 1) -> list[bytes]:
    return [drawn_key(seed, text) for text in texts]


def _drawn(labels: list[str], most: int, seed: int = 1) -> Counter[str]:
    texts = [f"{label} {number}" for number, label in enumerate(labels)]
    return Counter(labels[position] for position in chosen(labels, _keys(texts, seed), most))


@pytest.mark.parametrize(
    ("sizes", "most", "shares"),
    [
        ({"BLOCK": 12000, "ALLOW": 8000}, 500, {"BLOCK": 300, "ALLOW": 200}),
        ({"a": 900, "b": 90, "c": 9, "d": 1}, 100, {"a": 90, "b": 9, "c": 1}),
        ({"a": 50, "b": 50, "c": 50}, 100, {"a": 34, "b": 33, "c": 33}),
        (
            {"many": 9000} | {f"rare {n:02}": 20 for n in range(50)},
            500,
            {"many": 450} | {f"rare {n:02}": 1 for n in range(50)},
        ),
        (
            {"many": 10000} | {f"rare {n:02}": 4 for n in range(50)},
            200,
            {"many": 197} | {f"rare {n:02}": 1 for n in range(3)},
        ),
        ({"a": 3, "b": 4}, 7, {"a": 3, "b": 4}),
        ({"a": 3, "b": 4}, 6, {"a": 3, "b": 3}),
        ({"": 1000}, 10, {"": 10}),
    ],
)
def test_rows_sorted_by_label_give_each_label_its_share(
    sizes: dict[str, int], most: int, shares: dict[str, int]
) -> None:
    labels = [label for label, size in sizes.items() for _ in range(size)]
    assert _drawn(labels, most) == shares


def test_more_labels_than_rows_to_ask_are_drawn_from_alike() -> None:
    labels = ["many"] * 500 + [f"lone {number}" for number in range(500)]
    found = _drawn(labels, 100)
    assert found.total() == 100
    assert 30 < found["many"] < 70


def test_every_row_is_asked_where_there_is_room() -> None:
    assert sorted(chosen(["a"] * 5, _keys(list("vwxyz")), 5)) == [0, 1, 2, 3, 4]


def test_the_seed_decides_and_the_order_of_the_rows_does_not() -> None:
    rows = [(f"text {number}", "BLOCK" if number < 700 else "ALLOW") for number in range(1000)]

    def asked(rows: list[tuple[str, str]], seed: int) -> list[str]:
        texts, labels = [text for text, _ in rows], [label for _, label in rows]
        return [texts[position] for position in chosen(labels, _keys(texts, seed), 50)]

    shuffled = random.Random(3).sample(rows, len(rows))
    assert asked(rows, 1) == asked(shuffled, 1)
    assert asked(rows, 1) != asked(rows, 2)


def test_a_sample_is_the_same_rows_whatever_the_columns_and_however_many_files(tmp_path: Path) -> None:
    from pyarrow import table
    from pyarrow.parquet import write_table

    rows = [{"messages": json.dumps([number]), "label": str(number % 2), "input_ids": [number]} for number in range(90)]
    files = []
    for start in range(0, 90, 40):
        part = rows[start : start + 40]
        files.append(str(tmp_path / f"{start:02}.parquet"))
        write_table(table({name: [row[name] for row in part] for name in rows[0]}), files[-1], row_group_size=7)
    messages = [json.loads(row["messages"]) for row in sample(files, ["messages"], 20, 5)]
    assert messages == [row["input_ids"] for row in sample(files, ["input_ids"], 20, 5)]
    assert len({message[0] for message in messages}) == 20
    assert Counter(message[0] % 2 for message in messages) == {0: 10, 1: 10}
    assert messages != sorted(messages)
    assert sample([], ["messages"], 20, 5) == []
