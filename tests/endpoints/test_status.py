"""What Prometheus reads, and when the operator calls itself ready."""

import asyncio

import pytest
from aiohttp.test_utils import TestClient, TestServer
from prometheus_client import REGISTRY

from anneal_operator.endpoints.status import status_app
from anneal_operator.metrics import JobPhases


def _jobs() -> tuple[float, float]:
    """How many are Running and Pending: in this process other tests had jobs, too."""
    running, pending = (REGISTRY.get_sample_value("anneal_jobs", {"phase": phase}) for phase in ("Running", "Pending"))
    return running or 0, pending or 0


def test_jobs_are_counted_in_the_phase_they_are_in() -> None:
    running, pending = _jobs()
    phases = JobPhases()
    phases.note("a", "one", "Running")
    phases.note("a", "two", "Running")
    phases.note("b", "one", "Pending")
    assert _jobs() == (running + 2, pending + 1)
    phases.note("b", "one", "Running")
    phases.note("b", "one", "Running")
    phases.note("a", "two", None)
    phases.note("a", "unknown", None)
    assert _jobs() == (running + 2, pending)


def _ask(path: str, standing: str | None = None) -> tuple[int, str]:
    async def run() -> tuple[int, str]:
        async with TestClient(TestServer(status_app(lambda: standing))) as client:
            answer = await client.get(path)
            return answer.status, await answer.text()

    return asyncio.run(run())


def test_the_page_tells_what_was_counted() -> None:
    status, page = _ask("/metrics")
    assert status == 200
    for name in (
        "anneal_reconciles_total",
        "anneal_reconcile_duration_seconds",
        "anneal_queue_depth",
        "anneal_api_writes_total",
        "anneal_jobs",
        "anneal_gpu_seconds_total",
    ):
        assert f"# TYPE {name}" in page


@pytest.mark.parametrize("standing", ["leading", "waiting for the lease"])
def test_one_that_is_ready_tells_as_what(standing: str) -> None:
    assert _ask("/readyz", standing) == (200, f"ready: {standing}")


def test_one_that_neither_leads_nor_waits_is_alive_and_not_ready() -> None:
    assert _ask("/readyz")[0] == 503
    assert _ask("/healthz")[0] == 200
