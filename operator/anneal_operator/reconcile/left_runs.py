"""Runs in MLflow whose job is gone: nobody else would end them.

A job has no finalizer, so it may go while no operator looks, and with it every object that knew of its run. So the
runs themselves are asked after, when an operator begins to lead, when a job has gone, and now and then: those at work
that this installation began, whose job is not there any more. What another installation began in the same MLflow is its
own affair. Each run is judged by itself: one that cannot be, or whose tags name no job, holds up none after it.
"""

import asyncio
import contextlib
import hashlib
import logging
import re

from anneal_operator.cluster.client import KubernetesApi
from anneal_operator.cluster.store import Store
from anneal_operator.errors import AnnealError
from anneal_operator.outside.registry import Registry, RunAtWork

__all__ = ["LeftRuns", "installation"]

_PERIOD_SECONDS, _AFTER_A_FAILURE_SECONDS = 300.0, 30.0
_AT_LEAST_SECONDS = 5.0
"""Between two looks, whatever wakes them: a look asks for all runs at work, and a thousand jobs may go at once."""
_CHARACTERS = 16
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
"""Of an object; a uid is such a one, too. Anybody may write tags in MLflow, and names become part of an address."""
log = logging.getLogger("anneal.runs")


def installation(authority: str, cluster: str) -> str:
    """Return what tells this installation from others: its certificate authority, which outlives every operator, and
    its cluster, as a copy of all objects in another one has the same authority, and none of the jobs.
    """
    return hashlib.sha256(f"{cluster}\n{authority}".encode()).hexdigest()[:_CHARACTERS]


class LeftRuns:
    """Ends them as KILLED, one after the other."""

    def __init__(self, api: KubernetesApi, store: Store, registry: Registry, name: str) -> None:
        """`name` is the installation's, by which it knows the runs that its jobs began."""
        self._api = api
        self._store = store
        self._registry = registry
        self.name = name
        self._news = asyncio.Event()

    def look(self) -> None:
        """Look soon: a job has gone."""
        self._news.set()

    async def end_forever(self) -> None:
        """Look until cancelled; what cannot be asked, or told, is tried again."""
        while True:
            self._news.clear()
            left = _PERIOD_SECONDS
            try:
                await self.end()
            except AnnealError as error:
                log.warning("runs whose job is gone have to wait: %s", error)
                left = _AFTER_A_FAILURE_SECONDS
            except Exception:
                log.exception("ending runs whose job is gone: unexpected error; retrying")
            await asyncio.sleep(_AT_LEAST_SECONDS)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), left)

    async def end(self) -> None:
        """Look once."""
        for run in await self._registry.runs_at_work(self.name):
            if not all(map(_NAME.fullmatch, (run.namespace, run.job, run.job_uid))):
                continue
            try:
                await self._end(run)
            except AnnealError as error:
                log.warning("run %s of job %s/%s has to wait: %s", run.run_id, run.namespace, run.job, error)
            except Exception:
                log.exception("run %s of job %s/%s: unexpected error; retrying", run.run_id, run.namespace, run.job)

    async def _end(self, run: RunAtWork) -> None:
        if not await self._has_its_job(run):
            await self._registry.end_left_run(run.run_id)
            log.info("job %s/%s is gone, so its run %s ended", run.namespace, run.job, run.run_id)

    async def _has_its_job(self, run: RunAtWork) -> bool:
        known = self._store.get("FineTuneJob", run.namespace, run.job)
        if known is None or known["metadata"]["uid"] != run.job_uid:
            known = await self._api.get("FineTuneJob", run.namespace, run.job)
        return known is not None and known["metadata"]["uid"] == run.job_uid
