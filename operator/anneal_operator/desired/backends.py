"""A version's backend as its namespace's routers are told of it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from anneal_operator.api.backend import Backend, CaCertificates, SecretKey, ServiceReference
from anneal_operator.api.resources import Manifest
from serving_runtime.plan import BACKEND_AUTHORITIES_FOLDER, BACKEND_KEYS_FOLDER, BackendTarget

__all__ = [
    "AskedBackend",
    "Trusted",
    "asked_backend",
    "key_mounts",
    "key_volumes",
    "service_problem",
    "trusted_mounts",
    "trusted_volumes",
]

_VOLUME, _AUTHORITIES = "backend-keys", "backend-authorities"


@dataclass(frozen=True)
class Trusted:
    """Who vouches for one backend's certificate."""

    of: CaCertificates
    content: str = ""
    """The PEM as the ConfigMap has it now, empty where there is none: routers read theirs once, so another takes other
    pods.
    """


@dataclass(frozen=True)
class AskedBackend:
    """A server of somebody else's that answers as a ModelVersion."""

    target: BackendTarget
    model: str
    """The name by which it knows the model."""
    key: SecretKey | None = None
    trusted: Trusted | None = None

    def trusting(self, config_map: Manifest | None) -> "AskedBackend":
        """Return it with what the ConfigMap holds that it names."""
        if self.trusted is None:
            return self
        held = [(config_map or {}).get(kind) or {} for kind in ("data", "binaryData")]  # no UTF-8 is in the latter
        content = next((one[self.trusted.of.key] for one in held if self.trusted.of.key in one), "")
        return replace(self, trusted=replace(self.trusted, content=str(content)))


def asked_backend(namespace: str, version: str, backend: Backend, model: str, service: Manifest | None) -> AskedBackend:
    """Return how a version's backend is asked; `model` is what it calls the model, and `service` its Service, if any.

    One whose Service is missing has no pods that could be asked: routers say so until there are some.
    """
    key = backend.api_key.secret_key_ref if backend.api_key else None
    if of := backend.service_ref:
        found = _port_of(of, service)
        target = BackendTarget(
            scheme="http",
            host=f"{of.name}.{namespace}.svc",
            port=of.port,
            path=of.path,
            service=of.name,
            port_name=str(found.get("name") or "") if found else "",
        )
        return _with_files(version, target, model, key, None)
    split = urlsplit(backend.url or "")
    target = BackendTarget(
        scheme="https" if split.scheme == "https" else "http",
        host=split.hostname or "",
        port=split.port or (443 if split.scheme == "https" else 80),
        path=split.path,
    )
    return _with_files(version, target, model, key, backend.ca_certificate_ref)


def _with_files(
    version: str, target: BackendTarget, model: str, key: SecretKey | None, trusted: CaCertificates | None
) -> AskedBackend:
    file = f"{version}/{target.key_file}"
    files = {"key": file if key else "", "trusted": file if trusted else ""}
    return AskedBackend(target.model_copy(update=files), model, key, Trusted(trusted) if trusted else None)


def key_volumes(keys: Mapping[str, SecretKey]) -> list[Manifest]:
    """Return a router pod's volume with these keys, by file; none where there are none.

    The kubelet keeps the files as the Secrets are; one that is missing keeps no router from starting.
    """
    sources = [
        {"secret": {"name": of.name, "optional": True, "items": [{"key": of.key, "path": file}]}}
        for file, of in sorted(keys.items())
    ]
    return [{"name": _VOLUME, "projected": {"sources": sources}}] if sources else []


def key_mounts(keys: Mapping[str, SecretKey]) -> list[Manifest]:
    """Return how a container has them."""
    return [{"name": _VOLUME, "mountPath": BACKEND_KEYS_FOLDER, "readOnly": True}] if keys else []


def trusted_volumes(trusted: Mapping[str, Trusted]) -> list[Manifest]:
    """Return the volume with who vouches for single backends, by file; none of them has to be there."""
    sources = [
        {"configMap": {"name": one.of.name, "optional": True, "items": [{"key": one.of.key, "path": file}]}}
        for file, one in sorted(trusted.items())
    ]
    return [{"name": _AUTHORITIES, "projected": {"sources": sources}}] if sources else []


def trusted_mounts(trusted: Mapping[str, Trusted]) -> list[Manifest]:
    """Return how a container has them."""
    mount = {"name": _AUTHORITIES, "mountPath": BACKEND_AUTHORITIES_FOLDER, "readOnly": True}
    return [mount] if trusted else []


def _port_of(of: ServiceReference, service: Manifest | None) -> Manifest | None:
    ports: list[Manifest] = (service or {}).get("spec", {}).get("ports") or []
    return next((port for port in ports if port.get("port") == of.port), None)


def service_problem(of: ServiceReference, service: Manifest | None) -> str:
    """Return why a backend's Service cannot be asked, with the remedy; nothing where it can."""
    if service is None:
        return f"there is no Service {of.name} (`backend.serviceRef.name`): make it, or create the version with another"
    if service["spec"].get("type") == "ExternalName":
        return f"Service {of.name} is an ExternalName, which has no pods: create the version with `backend.url`"
    if _port_of(of, service) is None:
        has = ", ".join(str(port.get("port")) for port in service["spec"].get("ports") or ())
        return f"Service {of.name} has the ports {has}, and not {of.port}: create the version with one of these"
    return ""
