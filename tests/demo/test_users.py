"""The users judge answers as people would, and their ratings let the experiment find what is true."""

import json
import random
from pathlib import Path
from typing import Any

import pytest
import yaml

from anneal_operator.api.ab_experiment import ABExperimentSpec
from anneal_operator.decide.experiment_terms import terms_of
from anneal_operator.decide.statistics.judgement import judge
from anneal_operator.decide.statistics.sums import Scale, Sums
from anneal_operator.decide.statistics.terms import Counts
from demo.story import QUESTIONS, USERS
from demo.users import Mail, is_right, new_mails, rating
from tests.support.counted import failures

EXPERIMENT = Path(__file__).parents[2] / "examples/spam-filter/experiment.yaml"
TERMS = terms_of(ABExperimentSpec.parse(yaml.safe_load(EXPERIMENT.read_text())["spec"]))
RUNS = 300


@pytest.mark.parametrize(
    ("language", "answer", "right"),
    [
        ("ko", {"action": "BLOCK", "reason": "당첨을 미끼로 합니다."}, True),
        ("ko", {"action": "BLOCK", "reason": "Promises a prize."}, False),
        ("ko", {"action": "ALLOW", "reason": "동료 사이의 일정입니다."}, False),
        ("en", {"action": "BLOCK", "reason": "Promises a prize."}, True),
        ("en", {"action": "BLOCK", "reason": "당첨을 미끼로 합니다."}, False),
        ("ko", {"action": "BLOCK"}, False),
        ("en", ["BLOCK"], False),
    ],
)
def test_an_answer_is_right_if_the_decision_is_and_the_reader_can_read_why(
    language: str, answer: Any, right: bool
) -> None:
    assert is_right(json.dumps(answer), Mail("?", "BLOCK", language)) is right


def test_an_answer_that_is_not_json_is_wrong() -> None:
    assert not is_right("BLOCK", Mail("?", "BLOCK", "en"))


def test_the_mails_are_in_both_languages_alike() -> None:
    mails = new_mails(400)
    assert 160 < sum(mail.language == "ko" for mail in mails) < 240
    assert all((mail.language == "ko") == any("가" <= letter <= "힣" for letter in mail.question) for mail in mails)


def _sample(rng: random.Random, users: int, accuracy: float) -> Sums:
    values = [sum(rating(rng, right=rng.random() < accuracy) for _ in range(QUESTIONS)) for _ in range(users)]
    return Sums(users, sum(values), sum(value * value for value in values))


def _decisions(base: float, tuned: float) -> tuple[int, int, int]:
    """How often the tuned version wins, loses, or too few users came, when the verdict looks at the promised sample."""
    rng = random.Random(1)
    wins = losses = few = 0
    for _ in range(RUNS):
        arms = [rng.random() < 0.5 for _ in range(USERS)]
        needed = TERMS.least
        few += min(sum(arms), USERS - sum(arms)) < needed
        sums = _sample(rng, needed, base), _sample(rng, needed, tuned)
        kept = failures((needed, 0), (needed, 0))
        judged = judge(TERMS, Counts((needed,) * 2, (needed,) * 2, (0, 0), sums, Scale(QUESTIONS), guards=kept))
        wins += judged.outcome == "Winner"
        losses += judged.outcome == "ControlWins"
    return wins, losses, few


def test_the_promised_users_are_enough_to_find_the_difference() -> None:
    # 0.49 and 0.98 were measured on 300 new mails: a smaller difference, so that the story does not hang by a thread.
    wins, losses, few = _decisions(0.55, 0.9)
    assert wins >= 0.98 * RUNS
    assert (losses, few) == (0, 0)


def test_no_winner_is_made_where_there_is_no_difference() -> None:
    wins, losses, _ = _decisions(0.7, 0.7)
    assert wins + losses < 0.1 * RUNS
