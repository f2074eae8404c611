"""What the operator counts for Prometheus.

Counters begin at 0 with the process, as Prometheus expects of them; `anneal_jobs` is true once every object has been
looked at, which the first listing brings about.
"""

from prometheus_client import Counter, Gauge, Histogram

__all__ = ["API_WRITES", "GPU_SECONDS", "QUEUE_DEPTH", "RECONCILES", "RECONCILE_SECONDS", "JobPhases"]

RECONCILES = Counter("anneal_reconciles", "Reconciles by result.", ["kind", "result"])
RECONCILE_SECONDS = Histogram("anneal_reconcile_duration_seconds", "How long a look took.", ["kind"])
QUEUE_DEPTH = Gauge("anneal_queue_depth", "Objects that are due to be looked at, or are being looked at.")
API_WRITES = Counter("anneal_api_writes", "Writes that the Kubernetes API took.", ["verb", "kind"])
JOBS = Gauge("anneal_jobs", "FineTuneJobs by phase.", ["phase"])
GPU_SECONDS = Counter(
    "anneal_gpu_seconds",
    "GPU seconds of training attempts that ended, by how: the share of Completed is the goodput.",
    ["namespace", "reason"],
)


class JobPhases:
    """Which phase each FineTuneJob was in when last seen."""

    def __init__(self) -> None:
        self._phases: dict[tuple[str, str], str] = {}

    def note(self, namespace: str, name: str, phase: str | None) -> None:
        """Remember a job's phase; None for a job that is gone."""
        before = self._phases.pop((namespace, name), None)
        if phase:
            self._phases[namespace, name] = phase
        if before and phase != before:
            JOBS.labels(before).dec()
        if phase and phase != before:
            JOBS.labels(phase).inc()
