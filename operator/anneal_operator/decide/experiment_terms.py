"""What an ABExperiment's spec says of its verdict, as the start freezes it."""

from itertools import pairwise

from anneal_operator.api.ab_experiment import ABExperimentSpec
from anneal_operator.api.metrics import Guardrail as GuardrailSpec
from serving_runtime.plan import boundaries

from .statistics.guarded import Guardrail
from .statistics.terms import Method, Terms, rule_of

__all__ = ["terms_of"]


def terms_of(spec: ABExperimentSpec, method: Method | None = None) -> Terms:
    """Return the terms, of the spec's method or of this one."""
    primary, stopping = spec.metrics.primary, spec.stopping
    ends = boundaries([variant.weight for variant in spec.variants])
    guardrails = tuple(map(_guardrail, spec.metrics.guardrails))
    return Terms(
        method=method or stopping.method,
        level=round(1 - stopping.confidence, 9),
        control=[variant.name for variant in spec.variants].index(spec.control),
        shares=tuple(end - begin for begin, end in pairwise([0, *ends])),
        least=stopping.min_users_per_variant,
        planned=2 * stopping.min_users_per_variant,
        increases=primary.increases,
        width=primary.width,
        effect=primary.minimum_detectable_effect,
        closed=primary.window is not None,
        missing=primary.missing,
        guardrails=guardrails,
        source=primary.source,
        scored_by=primary.scored.digest if primary.scored else "",
        rule=rule_of(primary.source, guardrails, missing=primary.missing, of_equals=spec.type == "AA"),
    )


def _guardrail(spec: GuardrailSpec) -> Guardrail:
    percent = spec.max_regression_percent
    return Guardrail(
        name=spec.name,
        source=spec.source,
        increases=spec.increases,
        regression=None if percent is None else round(percent / 100, 9),
        most=spec.max,
        least=spec.min,
        low=spec.range.min if spec.range else None,
        high=spec.range.max if spec.range else None,
    )
