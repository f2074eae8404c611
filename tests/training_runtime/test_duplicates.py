"""Near-duplicates are found by content, and the first of a cluster stays."""

import random
from pathlib import Path

import numpy as np
import pytest

from training_runtime.prepare.duplicates import first_of_cluster, sketches

WORDS = [f"{a}{b}{c}" for a in "가나다라마바사" for b in "고노도로모보소" for c in "구누두루무부수"]


def _clusters(tmp_path: Path, texts: list[str], threshold: float) -> list[int]:
    file = tmp_path / "sketches"
    file.write_bytes(sketches(texts).tobytes())
    return [int(row) for row in first_of_cluster(file, threshold)]


def _edited(rng: random.Random, text: str, edits: int) -> str:
    letters = list(text)
    for _ in range(edits):
        letters[rng.randrange(len(letters))] = rng.choice("거너더러머버서")
    return "".join(letters)


def test_planted_near_duplicates_are_found_and_others_stay(tmp_path: Path) -> None:
    rng = random.Random(1)
    texts, truth = [], []
    for number in range(1500):
        text = " ".join(rng.choices(WORDS, k=60))
        texts.append(text)
        truth.append(False)
        if number % 3 == 0:  # a few letters of some 240 differ: Jaccard around 0.9
            texts.append(_edited(rng, text, 3))
            truth.append(True)
        if number % 3 == 1:  # a third of the words differ: Jaccard around 0.5, no repetition
            words = text.split()
            texts.append(" ".join(rng.choice(WORDS) if i % 3 == 0 else word for i, word in enumerate(words)))
            truth.append(False)
    first = _clusters(tmp_path, texts, 0.85)
    found = [first[row] != row for row in range(len(texts))]
    hits = sum(a and b for a, b in zip(found, truth, strict=True))
    precision, recall = hits / sum(found), hits / sum(truth)
    assert 2 * precision * recall / (precision + recall) >= 0.95, (precision, recall)


def test_case_and_spaces_do_not_count(tmp_path: Path) -> None:
    assert _clusters(tmp_path, ["Hello  wide world", "hello wide\nWORLD", "quite another text"], 0.85) == [0, 0, 2]


def test_a_chain_is_one_cluster_of_its_first_row(tmp_path: Path) -> None:
    rng = random.Random(2)
    start = " ".join(rng.choices(WORDS, k=100))
    chain = [start]
    for _ in range(5):
        chain.append(_edited(rng, chain[-1], 3))
    assert _clusters(tmp_path, chain, 0.85) == [0] * 6


@pytest.mark.parametrize("texts", [["a"], ["", ""], ["\ud800 half", "b"], ["한", "한", "글"]])
def test_very_short_and_broken_texts_are_sketched_too(texts: list[str]) -> None:
    made = sketches(texts)
    assert made.shape == (len(texts), 128)
    assert (made[0] == made[1]).all() == (texts[0] == texts[1]) if len(texts) > 1 else True


def test_a_sketch_does_not_depend_on_its_neighbours() -> None:
    texts = ["첫 번째 글입니다", "second text here", "세 번째"]
    alone = np.concatenate([sketches([text]) for text in texts])
    assert (alone == sketches(texts)).all()
