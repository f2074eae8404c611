"""How a backend stands: what the namespace's routers, which ask it, found. Nothing of it is ours to start or to end."""

from collections.abc import Mapping, Sequence

from anneal_operator.api.conditions import Condition
from anneal_operator.api.model_version import ANSWERING, ModelVersionStatus, VersionPhase
from anneal_operator.reasons import ConditionType, Reason
from serving_runtime.plan import BackendProblem, BackendReport

from .conditions import Finding
from .observed_version import ObservedVersion

__all__ = ["LOOK_AGAIN_SECONDS", "backend_ready", "backend_standing", "url_refusal"]

LOOK_AGAIN_SECONDS = 5.0
"""No watch tells of a backend."""
_MESSAGE_LIMIT = 600
_REASONS: Mapping[BackendProblem, Reason] = {
    "AddressRefused": Reason.BACKEND_REFUSED,
    "AuthoritiesMissing": Reason.BACKEND_AUTHORITIES_MISSING,
    "KeyMissing": Reason.BACKEND_KEY_MISSING,
    "KeyRefused": Reason.BACKEND_KEY_REFUSED,
    "ModelUnknown": Reason.BACKEND_MODEL_UNKNOWN,
    "Unreachable": Reason.BACKEND_AWAY,
    "Unusable": Reason.BACKEND_AWAY,
}


def backend_ready(seen: ObservedVersion) -> tuple[VersionPhase, Finding]:
    """Return the phase, and the condition Ready; what is wrong with where it is comes first."""
    if seen.source_refusal:
        return "Failed", Finding(ConditionType.READY, "False", Reason.SOURCE_REFUSED, seen.source_refusal)
    if seen.service_problem:
        return "Failed", Finding(ConditionType.READY, "False", Reason.BACKEND_AWAY, seen.service_problem)
    return backend_standing(seen.backend_told, seen.previous)


def backend_standing(
    told: Sequence[BackendReport | None], previous: ModelVersionStatus
) -> tuple[VersionPhase, Finding]:
    """Return the phase, and the condition Ready. `told` has one for each router that takes requests, None where that
    has not told: a backend that answered before stays as it was then, as routers that nobody hears may well ask it.
    """
    kind, known = ConditionType.READY, [report for report in told if report]
    before = previous.condition(kind)
    failing = [report for report in known if report.problem]
    if not known:
        return _unheard(previous, before)
    if not failing and (len(known) == len(told) or previous.phase in ANSWERING):
        return "Ready", Finding(kind, "True", Reason.ANSWERS, "the backend answers every router")
    answered, message = len(known) - len(failing), failing[0].message if failing else "the others have not asked it yet"
    said = f"the backend answers {answered} of {len(told)} routers: {message}"[:_MESSAGE_LIMIT]
    if answered and previous.phase in ANSWERING:
        return "Degraded", Finding(kind, "False", Reason.SOME_ANSWER, said)
    if answered:  # as while routers are replaced by those that have its key
        return "Loading", Finding(kind, "False", Reason.BACKEND_NOT_ASKED, said)
    return "Failed", Finding(kind, "False", _reason(failing[0]), failing[0].message[:_MESSAGE_LIMIT])


def _reason(report: BackendReport) -> Reason:
    """Leniently: a router of another build may know of more."""
    return next((reason for problem, reason in _REASONS.items() if problem == report.problem), Reason.BACKEND_AWAY)


def _unheard(previous: ModelVersionStatus, before: Condition | None) -> tuple[VersionPhase, Finding]:
    kind = ConditionType.READY
    if previous.phase in ANSWERING and before:
        if previous.phase == "Ready":
            return "Ready", Finding(kind, before.status, Reason.ANSWERS, before.message)
        return "Degraded", Finding(kind, before.status, Reason.SOME_ANSWER, before.message)
    return "Loading", Finding(kind, "False", Reason.BACKEND_NOT_ASKED, "no router has told yet how the backend answers")


def url_refusal(url: str | None, allowed: Sequence[str]) -> str:
    """Return why a backend outside its namespace is not asked, with the remedy; nothing where it may be."""
    if url is None or any(f"{url}/".startswith(f"{beginning.removesuffix('/')}/") for beginning in allowed):
        return ""
    taken = f"those that begin with {' or '.join(allowed)}" if allowed else "none"
    return (
        f"`backend.url` is {url}, and of backends outside a namespace this installation takes {taken}: create the "
        "version with `serviceRef`, or have the chart's `server.backends` allow this one"
    )
