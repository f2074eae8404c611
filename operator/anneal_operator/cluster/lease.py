"""One leader at a time, by a Lease of coordination.k8s.io.

It saves work; it does not carry correctness, which rests on resourceVersions and on names that follow from the object.
Still no write leaves a process that has not renewed in time, and none outlasts its lease: see
`KubernetesClient.fence`. Time is each process's
monotonic clock, so that no clock that jumps makes two leaders, as in the Go client:
https://pkg.go.dev/k8s.io/client-go/tools/leaderelection. The Python client's own election is not used: it ends with the
first refused connection, and reads the wall clock.
"""

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

from anneal_operator.errors import ApiError

from .client import KubernetesApi
from .kinds import Manifest

__all__ = ["Lease"]

_NAME = "anneal-operator"
_DURATION_SECONDS = 15
"""Seconds after which others may take a lease that they have not seen renewed."""
_TRUSTED_SECONDS = 10.0
"""Seconds for which its holder trusts it after asking to renew it; less, so that it stops before others begin."""
_PERIOD_SECONDS = 4.0
log = logging.getLogger("anneal.lease")


class Lease:
    """The lease as one process sees it; `identity` is what no other living process calls itself."""

    def __init__(self, api: KubernetesApi, namespace: str, identity: str) -> None:
        self._api = api
        self._namespace = namespace
        self._identity = identity
        self._trusted_until = 0.0
        self._waits = False
        self._seen: tuple[str, float] = ("", 0.0)

    def is_held(self) -> bool:
        """Whether this process may act as the leader now."""
        return self.seconds_left() > 0

    def seconds_left(self) -> float:
        """For how long this process may act as the leader unless it renews meanwhile; never less than 0."""
        return max(0.0, self._trusted_until - time.monotonic())

    def is_awaited(self) -> bool:
        """Whether another holds the lease, as the API server said last, and this process stands by."""
        return self._waits

    async def lead(self, work: Callable[[], Awaitable[None]]) -> bool:
        """Wait for the lease and run `work` while it is held; return whether it ended before the lease was lost."""
        while not await self._renew():
            await _pause()
        log.info("%s leads", self._identity)
        keeping = asyncio.ensure_future(self._keep())
        working = asyncio.ensure_future(work())
        try:
            await asyncio.wait({keeping, working}, return_when=asyncio.FIRST_COMPLETED)
            ended = working.done()
        finally:
            for task in (keeping, working):
                task.cancel()
            await asyncio.gather(keeping, working, return_exceptions=True)
            await self._release()
        if ended:
            working.result()
        else:
            log.warning("%s lost the lease: not renewed in time", self._identity)
        return ended

    async def _keep(self) -> None:
        while (left := self.seconds_left()) > 0:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await _pause()
                    await self._renew()

    async def _renew(self) -> bool:
        """Take the lease or renew it; return whether it is ours."""
        asked = time.monotonic()
        try:
            current = await self._api.get("Lease", self._namespace, _NAME)
            if current is None:
                await self._api.create(self._manifest())
            elif self._is_free(current, time.monotonic()):  # what was read may be newer than the question
                await self._api.patch("Lease", self._namespace, _NAME, self._taking(current))
            else:
                self._trusted_until, self._waits = 0.0, True
                return False
        except ApiError as error:
            log.warning("the lease was not renewed: %s", error)
            self._waits = False
            return False
        self._trusted_until, self._waits = asked + _TRUSTED_SECONDS, False
        return True

    def _is_free(self, current: Manifest, now: float) -> bool:
        holder = current["spec"].get("holderIdentity")
        version = current["metadata"]["resourceVersion"]
        if self._seen[0] != version:
            self._seen = (version, now)
        return holder in {None, "", self._identity} or now > self._seen[1] + _DURATION_SECONDS

    def _manifest(self) -> Manifest:
        now = _timestamp()
        spec = {"holderIdentity": self._identity, "leaseDurationSeconds": _DURATION_SECONDS, "acquireTime": now}
        metadata = {"name": _NAME, "namespace": self._namespace}
        return {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": metadata,
            "spec": {**spec, "renewTime": now, "leaseTransitions": 0},
        }

    def _taking(self, current: Manifest) -> Manifest:
        spec: Manifest = {"renewTime": _timestamp()}
        if current["spec"].get("holderIdentity") != self._identity:
            transitions = current["spec"].get("leaseTransitions", 0) + 1
            spec = {**self._manifest()["spec"], "leaseTransitions": transitions}
        return {"metadata": {"resourceVersion": current["metadata"]["resourceVersion"]}, "spec": spec}

    async def _release(self) -> None:
        """Let another begin at once; where that fails, it waits for the lease to end."""
        held, self._trusted_until = self.is_held(), 0.0
        if not held:
            return
        try:
            current = await self._api.get("Lease", self._namespace, _NAME)
            if current and current["spec"].get("holderIdentity") == self._identity:
                version = {"resourceVersion": current["metadata"]["resourceVersion"]}
                freed = {"metadata": version, "spec": {"holderIdentity": ""}}
                await self._api.patch("Lease", self._namespace, _NAME, freed)
        except ApiError as error:
            log.warning("the lease was not given back: %s", error)


async def _pause() -> None:
    await asyncio.sleep(random.uniform(0.75, 1.0) * _PERIOD_SECONDS)  # noqa: S311 - jitter


def _timestamp() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
