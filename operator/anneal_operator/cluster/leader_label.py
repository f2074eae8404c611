"""The label by which the progress Service finds the leader: standbys are ready, too, and have no use for reports.

It follows the lease, and is looked at again and again, so that a write that was lost, or came late, does no lasting
harm; nothing but progress hangs on it. A leader also takes the label from pods that could not drop it themselves: those
that are paused, or cut off from the API server.
"""

import asyncio
import logging
import time
from collections.abc import Callable

from anneal_operator.errors import ApiError

from .client import KubernetesApi

__all__ = ["LEADER_LABEL", "LeaderLabel"]

LEADER_LABEL = "anneal.dev/leader"
_PERIOD_SECONDS = 30.0
_AGAIN_SECONDS = 5.0
_NEWS_SECONDS = 0.5
log = logging.getLogger("anneal.lease")


class LeaderLabel:
    """The label as one operator keeps it, whose client is not fenced: it drops the label when it leads no more."""

    def __init__(self, api: KubernetesApi, namespace: str, pod: str, leads: Callable[[], bool]) -> None:
        self._api = api
        self._namespace = namespace
        self._pod = pod
        self._leads = leads

    async def keep(self) -> None:
        """Keep the label where it belongs, from the start on: a container may begin in a pod that was the leader's.

        It ends where this process runs in no pod.
        """
        while True:
            led, wait = self._leads(), _PERIOD_SECONDS
            try:
                if not await self._look(led):
                    log.info("no pod is called %s, so none gets the label %s", self._pod, LEADER_LABEL)
                    return
            except ApiError as error:
                log.warning("the label %s may not be where it belongs: %s", LEADER_LABEL, error)
                wait = _AGAIN_SECONDS
            due = time.monotonic() + wait
            while time.monotonic() < due and self._leads() == led:  # noqa: ASYNC110 - the lease is a clock
                await asyncio.sleep(_NEWS_SECONDS)

    async def _look(self, led: bool) -> bool:
        """Put right what is wrong, unless the lease was lost or won meanwhile; return whether there is a pod."""
        found = await self._api.list("Pod", self._namespace, f"{LEADER_LABEL}=true")
        labelled = {pod["metadata"]["name"] for pod in found}
        wanted = {self._pod} if led else labelled - {self._pod}
        if wanted - labelled and await self._api.get("Pod", self._namespace, self._pod) is None:
            return False
        for pod in sorted(labelled ^ wanted):
            if self._leads() == led:
                labels = {LEADER_LABEL: "true" if pod in wanted else None}
                await self._api.patch("Pod", self._namespace, pod, {"metadata": {"labels": labels}})
        return True
