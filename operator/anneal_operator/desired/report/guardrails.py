"""How challengers stand by the guardrails of an ABExperiment, for its page."""

from collections.abc import Iterator

from anneal_operator.api.ab_experiment import ABExperimentSpec
from anneal_operator.api.ab_experiment_status import ABExperimentStatus, GuardrailStatus
from anneal_operator.api.amounts import amount
from anneal_operator.api.metrics import Guardrail

from .elements import note, paragraph, table, without_empty

__all__ = ["guardrails"]

_HEAD = ["Variant", "Guardrail", "Measures", "Limit", "Value", "Ratio to the control's", "Shown to be", "State"]
_STATES = {"Breached": "breached", "Kept": "kept", "NotShown": "not shown yet"}


def guardrails(spec: ABExperimentSpec, status: ABExperimentStatus) -> Iterator[str]:
    """Yield who was dropped, and a table with a row for each challenger and guardrail."""
    yield from (
        paragraph(f"{name} was shown to be beyond a limit. Its users get {spec.control}'s answers from then on.")
        for name in status.dropped or ()
    )
    limits = {one.name: one for one in spec.metrics.guardrails}
    rows = [
        [variant.name, *_row(limits[told.name], told)]
        for variant in status.variants
        for told in variant.guardrails
        if told.name in limits
    ]
    if not rows:
        asked = "; ".join(f"{one.name} ({one.source}): {_limit(one)}" for one in limits.values())
        yield paragraph(f"Nothing is told of them yet. What is asked: {asked}.")
        return
    yield table(*without_empty(_HEAD, rows))
    if spec.stopping.method == "FixedHorizon" and status.decision is None and status.recommended is None:
        yield note("Their numbers are told with the one look, those of a breach at once.")
    yield note(
        "A challenger that is shown to be beyond a limit is dropped; one is promoted only if all are shown kept."
    )


def _row(limit: Guardrail, told: GuardrailStatus) -> Iterator[str]:
    yield limit.name
    yield limit.source
    yield _limit(limit)
    yield "" if told.value is None else amount(limit.source, told.value)
    yield "" if told.ratio is None else f"{told.ratio:.3g}"
    yield "" if told.bound is None else _within(limit, told.bound)
    yield _STATES.get(told.state, told.state)


def _limit(limit: Guardrail) -> str:
    absolute = limit.min if limit.max is None else limit.max
    if absolute is not None:
        return _within(limit, absolute)
    worse = (limit.max_regression_percent or 0.0) / 100
    return _within(limit, 1 - worse if limit.increases else 1 + worse)


def _within(limit: Guardrail, bound: float) -> str:
    way, is_absolute = "at least" if limit.increases else "at most", limit.max_regression_percent is None
    return f"{way} {amount(limit.source, bound) if is_absolute else f'{bound:.4g} times the control'}"
