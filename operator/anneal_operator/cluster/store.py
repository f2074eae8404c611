"""What the watches told, of every kind, so that not every reconcile asks the API server.

A hint, never the truth: what two watches tell need not fit together yet, and one that broke does not tell what vanished
meanwhile. So whoever is about to act reads afresh (`reading.py`). Of children only what a reconcile reads is kept, and
only while their owner is at work: a finished FineTuneJob costs no memory but its name and its end.
"""

import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from anneal_operator.api.fine_tune_job_status import has_ended
from anneal_operator.api.pods import is_gpu

from .kinds import Manifest

__all__ = ["WATCHED", "Store"]

WATCHED = frozenset({"ABExperiment", "Deployment", "FineTuneJob", "Job", "ModelVersion", "Pod"})
"""The kinds that watches tell of; whatever else is needed is asked for."""
_METADATA = (
    "annotations",
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "generation",
    "labels",
    "name",
    "namespace",
    "ownerReferences",
    "resourceVersion",
    "uid",
)
_CHILD_SPEC = ("activeDeadlineSeconds", "nodeName", "replicas", "suspend")
_CHILD_STATUS = (
    "observedGeneration",
    "phase",
    "podIP",
    "readyReplicas",
    "replicas",
    "reason",
    "message",
    "startTime",
    "updatedReplicas",
)
_STATUS_LISTS = {
    "conditions": ("type", "status", "reason", "message", "lastTransitionTime"),
    "containerStatuses": ("lastState", "name", "state"),
    "initContainerStatuses": ("lastState", "name", "state"),
}
_WITH_OWNERS = WATCHED | {"ConfigMap", "PersistentVolumeClaim", "Service"}
_TO_BE_DELETED = "ttlSecondsAfterFinished"
_FINISHED_STATUS = ("phase", "reason", "conditions", "observedGeneration")
_Collection = tuple[str, str]


class Store:
    """`owners` says under which label a child carries its owner's name, and of which kind the owner is."""

    def __init__(self, owners: Mapping[str, str]) -> None:
        self._owners = owners
        self._objects: dict[_Collection, dict[str, Manifest]] = {}
        self._labelled: dict[tuple[str, str, str, str], set[str]] = {}
        self._unheard: set[tuple[str, str, str]] = set()
        """What was learned by reading before a watch told of it, so that its telling still wakes whom it concerns."""

    def learn(self, manifest: Manifest) -> None:
        """Take in an object that was read, or that one reconcile made for another: the watch's telling stays news."""
        if self._take_in(manifest):
            self._unheard.add(_address(manifest))

    def observe(self, manifest: Manifest, *, deleted: bool = False) -> bool:
        """Take in an object as a watch told of it, or as its own reconcile wrote it; return whether that is news.

        It is none where nothing changed that a reconcile reads, where something newer is known, and where a child's
        owner is not at work: whoever begins to look at it reads everything anyway.
        """
        address = _address(manifest)
        known = self.get(*address)
        is_unheard = address in self._unheard
        if deleted:
            self.forget(*address)
            self._unheard.discard(address)
            return known is not None or is_unheard
        if known is not None and _is_older(manifest, known) and not _is_version_of(manifest, known):
            return False
        self._unheard.discard(address)
        return self._take_in(manifest) or is_unheard

    def _take_in(self, manifest: Manifest) -> bool:
        """Keep it; return whether it differs from what was known in anything that a reconcile reads."""
        kind, metadata = manifest["kind"], manifest["metadata"]
        known = self.get(*_address(manifest))
        if known is not None and _is_older(manifest, known):
            return False
        if not self._is_kept(manifest):
            return False
        kept = _trimmed(manifest)
        self._put(kept)
        if kind == "FineTuneJob" and _has_ended(kept):
            self._forget_children(metadata["namespace"], metadata["name"], "FineTuneJob")
        return known is None or _without_version(known) != _without_version(kept)

    def get(self, kind: str, namespace: str, name: str) -> Manifest | None:
        """Return what is known of an object."""
        return self._objects.get((kind, namespace), {}).get(name)

    def list(self, kind: str, namespace: str, selector: str = "") -> list[Manifest]:
        """Return the objects with this label, `name=value`, or all of the namespace."""
        objects = self._objects.get((kind, namespace), {})
        if not selector:
            return list(objects.values())
        label, _, value = selector.partition("=")
        return [objects[name] for name in sorted(self._labelled.get((kind, namespace, label, value), ()))]

    def everywhere(self, kind: str) -> Iterator[Manifest]:
        """Yield the objects of a kind in all namespaces."""
        for (known, _), objects in self._objects.items():
            if known == kind:
                yield from objects.values()

    def replace(self, kind: str, namespace: str, selector: str, found: Iterable[Manifest]) -> None:
        """Take in what the API server listed; children that are known beside that are gone.

        Of a kind that is reconciled itself nothing is forgotten here: the list may be older than what a watch told.
        """
        items = {item["metadata"]["name"]: item for item in found}
        for known in self.list(kind, namespace, selector) if selector else ():
            if known["metadata"]["name"] not in items:
                self.lose(kind, namespace, known["metadata"]["name"])
        for item in items.values():
            self.learn({**item, "kind": kind})

    def lose(self, kind: str, namespace: str, name: str) -> None:
        """Forget an object that reading did not find any more: that a watch tells of its end stays news."""
        if self.get(kind, namespace, name) is not None:
            self.forget(kind, namespace, name)
            self._unheard.add((kind, namespace, name))

    def forget(self, kind: str, namespace: str, name: str) -> None:
        """Keep nothing of an object."""
        known = self._objects.get((kind, namespace), {}).pop(name, None)
        for label, value in (known or {"metadata": {}})["metadata"].get("labels", {}).items():
            self._labelled.get((kind, namespace, label, value), set()).discard(name)
        if known and kind in self._owners.values():
            self._forget_children(namespace, name, kind)

    def clear(self) -> None:
        """Forget everything: another operator leads, and nobody tells of what happens."""
        self._objects.clear()
        self._labelled.clear()
        self._unheard.clear()

    def _is_kept(self, manifest: Manifest) -> bool:
        labels = manifest["metadata"].get("labels", {})
        for label, owner in self._owners.items():
            if label in labels and manifest["kind"] != owner and owner in WATCHED:  # a router is no object
                known = self.get(owner, manifest["metadata"]["namespace"], labels[label])
                return known is not None and not (owner == "FineTuneJob" and _has_ended(known))
        return True

    def _put(self, manifest: Manifest) -> None:
        kind, metadata = manifest["kind"], manifest["metadata"]
        namespace, name = metadata["namespace"], metadata["name"]
        self._objects.setdefault((kind, namespace), {})[name] = manifest
        for label in self._owners:
            if label in metadata.get("labels", {}):
                self._labelled.setdefault((kind, namespace, label, metadata["labels"][label]), set()).add(name)

    def _forget_children(self, namespace: str, name: str, owner: str) -> None:
        for label in (label for label, kind in self._owners.items() if kind == owner):
            for kind in _WITH_OWNERS:
                for child in self.list(kind, namespace, f"{label}={name}"):
                    self._objects[kind, namespace].pop(child["metadata"]["name"], None)
                self._labelled.pop((kind, namespace, label, name), None)


def _address(manifest: Manifest) -> tuple[str, str, str]:
    return manifest["kind"], manifest["metadata"]["namespace"], manifest["metadata"]["name"]


def _is_version_of(manifest: Manifest, known: Manifest) -> bool:
    return bool(manifest["metadata"].get("resourceVersion") == known["metadata"].get("resourceVersion"))


def _has_ended(job: Manifest) -> bool:
    return has_ended(job.get("status") or {})


def _is_done_with(job: Manifest) -> bool:
    """Whether nobody has to look at a job that has ended again: neither for its deletion, nor for a changed spec."""
    is_told = job["status"].get("observedGeneration") == job["metadata"].get("generation")
    return is_told and job.get("spec", {}).get(_TO_BE_DELETED) is None


def _is_older(manifest: Manifest, known: Manifest) -> bool:
    """By resourceVersion, which Kubernetes says is a growing number (KEP-5504); an object made anew is never older."""
    one, other = manifest["metadata"], known["metadata"]
    if one.get("uid") != other.get("uid"):
        return False
    return int(one.get("resourceVersion", 0)) <= int(other.get("resourceVersion", 0))


def _without_version(manifest: Manifest) -> Manifest:
    metadata = {name: value for name, value in manifest["metadata"].items() if name != "resourceVersion"}
    return {**manifest, "metadata": metadata}


def _trimmed(manifest: Manifest) -> Manifest:
    """What a reconcile reads: as the objects come, a thousand jobs' take three times the memory."""
    kind = manifest["kind"]
    kept: Manifest = _only(manifest, ("apiVersion", "kind"))
    kept["metadata"] = _only(manifest["metadata"], _METADATA)
    if kind == "FineTuneJob" and _has_ended(manifest) and _is_done_with(manifest):
        kept["status"] = _only(manifest["status"], _FINISHED_STATUS)
    elif kind in {"Job", "Pod", "Deployment"}:
        kept |= _trimmed_child(manifest)
    else:
        kept |= {key: value for key, value in manifest.items() if key not in {"apiVersion", "kind", "metadata"}}
    shared: Manifest = _with_shared_names(kept)
    return shared


def _trimmed_child(child: Manifest) -> Manifest:
    spec, status = child.get("spec", {}), child.get("status", {})
    kept, asked = _only(status, _CHILD_STATUS), _only(spec, _CHILD_SPEC)
    if gpus := [limits for container in spec.get("containers", ()) if (limits := _gpu_limits(container))]:
        asked["containers"] = [{"resources": {"limits": limits}} for limits in gpus]
    for name, fields in _STATUS_LISTS.items():
        if name in status:
            kept[name] = [_only(item, fields) for item in status[name]]
    return {"spec": asked, "status": kept}


def _gpu_limits(container: Manifest) -> Manifest:
    limits = container.get("resources", {}).get("limits", {})
    return {name: quantity for name, quantity in limits.items() if is_gpu(name)}


def _only(found: Manifest, names: Iterable[str]) -> Manifest:
    return {name: found[name] for name in names if name in found}


def _with_shared_names(value: Any) -> Any:  # noqa: ANN401 - any part of a manifest
    """The same, with one copy of each field's name in the process: each answer that is parsed brings its own."""
    if isinstance(value, dict):
        return {sys.intern(name): _with_shared_names(part) for name, part in value.items()}
    return [_with_shared_names(part) for part in value] if isinstance(value, list) else value
