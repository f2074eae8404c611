"""A namespace's keys: one Secret that routers, engines and recorders read, and nobody owns.

It must not vanish under what runs, and without the key of users' hashes the same people count as others. So it is made
where it is missing, completed where a key is, and otherwise left alone: people may bring their own. Keys are drawn
elsewhere: this room knows no chance.
"""

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace

from anneal_operator.api.resources import OWNER_ANNOTATION
from serving_runtime.plan import ADMIN_KEY_VARIABLE, ENGINE_KEY_VARIABLE, TASKS_KEY_VARIABLE, USER_KEY_VARIABLE

from .operations import Create, Operation, Patch
from .pods import Manifest, labels

__all__ = [
    "KEYS",
    "KEYS_ANNOTATION",
    "KeyRing",
    "Keys",
    "kept",
    "key_variable",
    "ring_of",
]

KEYS = "anneal-router"
KEYS_ANNOTATION = "anneal.dev/keys"
"""On a Deployment and its pods: which keys they were made with, so that they are replaced with these."""


@dataclass(frozen=True)
class Keys:
    """Never shown: not in a traceback either."""

    engine: str = field(repr=False)
    """What engines demand of routers."""
    admin: str = field(repr=False)
    """What routers and recorders demand of the operator, and recorders of routers."""
    user: str = field(repr=False)
    """What users' names are hashed with."""
    tasks: str = field(repr=False)
    """By which routers know the task API."""

    def of_engine(self) -> str:
        """Tell one engine's key from another, by nothing that leads to it."""
        return _fingerprint(self.engine)

    def of_recorder(self) -> str:
        """The same for what a recorder demands."""
        return _fingerprint(self.admin)

    def of_router(self) -> str:
        """The same for all of them."""
        return _fingerprint(self.engine, self.admin, self.user, self.tasks)

    def of_tasks(self) -> str:
        """The same for what the task API shows."""
        return _fingerprint(self.tasks)


_NAMES: Mapping[str, tuple[str, str]] = {
    ENGINE_KEY_VARIABLE: ("engine", "engineKey"),
    ADMIN_KEY_VARIABLE: ("admin", "adminKey"),
    USER_KEY_VARIABLE: ("user", "userKey"),
    TASKS_KEY_VARIABLE: ("tasks", "tasksKey"),
}


@dataclass(frozen=True)
class KeyRing:
    """The keys that hold, and the Secret as it is."""

    keys: Keys
    secret: Manifest | None = field(default=None, repr=False)

    @property
    def is_kept(self) -> bool:
        """Whether the Secret has all of them."""
        return self.secret is not None and not _missing(self.secret)


def ring_of(secret: Manifest | None, drawn: Keys) -> KeyRing:
    """Return the Secret's keys, and in place of those that it lacks the ones that were drawn."""
    return KeyRing(replace(drawn, **_found(secret or {})), secret)


def kept(namespace: str, ring: KeyRing) -> list[Operation]:
    """Return what is to be written for the Secret to hold them: nothing, once it does."""
    if ring.secret is None:
        metadata: Manifest = {"namespace": namespace, "name": KEYS, "labels": labels("router", KEYS)}
        metadata["annotations"] = {OWNER_ANNOTATION: KEYS}
        data = _encoded(ring.keys, [name for name, _ in _NAMES.values()])
        return [Create({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": "Opaque", "data": data})]
    if not (missing := _missing(ring.secret)):
        return []
    version = {"resourceVersion": ring.secret["metadata"]["resourceVersion"]}
    return [Patch("Secret", KEYS, {"metadata": version, "data": _encoded(ring.keys, missing)})]


def key_variable(variable: str) -> Manifest:
    """A container's environment variable with a key; without the Secret the container waits."""
    return {"name": variable, "valueFrom": {"secretKeyRef": {"name": KEYS, "key": _NAMES[variable][1]}}}


def _found(secret: Manifest) -> dict[str, str]:
    data = secret.get("data") or {}
    decoded = {name: base64.b64decode(data.get(key, "")).decode(errors="replace") for name, key in _NAMES.values()}
    return {name: text.strip() for name, text in decoded.items() if text.strip()}


def _missing(secret: Manifest) -> list[str]:
    return [name for name, _ in _NAMES.values() if name not in _found(secret)]


def _encoded(keys: Keys, names: list[str]) -> dict[str, str]:
    known = asdict(keys)
    return {key: base64.b64encode(known[name].encode()).decode() for name, key in _NAMES.values() if name in names}


def _fingerprint(*keys: str) -> str:
    return hashlib.sha256("\n".join(["anneal.dev/keys", *keys]).encode()).hexdigest()[:16]
