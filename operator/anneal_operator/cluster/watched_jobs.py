"""What the watches told of FineTuneJobs at work, so that not every look at one asks the API server.

A hint, never the truth: what two watches tell need not fit together yet, and one that broke does not tell what vanished
meanwhile. So whoever is about to do something looks afresh, and once a minute so does everybody. Only jobs at work are
kept, and of their children what a look reads: a finished job costs no memory.
"""

import asyncio
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from .client import KubernetesApi
from .kinds import Manifest

__all__ = ["Known", "WatchedJobs"]

_MAX_AGE = 55.0
_METADATA = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp", "annotations", "ownerReferences")
_SPEC = ("suspend", "nodeName")
_STATUS = ("phase", "reason", "message", "startTime")
_STATUS_LISTS = {"conditions": ("type", "status", "reason", "message"), "containerStatuses": ("state",)}


@dataclass
class Known:
    """One FineTuneJob and what belongs to its name: plan, Jobs and pods, by their names."""

    job: Manifest
    plan: Manifest | None = None
    jobs: dict[str, Manifest] = field(default_factory=dict)
    pods: dict[str, Manifest] = field(default_factory=dict)
    read_at: float | None = None
    """When the API server was asked, on the monotonic clock; None while a watch told of the job, and no more."""


class WatchedJobs:
    """`label` is what children carry their job's name under, `plan_name` makes a plan's name of a job's."""

    def __init__(
        self, api: KubernetesApi, label: str, plan_name: Callable[[str], str], max_age: float = _MAX_AGE
    ) -> None:
        self._api = api
        self._label = label
        self._plan_name = plan_name
        self._max_age = max_age
        self._known: dict[tuple[str, str], Known] = {}

    def observe(self, manifest: Manifest, *, deleted: bool = False) -> bool:
        """Take in a FineTuneJob, or a Job or pod of one, as a watch told of it or a write was answered.

        Returns whether that is news: a watch also tells of each write of ours, and of what a job that has ended left.
        A job that is not known yet is read whole when it is.
        """
        kind, metadata = manifest["kind"], manifest["metadata"]
        if kind == "FineTuneJob":
            return self._observe_job(manifest, (metadata["namespace"], metadata["name"]), deleted=deleted)
        known = self._known.get((metadata["namespace"], metadata.get("labels", {}).get(self._label, "")))
        return known is not None and _put(known.jobs if kind == "Job" else known.pods, manifest, deleted=deleted)

    def planned(self, job: Manifest, plan: Manifest) -> None:
        """Take in the plan that was just made for a job."""
        if known := self._known.get(_key(job)):  # it may have been deleted meanwhile
            known.plan = _unmanaged(plan)

    def clear(self) -> None:
        """Forget everything: other operators lead, and nobody tells of what happens."""
        self._known.clear()

    def forget(self, namespace: str, name: str) -> None:
        """Keep nothing of a job that has ended, or of which something false was known."""
        self._known.pop((namespace, name), None)

    async def job(self, namespace: str, name: str) -> Manifest | None:
        """Return the FineTuneJob, None where there is none."""
        known = self._known.get((namespace, name))
        if known and (known.read_at is None or time.monotonic() - known.read_at <= self._max_age):
            return known.job
        self.forget(namespace, name)
        found = await self._api.get("FineTuneJob", namespace, name)
        if found:
            self._known[namespace, name] = Known(_unmanaged(found))
        return found

    async def around(self, job: Manifest) -> tuple[Known, bool]:
        """Return all that is known around a job, and whether that is the truth: the API server was asked just now.

        A job without a status is new, so nothing has been made for it. What somebody did make, and ended before telling
        of it, is found by making it again.
        """
        known = self._known.setdefault(_key(job), Known(job))
        if known.read_at is not None:
            return known, False
        asked = time.monotonic()
        if not job.get("status"):
            known.read_at = asked
            return known, True
        namespace, name = _key(job)
        plan = await self._api.get("ConfigMap", namespace, self._plan_name(name))
        known.plan = plan and _unmanaged(plan)
        if plan:  # without a plan nothing else has been made
            selector = f"{self._label}={name}"
            jobs, pods = await asyncio.gather(
                self._api.list("Job", namespace, selector), self._api.list("Pod", namespace, selector)
            )
            known.jobs, known.pods = _by_name(jobs), _by_name(pods)
        known.read_at = asked
        return known, True

    def _observe_job(self, manifest: Manifest, key: tuple[str, str], *, deleted: bool) -> bool:
        known = self._known.get(key)
        if deleted:
            self._known.pop(key, None)
        elif known is None:
            self._known[key] = Known(_unmanaged(manifest))
        elif not _is_newer(manifest, known.job):
            return False
        else:
            known.job = _unmanaged(manifest)
        return True


def _key(job: Manifest) -> tuple[str, str]:
    return job["metadata"]["namespace"], job["metadata"]["name"]


def _by_name(found: list[Manifest]) -> dict[str, Manifest]:
    return {item["metadata"]["name"]: _trimmed(item) for item in found}


def _put(target: dict[str, Manifest], manifest: Manifest, *, deleted: bool) -> bool:
    name = manifest["metadata"]["name"]
    if deleted:
        return target.pop(name, None) is not None
    if name in target and not _is_newer(manifest, target[name]):
        return False
    target[name] = _trimmed(manifest)
    return True


def _is_newer(one: Manifest, other: Manifest) -> bool:
    """By resourceVersion, which Kubernetes says is a growing number (KEP-5504)."""
    return int(one["metadata"].get("resourceVersion", 0)) > int(other["metadata"].get("resourceVersion", 0))


def _unmanaged(manifest: Manifest) -> Manifest:
    """The object without its record of who manages which field, which nobody reads, and which is long."""
    metadata = {name: value for name, value in manifest["metadata"].items() if name != "managedFields"}
    shared: Manifest = _with_shared_names({**manifest, "metadata": metadata})
    return shared


def _trimmed(child: Manifest) -> Manifest:
    """What a look reads of a Job or pod: as they come, a thousand jobs' take three times the memory."""
    spec, status = child.get("spec", {}), child.get("status", {})
    kept = _only(status, _STATUS)
    for name, fields in _STATUS_LISTS.items():
        if name in status:
            kept[name] = [_only(item, fields) for item in status[name]]
    trimmed = {"metadata": _only(child["metadata"], _METADATA), "spec": _only(spec, _SPEC), "status": kept}
    shared: Manifest = _with_shared_names(trimmed)
    return shared


def _only(found: Manifest, names: Iterable[str]) -> Manifest:
    return {name: found[name] for name in names if name in found}


def _with_shared_names(value: Any) -> Any:  # noqa: ANN401 - any part of a manifest
    """The same, with one copy of each field's name in the process: each answer that is parsed brings its own."""
    if isinstance(value, dict):
        return {sys.intern(name): _with_shared_names(part) for name, part in value.items()}
    return [_with_shared_names(part) for part in value] if isinstance(value, list) else value
