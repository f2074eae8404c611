"""How far the challengers of a Shadow agree with its control, for its page."""

from collections.abc import Iterator

from anneal_operator.api.ab_experiment import ABExperimentSpec
from anneal_operator.api.ab_experiment_status import ABExperimentStatus
from anneal_operator.api.shadow import Shadow, ShadowStatus

from .elements import note, paragraph, table, without_empty

__all__ = ["agreement", "copies_asked"]

_HEAD = [
    "Challenger",
    "Copies",
    "Failed",
    "Compared",
    "Identical",
    "Similarity",
    "Latency",
    "First token",
    "Tokens",
    "JSON",
]


def agreement(spec: ABExperimentSpec, status: ABExperimentStatus) -> Iterator[str]:
    """Yield a table with a row for each challenger."""
    rows = [[variant.name, *_row(variant.shadow)] for variant in status.variants if variant.shadow]
    if not rows:
        yield paragraph("Nothing was compared yet.")
        return
    yield table(*without_empty(_HEAD, rows))
    yield note(
        f"Everybody got the answers of {spec.control}. In brackets is what it did with the same requests. Similarity "
        "is the share of words that both answers have, in any order; two answers of one model are not always alike."
    )


def _row(told: ShadowStatus) -> Iterator[str]:
    yield f"{told.copies:,}"
    yield f"{told.failed / told.copies:.2%}" if told.copies else ""
    yield f"{told.compared:,}"
    yield "" if told.identical is None else f"{told.identical:.1%}"
    yield "" if told.similarity is None else f"{told.similarity:.3f}"
    yield _beside(told.latency_seconds, told.control_latency_seconds, " s")
    yield _beside(told.first_token_seconds, told.control_first_token_seconds, " s")
    yield _beside(told.tokens, told.control_tokens)
    if told.json_asked:
        yield f"{told.json_valid / told.json_asked:.1%} ({told.control_json_valid / told.json_asked:.1%})"
    else:
        yield ""


def _beside(own: float | None, control: float | None, unit: str = "") -> str:
    return "" if own is None or control is None else f"{own:.4g}{unit} ({control:.4g}{unit})"


def copies_asked(spec: ABExperimentSpec) -> Iterator[str]:
    """Yield whose answers are compared, and how much is copied."""
    shadow, stopping = spec.shadow or Shadow(), spec.stopping
    head = ["Variant", "ModelVersion", "Share of the copies"]
    total = sum(variant.weight for variant in spec.variants if variant.name != spec.control)
    yield table(
        head,
        [
            [f"{v.name} (control)", v.model_version_ref.name, ""]
            if v.name == spec.control
            else [v.name, v.model_version_ref.name, f"{v.weight / total:.0%}"]
            for v in spec.variants
        ],
    )
    ends = f"after {stopping.max_duration}"
    if shadow.comparisons:
        ends += f", or after {stopping.min_duration} with {shadow.comparisons:,} comparisons of each challenger"
    rows = [
        ["Requests that are copied", f"{shadow.percent} %"],
        ["Copies of one router", f"{shadow.max_requests_per_second} a second, {shadow.max_in_flight} at once"],
        ["Given up", f"after {shadow.timeout}"],
        ["Ends", ends],
    ]
    yield table([], rows)
