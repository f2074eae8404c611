"""The page of an experiment: whole in one file, true to the status, and of a fixed horizon silent until its look."""

import base64
import re
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import pytest
from typing_extensions import override

from anneal_operator.api.ab_experiment import ABExperimentSpec
from anneal_operator.decide.statistics.recomputed import recomputed
from anneal_operator.desired.report.page import Papers, page, record_text

from .examples import EXAMPLES, SPEC, experiment, papers, with_condition

_WITHOUT_END = {"meta", "line", "circle", "polyline", "polygon"}


class _Reader(HTMLParser):
    """The page's words, by the elements they stand in; complains of what is not closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    @override
    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in _WITHOUT_END:
            self.open.append(tag)

    @override
    def handle_endtag(self, tag: str) -> None:
        if tag not in _WITHOUT_END:
            assert self.open.pop() == tag

    @override
    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in {"style", "title"}:
            self.words.append(data)

    def figures(self) -> list[str]:
        return [attributes["aria-label"] or "" for tag, attributes in self.tags if tag == "svg"]

    @property
    def text(self) -> str:
        return " ".join(self.words)


def _read(told: Papers) -> _Reader:
    return _Reader(page(told))


@pytest.mark.parametrize("name", EXAMPLES)
def test_it_is_whole_without_a_script_or_anything_from_elsewhere(name: str) -> None:
    text = page(EXAMPLES[name])
    read = _Reader(text)
    assert not {tag for tag, _ in read.tags} & {"script", "link", "img", "iframe", "object", "embed"}
    assert not re.search(r"https?://|//[a-z]|url\(|@import|\bon[a-z]+=", re.sub(r'href="data:[^"]*"', "", text))
    assert "NaN" not in text
    assert "inf" not in re.findall(r'(?:points|x|y|x1|y1)="([^"]*)"', text)


@pytest.mark.parametrize("place", ["name", "variant", "metric", "reason", "condition"])
def test_what_users_wrote_is_shown_as_they_wrote_it(place: str) -> None:
    evil = "<script>alert('x')</script>&\""
    made = EXAMPLES["promoted"]
    spec, status = made.spec, made.status
    match place:
        case "name":
            made = replace(made, experiment=experiment(SPEC, evil))
        case "variant":
            variant = status.variants[1].having(name=evil)
            status = status.having(variants=[status.variants[0], variant])
            spec = spec.model_copy(
                update={"variants": [spec.variants[0], spec.variants[1].model_copy(update={"name": evil})]}
            )
        case "metric":
            primary = spec.metrics.primary.model_copy(update={"name": evil})
            spec = spec.model_copy(update={"metrics": spec.metrics.model_copy(update={"primary": primary})})
        case "reason":
            assert status.decision is not None
            status = status.having(decision=status.decision.having(reason=evil))
        case _:
            status = status.having(conditions=[status.conditions[0].model_copy(update={"message": evil})])
    read = _read(replace(made, spec=spec, status=status))
    assert evil in read.text
    assert "script" not in {tag for tag, _ in read.tags}


def test_it_begins_with_where_the_experiment_stands() -> None:
    told = {name: " ".join(_read(made).words[:4]) for name, made in EXAMPLES.items()}
    assert "Counting has not begun: it was not looked at yet." in told["pending"]
    assert "It has been running for 2 days 12 hours, and nothing is decided before 7 days are over." in told["running"]
    assert "Decided: tuned is better than stable: user_rating +0.28 [" in told["promoted"]
    assert "The winner, tuned, is promoted." in told["promoted"]
    assert "It is paused since 2026-03-04T20:00:00Z: " in told["paused"]
    assert "tuned is recommended: set `decision.approve: tuned` to promote it: " in told["recommended"]
    assert "The winner, tuned, bakes before it is promoted: clients get ModelVersion" in told["baking"]
    assert "The control, stable, stays: it was aborted by `abort` while the winner baked" in told["returned"]
    assert "Ended by hand: somebody has set `abort`. The control, stable, stays." in told["aborted"]
    assert "Users get what has `production` now." in told["replaced"]
    assert "Decided: tuned was shown to be beyond failures: Errors 0.499" in told["breach"]
    assert "The control, stable, stays." in told["breach"]


def test_a_winner_whose_alias_does_not_move_is_told_so() -> None:
    why = "`production` of m was moved to version 9 by someone else; leaving it"
    made = with_condition(EXAMPLES["promoted"], "AliasMoved", "False", "HeldByAnother", why)
    assert f"The winner, tuned, does not have `production`: {why}." in _read(made).text


def test_the_time_of_a_pause_is_none_that_it_has_been_running_for() -> None:
    made = EXAMPLES["running"]
    read = _read(replace(made, status=made.status.having(paused_seconds=12 * 3600)))
    assert "It has been running for 2 days, and" in read.text
    assert read.words[read.words.index("Paused, which the following do not count") + 1] == "12 hours"


def test_a_guardrail_that_is_not_shown_to_be_kept_is_what_a_sequence_waits_for() -> None:
    why = "no breach, and not shown yet to be kept, without which nothing is promoted: tuned: failures"
    made = with_condition(EXAMPLES["running"], "GuardrailsHealthy", "Unknown", "GuardrailsNotShown", why)
    assert f"nothing is decided before 7 days are over: {why}." in _read(made).text


def test_each_challenger_stands_beside_each_guardrail_s_limit() -> None:
    read = _read(EXAMPLES["guarded"])
    start = read.words.index("Guardrails")
    words = read.words[start : read.words.index("Users", start)]
    assert "bold was shown to be beyond a limit. Its users get stable's answers from then on." in words
    place = words.index("tuned")
    assert words[place : place + 8] == [
        "tuned",
        "failures",
        "Errors",
        "at most 5 %",
        "2.92 %",
        "0.889",
        "at most 4.4 %",
        "kept",
    ]
    assert {"at most 1.5 times the control", "breached", "not shown yet"} <= set(words)
    assert "Guardrails" not in _read(EXAMPLES["running"]).words
    early = _read(EXAMPLES["guarded-fixed"])
    assert "Their numbers are told with the one look, those of a breach at once." in early.words
    assert "Ratio to the control's" not in early.words


SAID = {"source": "Feedback", "range": {"min": 1, "max": 5}}


@pytest.mark.parametrize(
    ("limit", "said"),
    [
        ({"source": "Latency", "max": 2.5}, "at most 2.5 s"),
        ({"source": "TimeToFirstToken", "maxRegressionPercent": 10}, "at most 1.1 times the control"),
        ({"source": "OutputTokens", "direction": "Decrease", "max": 800}, "at most 800 tokens"),
        ({"source": "OutputTokens", "direction": "Increase", "maxRegressionPercent": 20}, "at least 0.8 times"),
        ({**SAID, "maxRegressionPercent": 20}, "at least 0.8 times the control"),
        ({**SAID, "min": 3.5}, "at least 3.5"),
        ({**SAID, "direction": "Decrease", "max": 2.5}, "at most 2.5"),
    ],
)
def test_a_limit_is_told_in_its_unit(limit: dict[str, Any], said: str) -> None:
    spec = ABExperimentSpec.parse({**SPEC, "metrics": {**SPEC["metrics"], "guardrails": [{"name": "g", **limit}]}})
    made = replace(EXAMPLES["pending"], spec=spec)
    assert f"What is asked: g ({limit['source']}): {said}" in _read(made).text


def test_each_challenger_has_its_interval_over_time_beside_none_and_what_was_asked_for() -> None:
    read = _read(EXAMPLES["three"])
    assert [figure.partition(":")[0] for figure in read.figures()] == [
        "tuned against stable",
        "bold against stable",
        "Users with a value, by variant",
        "Whether users are spread as the weights say (p-value, smaller is worse)",
    ]
    assert (read.words.count("no difference"), read.words.count("asked for")) == (2, 2)
    bands = [attributes["points"] or "" for tag, attributes in read.tags if tag == "polygon"]
    assert [len(band.split()) % 2 for band in bands] == [0, 0]
    assert all(len(band.split()) > 100 for band in bands)
    assert "tuned is better by 0.308 (0.12 to 0.496); at least 0.1 was asked for: shown to be as much." in read.text
    assert "bold is worse by 0.302 (0.115 to 0.49)." in read.words


@pytest.mark.parametrize("secret", [r"\d\.\d{2,}", "Mean<", "Interval", "polygon"])
def test_before_the_one_look_of_a_fixed_horizon_nothing_is_told_of_the_values(secret: str) -> None:
    before, after = page(EXAMPLES["fixed"]), page(EXAMPLES["fixed-over"])
    body = before.partition("<body>")[2].partition("<h2>What was asked</h2>")[0]
    shown = re.sub(r"<svg.*?</svg>", "", body) if secret.startswith(r"\d") else body
    assert not re.search(secret, shown)
    assert "One look is taken" in before
    assert "Mean</th>" in after
    assert "tuned against stable" in after
    assert '<line class="line c1"' in after  # of one look there is a stroke, and no band


def test_looks_that_are_kept_hold_nothing_of_a_fixed_horizon_either() -> None:
    looks = EXAMPLES["fixed"].looks
    assert looks is not None
    assert len(looks.kept) > 50
    assert {one for look in looks.kept for one in look.compared} == {None}


def test_the_table_has_a_row_for_each_variant_and_no_column_without_a_word() -> None:
    read = _read(EXAMPLES["promoted"])
    start = read.words.index("Variant")
    head = [
        "Variant",
        "Weight",
        "Users",
        "Values",
        "Mean",
        "Std. dev.",
        "Difference",
        "Interval",
        "p",
        "Requests",
        "Cost",
    ]
    assert read.words[start : start + len(head)] == head
    row = read.words.index("tuned", start)
    told = [
        "tuned",
        "50",
        "2,355",
        "1,177",
        "3.704",
        "1.049",
        "+0.2798",
        "+0.1425 to +0.417",
        "8.9e-09",
        "11,775",
        "12.5",
    ]
    assert read.words[row : row + len(head)] == told


def test_the_decision_can_be_made_again_from_what_the_page_holds() -> None:
    made = EXAMPLES["promoted"]
    (link,) = (attributes for tag, attributes in _read(made).tags if tag == "a")
    assert link["download"] == "record.json"
    kept = base64.b64decode((link["href"] or "").removeprefix("data:application/json;base64,")).decode()
    assert made.record is not None
    assert kept == record_text(made.record)
    told, agrees = recomputed(kept)
    assert agrees, told
    assert "resourceVersion" not in kept


@pytest.mark.parametrize(
    ("stopping", "hours", "is_over", "said"),
    [
        ({"minDuration": "24h", "maxDuration": "48h"}, 30, False, "It ends after 2 days at the latest, so days of the"),
        (
            {"minDuration": "24h", "maxDuration": "336h"},
            30,
            False,
            "The verdict may come after 1 day, before every day",
        ),
        ({"minDuration": "168h", "maxDuration": "240h"}, 30, False, "It ends after 10 days at the latest, which is no"),
        ({"minDuration": "168h", "maxDuration": "336h"}, 30, False, ""),
        ({"minDuration": "24h", "maxDuration": "336h"}, 75, True, "It ran for 3 days 3 hours, so days of the week"),
        ({"minDuration": "24h", "maxDuration": "336h"}, 170, True, ""),
        ({"minDuration": "24h", "maxDuration": "336h"}, 250, True, "It ran for 10 days 10 hours, which is no whole"),
    ],
)
def test_days_of_the_week_that_are_left_out_are_told(
    stopping: dict[str, Any], hours: int, is_over: bool, said: str
) -> None:
    made = papers(hours=hours, decides=is_over, per_hour=20, stopping={**SPEC["stopping"], **stopping})
    found = [words for words in _read(made).words if "of the week" in words]
    assert [words.startswith(said) for words in found] == ([True] if said else [])


def test_of_nobody_there_is_a_page_with_whole_users() -> None:
    read = _read(EXAMPLES["nobody"])
    assert "There are not enough users with a value to compare the variants." in read.words
    start = read.words.index("Users with a value, by variant")
    assert read.words[start + 1 : start + 7] == ["0", "1", "2", "3", "4", "5"]


def test_an_experiment_without_looks_or_a_record_has_a_page_all_the_same() -> None:
    read = _read(replace(EXAMPLES["promoted"], looks=None, record=None))
    assert "tuned against stable: +0.28, from +0.142 to +0.417" in read.figures()
    assert "the record" not in read.words


@pytest.mark.parametrize("direction", ["Increase", "Decrease"])
def test_what_was_asked_for_lies_in_the_wanted_direction(direction: str) -> None:
    metrics = {"primary": {**SPEC["metrics"]["primary"], "direction": direction}}
    read = _read(papers(hours=120, lifts=(0.3 if direction == "Increase" else -0.3,), metrics=metrics))
    (said,) = (words for words in read.words if words.startswith("tuned is "))
    assert said.startswith("tuned is better by 0.")
    lines = [attributes for tag, attributes in read.tags if tag == "line"]
    none, wanted = (
        next(float(line["y1"] or 0) for line in lines if line["class"] == kind) for kind in ("mark", "mark dashed")
    )
    assert (wanted < none) is (direction == "Increase")


def test_what_is_the_same_is_held_against_what_matters_both_ways_and_neither_is_called_better() -> None:
    for name, kind in (("sound", "good"), ("unsound", "bad")):
        told = page(EXAMPLES[name])
        assert told.count(">asked for<") == 2
        assert "the variants are the same, and should look the same" in told
        assert f'<span class="phase {kind}">Observed</span>' in told
        assert "better by" not in told
        assert "worse by" not in told
    assert "asked for<" in page(EXAMPLES["promoted"])


def test_what_is_measured_of_answers_is_told_in_its_unit_and_without_what_is_of_feedback() -> None:
    made = EXAMPLES["promoted"]
    metrics = {"primary": {"name": "user_rating", "source": "Latency", "minimumDetectableEffect": 0.1}}
    spec = ABExperimentSpec.parse(SPEC | {"metrics": metrics})
    told = made.status.variants[1].metrics[0].having(mean=1.25, stddev=None, lift=-0.12, lower=-0.2, upper=-0.03)
    variants = [made.status.variants[0], made.status.variants[1].having(metrics=[told])]
    read = _read(replace(made, spec=spec, status=made.status.having(variants=variants)))
    assert "tuned against stable: -12 %, from -20 % to -3 %" in read.figures()
    assert "tuned is better by 12 % (3 % to 20 %); at least 10 % was asked for: not shown to be as much." in read.words
    asked = "user_rating, geometric mean of the time to the end of an answer, less is better"
    assert {"1.25 s", "-20 % to -3 %", asked} <= set(read.words)
    assert not {"Range", "Window", "Users who said nothing"} & set(read.words)
    assert "who have a value" in read.text


SECONDARY = [{"name": "solved"}, {"name": "slow", "source": "TimeToFirstToken"}]


def _beside(name: str, **stopping: str) -> Papers:
    """An example of which two further metrics are told."""
    made = EXAMPLES[name]
    stable, tuned = made.status.variants
    told = tuned.metrics[0].having(mean=0.5, lift=-0.1, lower=-0.2, upper=0.01, p_value=0.07)
    metrics = [*tuned.metrics, told.having(name="solved"), told.having(name="slow")]
    spec = SPEC | {"metrics": SPEC["metrics"] | {"secondary": SECONDARY}, "stopping": SPEC["stopping"] | stopping}
    status = made.status.having(variants=[stable, tuned.having(metrics=metrics)])
    return replace(made, spec=ABExperimentSpec.parse(spec), status=status)


def test_secondary_metrics_have_a_table_that_says_what_they_are_worth() -> None:
    read = _read(_beside("promoted"))
    start = read.words.index("Secondary metrics")
    told = read.words[start:]
    assert {"solved", "0.5", "-0.1", "-0.2 to +0.01", "0.07"} <= set(told)
    assert {"slow", "0.5 s", "-10 %", "-20 % to +1 %"} <= set(told)
    assert any(words.startswith("Nothing is decided by them. Each interval is for itself") for words in told)
    assert "Secondary metrics" not in _read(EXAMPLES["promoted"]).words


def test_secondary_metrics_of_which_nothing_is_told_yet_are_named() -> None:
    spec = SPEC | {"metrics": SPEC["metrics"] | {"secondary": SECONDARY}}
    read = _read(replace(EXAMPLES["promoted"], spec=ABExperimentSpec.parse(spec)))
    assert "Nothing is told of them yet: solved (Feedback), slow (TimeToFirstToken)." in read.words


def test_a_fixed_horizon_s_page_has_no_mean_of_a_secondary_metric_before_its_look() -> None:
    made = _beside("promoted", method="FixedHorizon")
    early = replace(made, status=made.status.having(decision=None))
    assert ("0.5" in _read(made).words, "0.5" in _read(early).words) == (True, False)
