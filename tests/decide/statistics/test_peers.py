"""The statistics on random data against those who have the same methods: gbstats, tea-tasting, Spotify's, confseq.

What they said of a few data sets is kept beside this file; the soak asks them of five hundred.
"""

import math
from collections.abc import Iterator

import pytest

from anneal_operator.decide.statistics.comparison import Comparison, rho2_of, sequence, welch, welch_above
from anneal_operator.decide.statistics.cuped import adjusted_pair
from anneal_operator.decide.statistics.evidence import log_evidence_above, log_failure_evidence
from anneal_operator.decide.statistics.holm import adjusted
from anneal_operator.decide.statistics.power import fixed_users
from anneal_operator.decide.statistics.sums import Arm, arm_of

from .drawn import Drawn, Users, drawn
from .peers import KEPT, NAMES, Answer, answers, kept

METHODS = {
    "gbstats": {"welch", "welch_above", "sequence", "ratio_welch", "cuped_welch", "cuped_sequence"},
    "tea-tasting": {"welch", "welch_above", "ratio_welch", "cuped_welch", "effect"},
    "spotify-confidence": {"welch", "holm"},
    "confseq": {"half", "log_p", "evidence_above", "failures"},
}


@pytest.mark.parametrize("name", NAMES)
def test_what_peers_said_is_what_we_say(name: str) -> None:
    said = kept()[name]
    assert len(said) == len(KEPT)
    for seed, theirs in zip(KEPT, said, strict=True):
        _hold(name, seed, theirs)


@pytest.mark.soak
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", NAMES)
def test_peers_say_the_same_of_500_data_sets(name: str) -> None:
    for seed, theirs in enumerate(answers(name, range(500))):
        _hold(name, seed, theirs)


def _hold(name: str, seed: int, theirs: Answer) -> None:
    ours = dict(_ours(drawn(seed)))
    assert theirs.keys() == METHODS[name]
    for method, numbers in theirs.items():
        assert ours[method] == pytest.approx(numbers, rel=1e-6, abs=1e-12), f"{method} of seed {seed}"


def _ours(data: Drawn) -> Iterator[tuple[str, list[float]]]:
    pair, rho2 = data.arms[:2], rho2_of(data.level, data.planned)
    plain = [_arm(users, data) for users in data.arms]
    ratios = [_there(users.ratio.arm(1, "OutputTokens")) for users in pair]
    like = [
        _there(arm_of(mean, variance, len(users.values), None))
        for users, (mean, variance) in zip(
            pair,
            adjusted_pair((pair[0].sums, pair[1].sums), (pair[0].history, pair[1].history), data.scale),
            strict=True,
        )
    ]
    control, challenger = plain[:2]
    followed = sequence(control, challenger, data.level, rho2)
    yield "welch", _told(welch(control, challenger, data.level))
    yield "welch_above", [welch_above(challenger.mean - control.mean, plain[:2])]
    yield "sequence", _told(followed)
    yield "ratio_welch", _told(welch(ratios[0], ratios[1], data.level))
    yield "cuped_welch", _told(welch(like[0], like[1], data.level))
    yield "cuped_sequence", _told(sequence(like[0], like[1], data.level, rho2))
    yield "holm", adjusted([welch(control, one, data.level).p_value for one in plain[1:]])
    yield "effect", [_effect(data)]
    yield "half", [followed.upper - followed.lift]
    yield from _evidence(data, followed, plain[:2], rho2)


def _evidence(data: Drawn, followed: Comparison, pair: list[Arm], rho2: float) -> Iterator[tuple[str, list[float]]]:
    variance, users = sum(arm.variance for arm in pair), sum(arm.n for arm in pair)
    yield "log_p", [math.log(followed.p_value)]
    yield "evidence_above", [log_evidence_above(followed.lift, variance, users, rho2)]
    yield "failures", [log_failure_evidence(*data.failed, data.share)]


def _effect(data: Drawn) -> float:
    """The effect for which as many users as there are would be needed: by its square these are fewer."""
    control, challenger = (users.sums for users in data.arms[:2])
    of_one = fixed_users(control.variance(data.scale), 1.0, data.level, challenger.n / control.n, data.power)
    return math.sqrt(of_one / control.n)


def _arm(users: Users, data: Drawn) -> Arm:
    sums = users.sums
    return _there(arm_of(sums.mean(data.scale), sums.variance(data.scale), sums.n, None))


def _there(arm: Arm | None) -> Arm:
    assert arm is not None
    return arm


def _told(found: Comparison) -> list[float]:
    return [found.lower, found.upper, found.p_value]
