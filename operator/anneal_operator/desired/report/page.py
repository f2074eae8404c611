"""The page of an ABExperiment: all that there is to know of it, in one file, to read, to print or to keep.

It says what the status says, and with a fixed horizon nothing of the variants' values before the one look. It has no
script and asks no server for anything; whatever a user has written is escaped.
"""

import base64
import json
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from anneal_operator.api.ab_experiment import ABExperimentSpec
from anneal_operator.api.ab_experiment_status import ABExperimentStatus, VariantStatus
from anneal_operator.api.amounts import amount, difference
from anneal_operator.api.metrics import PrimaryMetric
from anneal_operator.api.quantities import seconds
from anneal_operator.api.schema import timestamp
from anneal_operator.desired.pods import Manifest

from .agreement import agreement, copies_asked
from .charts import Band, Line, Mark, chart
from .elements import escaped, note, paragraph, table, without_empty
from .guardrails import guardrails
from .looks import Interval, Look, Looks, look_at, primary_of
from .secondary import difference_told, secondary
from .sentences import duration_words, may_compare, standing, to_minimum, weekdays
from .style import STYLE

__all__ = ["Papers", "page", "record_text"]

_GOOD, _BAD = {"Promoted"}, {"RolledBack", "Aborted"}
_EARLY = "One look is taken, once every variant has its sample. Until then nothing is told of how they compare."
_LATCH = math.log10(0.001)
_TYPES = {"AB": "AB: which variant is better", "AA": "AA: the variants are the same, and should look the same"}
_SOURCES = {
    "Feedback": "feedback",
    "Errors": "share of requests that fail",
    "Latency": "geometric mean of the time to the end of an answer",
    "TimeToFirstToken": "geometric mean of the time to a stream's first content",
    "TimePerOutputToken": "time per token of streams",
    "OutputTokens": "tokens per request",
    "SchemaValidity": "share of answers that satisfy the schema",
    "Refusals": "share of answers that decline",
}
"""What is measured, in words."""
_FEW = 5
"""Users that a chart has room for at least: there are no halves of them."""
_WIDEST = 4.0
"""How much of an interval is shown, by the width of the last one: the first ones are wider than all that matters."""


@dataclass(frozen=True)
class Papers:
    """What there is of an experiment."""

    experiment: Manifest
    spec: ABExperimentSpec
    status: ABExperimentStatus
    now: datetime
    looks: Looks | None = None
    record: Manifest | None = None
    """Its ConfigMap."""

    @property
    def name(self) -> str:
        """Namespace and name."""
        metadata = self.experiment["metadata"]
        return f"{metadata['namespace']}/{metadata['name']}"

    @property
    def until(self) -> datetime:
        """Of when its numbers are: of the decision, where there is one."""
        decision = self.status.decision
        return datetime.fromisoformat(decision.decided_at) if decision else self.now

    @property
    def series(self) -> list[Look]:
        """All looks, and the last one, which the status has."""
        kept = list(self.looks.kept) if self.looks else []
        last = look_at(self.spec, self.status, self.until)
        if last is None:
            return kept
        return [*(look for look in kept if look.after < last.after), last]


def record_text(record: Manifest) -> str:
    """Return a record as `python -m anneal_operator verdict` takes it: what the ConfigMap says, without its upkeep."""
    metadata = {key: record["metadata"][key] for key in ("name", "namespace") if key in record["metadata"]}
    told = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": record.get("data") or {}}
    return json.dumps(told, indent=1, sort_keys=True)


def page(papers: Papers) -> str:
    """Return the page as HTML."""
    title = f"Experiment {papers.name}"
    if papers.spec.type == "Shadow":
        return _document(title, papers, _of_shadow(papers))
    sections = (
        ("Effect", _effect(papers)),
        ("Variants", _variants(papers)),
        ("Secondary metrics", secondary(papers.spec, papers.status) if papers.spec.metrics.secondary else ()),
        ("Guardrails", guardrails(papers.spec, papers.status) if papers.spec.metrics.guardrails else ()),
        ("Users", _users(papers)),
        ("Time", _time(papers)),
        ("Conditions", _conditions(papers)),
        ("What was asked", _terms(papers)),
        ("Decision", _decision(papers)),
    )
    return _document(title, papers, sections)


def _of_shadow(papers: Papers) -> Sequence[tuple[str, Iterable[str]]]:
    return (
        ("Agreement", agreement(papers.spec, papers.status)),
        ("Conditions", _conditions(papers)),
        ("What was asked", copies_asked(papers.spec)),
        ("End", _decision(papers)),
    )


def _document(title: str, papers: Papers, sections: Sequence[tuple[str, Iterable[str]]]) -> str:
    body = "".join(f"<section><h2>{name}</h2>{''.join(parts)}</section>" for name, parts in sections if parts)
    head = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f"<title>{escaped(title)}</title><style>{STYLE}</style></head>"
    )
    return f"{head}<body><main>{_head(papers)}{body}</main></body></html>\n"


def _head(papers: Papers) -> str:
    status, metric = papers.status, papers.spec.metrics.primary
    phase = status.phase or "Pending"
    kind = "good" if phase in _GOOD else "bad" if phase in _BAD else "plain"
    outcome = status.decision.outcome if status.decision else ""
    kind = {"Sound": "good", "Unsound": "bad"}.get(outcome, kind)
    by = "copies of requests" if papers.spec.type == "Shadow" else f"{metric.name} ({_way(metric)})"
    facts = f"{papers.spec.model_name} by {by}, as of {timestamp(papers.now)}"
    top = f'<h1>{escaped(papers.name)} <span class="phase {kind}">{escaped(phase)}</span></h1>'
    lead = f'<p class="lead">{escaped(standing(papers.spec, status, papers.now))}</p>'
    return f"<header>{top}{lead}{paragraph(facts)}</header>"


def _way(metric: PrimaryMetric) -> str:
    return "more is better" if metric.increases else "less is better"


def _effect(papers: Papers) -> Iterator[str]:
    if not may_compare(papers.spec, papers.status):
        yield paragraph(_EARLY)
        return
    series, drawn = papers.series, 0
    for place, variant in enumerate(papers.spec.variants):
        points = [(look.after, pair) for look in series if (pair := look.compared[place])]
        if variant.name != papers.spec.control and points:
            drawn += 1
            yield _interval_chart(papers, variant.name, drawn, points)
    if not drawn:
        yield paragraph("There are not enough users with a value to compare the variants.")
        return
    sure = round(100 * papers.spec.stopping.confidence, 4)
    kind = "They hold at all looks at once" if papers.spec.stopping.method == "Sequential" else "It is of the one look"
    yield note(f"Intervals at a confidence of {sure:g} %, for all challengers together. {kind}.")
    yield from (paragraph(said) for said in to_minimum(papers.spec, papers.status))


def _interval_chart(papers: Papers, name: str, number: int, points: Sequence[tuple[int, Interval]]) -> str:
    primary = papers.spec.metrics.primary
    sign = 1 if primary.increases else -1
    last = points[-1][1]
    marks = [Mark("no difference", 0.0, is_dashed=False)]
    if primary.minimum_detectable_effect:
        marks.append(Mark("asked for", sign * primary.minimum_detectable_effect))
    if primary.minimum_detectable_effect and papers.spec.type == "AA":
        marks.append(Mark("asked for", -sign * primary.minimum_detectable_effect))
    lift, lower, upper = (difference(primary.source, one) for one in (last.lift, last.lower, last.upper))
    said = f"{name} against {papers.spec.control}: {lift}, from {lower} to {upper}"
    drawn = chart(
        said,
        _limits([pair for _, pair in points], [mark.value for mark in marks]),
        [Line(name, [(at, pair.lift) for at, pair in points], number)],
        [Band([(at, pair.lower, pair.upper) for at, pair in points], number)],
        marks,
    )
    return f"<figure><figcaption>{escaped(said)}</figcaption>{drawn}</figure>"


def _limits(pairs: Sequence[Interval], marks: Sequence[float]) -> tuple[float, float]:
    most = _WIDEST * (pairs[-1].upper - pairs[-1].lower)
    shown = [pair for pair in pairs if pair.upper - pair.lower <= most] or [pairs[-1]]
    ends = [end for pair in shown for end in (pair.lower, pair.upper)]
    return min([*ends, *marks]), max([*ends, *marks])


def _variants(papers: Papers) -> Iterator[str]:
    if not papers.status.variants:
        yield paragraph("Nothing was counted yet.")
        return
    is_told = may_compare(papers.spec, papers.status)
    head = ["Variant", "Weight", "Users", "Values", "Mean", "Std. dev.", "Difference", "Interval", "p", "Superiority"]
    rows = [[*_row(papers, variant, is_told=is_told)] for variant in papers.status.variants]
    yield table(*without_empty([*head, "Requests", "Cost"], rows))
    if not is_told:
        yield note("Means are told with the one look.")


def _row(papers: Papers, variant: VariantStatus, *, is_told: bool) -> Iterator[str]:
    primary = papers.spec.metrics.primary
    told, is_control = primary_of(papers.spec, variant.metrics), variant.name == papers.spec.control
    yield f"{variant.name} (control)" if is_control else variant.name
    yield str(variant.weight)
    yield f"{variant.users:,}"
    yield f"{told.users:,}" if told else "0"
    yield amount(primary.source, told.mean, "g") if is_told and told and told.mean is not None else ""
    yield f"{told.stddev:g}" if is_told and told and told.stddev is not None else ""
    yield from difference_told(primary.source, told)
    superior = told.superiority if told else None
    yield f"{superior.probability:g} ({superior.lower:g} to {superior.upper:g})" if superior else ""
    yield f"{variant.requests:,}"
    yield f"{variant.cost.amount:.4g}" if variant.cost else ""


def _users(papers: Papers) -> Iterator[str]:
    series = papers.series
    if series:
        names = [variant.name for variant in papers.spec.variants]
        lines = [
            Line(name, [(look.after, look.users[place]) for look in series], place) for place, name in enumerate(names)
        ]
        most = max(max(look.users) for look in series)
        needed = papers.status.power.required_users_per_variant if papers.status.power else 0
        marks = [Mark("needed", needed)] if 0 < needed <= 3 * max(most, 1) else []
        said = "Users with a value, by variant"
        drawn = chart(said, (0, max(most, *(mark.value for mark in marks), _FEW)), lines, marks=marks)
        yield f"<figure><figcaption>{said}</figcaption>{drawn}</figure>"
        yield from _ratio_chart(series)
    yield paragraph(_ratio(papers.status))
    rates = [f"{v.name} {_rate(papers, v)}" for v in papers.status.variants if v.users]
    if rates:
        primary = papers.spec.metrics.primary
        verb = "gave" if primary.source == "Feedback" else "have"
        whose = "whose window is over" if primary.missing == "Zero" else f"who {verb} a value"
        yield paragraph(f"Share of users {whose}: {', '.join(rates)}.")
    moved = _moved(papers.status)
    if moved is not None:
        yield paragraph(f"Users who were given more than one variant: {moved:,}.")


def _ratio_chart(series: Sequence[Look]) -> Iterator[str]:
    points = [(look.after, max(math.log10(max(look.spread, 1e-300)), -4)) for look in series if look.spread is not None]
    if points:
        said = "Whether users are spread as the weights say (p-value, smaller is worse)"
        drawn = chart(said, (-4, 0), [Line("p-value", points)], marks=[Mark("held at 0.001", _LATCH)], are_powers=True)
        yield f"<figure><figcaption>{said}</figcaption>{drawn}</figure>"


def _ratio(status: ABExperimentStatus) -> str:
    if status.sample_ratio is None:
        return "Whether users are spread as the weights say is not known yet."
    p_value = status.sample_ratio.p_value
    if p_value <= 0.001:
        return f"Users are not spread as the weights say (p = {p_value:g}): one variant is losing users."
    return f"Users are spread as the weights say (p = {p_value:g})."


def _rate(papers: Papers, variant: VariantStatus) -> str:
    told = primary_of(papers.spec, variant.metrics)
    return f"{(told.users if told else 0) / variant.users:.1%}"


def _moved(status: ABExperimentStatus) -> int | None:
    """As the decision's numbers say; the status tells of them only where there are too many."""
    try:
        return int(json.loads(status.decision.snapshot)["counts"]["moved"]) if status.decision else None
    except (KeyError, TypeError, ValueError):
        return None


def _time(papers: Papers) -> Iterator[str]:
    status, stopping = papers.status, papers.spec.stopping
    rows = [["Counting began", status.started_at or "not yet"]]
    if status.decision:
        rows.append(["Decided", status.decision.decided_at])
    if paused := papers.status.paused_for(papers.until):
        rows.append(["Paused, which the following do not count", duration_words(paused)])
    rows.append(["Earliest and latest verdict", f"after {stopping.min_duration} and {stopping.max_duration}"])
    if status.power:
        rows.append(
            ["Users with a value that the smallest variant needs", f"{status.power.required_users_per_variant:,}"]
        )
        if status.power.estimated_decision_time and not status.decision:
            rows.append(["They are there, at the pace so far", status.power.estimated_decision_time])
    yield table([], rows)
    if said := weekdays(papers.spec, status):
        yield paragraph(said)


def _conditions(papers: Papers) -> Iterator[str]:
    rows = [
        [one.type, one.status, one.reason, one.message, one.last_transition_time] for one in papers.status.conditions
    ]
    yield table(["Condition", "Status", "Reason", "", "Since"], rows) if rows else paragraph("None yet.")


def _terms(papers: Papers) -> Iterator[str]:
    spec = papers.spec
    primary, stopping, assignment = spec.metrics.primary, spec.stopping, spec.assignment
    yield table(
        ["Variant", "ModelVersion", "Weight"],
        [
            [f"{v.name}{' (control)' * (v.name == spec.control)}", v.model_version_ref.name, v.weight]
            for v in spec.variants
        ],
    )
    effect = primary.minimum_detectable_effect
    keys = [f"{kind} {value}" for key in assignment.key_from for kind, value in key.dump().items()]
    rows = [
        ["Type", _TYPES[spec.type]],
        ["Metric", f"{primary.name}, {_SOURCES[primary.source]}, {_way(primary)}"],
        *(_feedback(primary) if primary.source == "Feedback" else ()),
        ["Least difference that matters", difference(primary.source, effect, "g") if effect else "not given"],
        ["Method", f"{stopping.method}, confidence {stopping.confidence:g}"],
        ["Least sample", f"{stopping.min_users_per_variant:,} users with a value in each variant"],
        ["Users are known by", f"{', '.join(keys)} (trust: {assignment.trust})"],
        ["What follows", _mode(spec)],
    ]
    if papers.status.coverage is not None:
        rows.append(["Share of users who take part", f"{papers.status.coverage} %"])
    yield table([], rows)


def _feedback(primary: PrimaryMetric) -> Iterator[list[str]]:
    yield ["Range", f"{primary.range.min:g} to {primary.range.max:g}" if primary.range else "not given"]
    yield ["Window", primary.window or "none: all that was said so far counts"]
    silent = "count as 0 once their window is over" if primary.missing == "Zero" else "left out"
    yield ["Users who said nothing", silent]


def _mode(spec: ABExperimentSpec) -> str:
    bakes = seconds(spec.decision.bake) > 0 and spec.decision.mode != "Observe"
    return f"{spec.decision.mode}{f', after a bake of {spec.decision.bake}' if bakes else ''}"


def _decision(papers: Papers) -> Iterator[str]:
    decision = papers.status.decision
    if decision is None:
        yield paragraph("There is none yet.")
        return
    rows = [["Outcome", decision.outcome], ["Winner", decision.winner or "none"], ["Rule", decision.rule]]
    yield table([], [*rows, ["Reason", decision.reason], ["Decided", decision.decided_at]])
    if papers.record is None:
        return
    text = record_text(papers.record)
    link = f"data:application/json;base64,{base64.b64encode(text.encode()).decode()}"
    again = "<code>python -m anneal_operator verdict record.json</code>"
    yield f'<p>Save <a download="record.json" href="{link}">the record</a>, and {again} makes the decision again.</p>'
    yield f"<details><summary>The record</summary><pre>{escaped(text)}</pre></details>"
