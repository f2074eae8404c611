"""Tell nginx which pods, or addresses of a backend, take each version's requests, beside the agent's watch of the route
table.

All EndpointSlices of the namespace are watched; those of the table's Services go into one small file, replaced whole.
What the API server does not tell changes nothing: while it is away, the last file holds. Which pod is asked, and what
becomes of one that fails, is decided in nginx (pick.lua).
"""

import asyncio
import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .addresses import is_refused
from .api_server import ApiServer
from .files import replace_file
from .watch import Manifest, Watch

__all__ = ["FORMAT", "Known", "endpoints_document", "follow_endpoints", "hosts_before"]

FORMAT = 1
_SERVICE = "kubernetes.io/service-name"
_RETRY_SECONDS = 1.0
_TABLE_SECONDS = 0.5
log = logging.getLogger("agent")


@dataclass
class Known:
    """The slices by name, None until they were listed, and where the hosts of backends are."""

    slices: Mapping[str, Manifest] | None = None
    resolved: dict[str, list[str]] = field(default_factory=dict)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def see(self, slices: Mapping[str, Manifest]) -> None:
        """Take in what there is."""
        self.slices = slices
        self.changed.set()


def hosts_before(file: Path) -> dict[str, list[str]]:
    """Return where the hosts of backends were as this file was written: a process that begins anew knows no others."""
    found: dict[str, list[str]] = {}
    with suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
        for pods in json.loads(file.read_text())["targets"].values():
            for host in {pod["pod"] for pod in pods if pod.get("pod") and pod.get("pod") == pod.get("uid")}:
                found[host] = [pod["address"] for pod in pods if not is_refused(pod["address"])]
    return found


def endpoints_document(
    slices: Iterable[Manifest], targets: Mapping[str, Manifest], resolved: Mapping[str, Sequence[str]] | None = None
) -> dict[str, Any]:
    """Return what nginx reads: per target of the route table, the pods that take new requests.

    A target is left out, and asked through its Service's address, where no slice of its Service is known; a backend is
    not, as it has no such address.
    """
    by_service: dict[str, list[Manifest]] = {}
    for one in slices:
        by_service.setdefault((one["metadata"].get("labels") or {}).get(_SERVICE, ""), []).append(one)
    told = {}
    for name, target in targets.items():
        if backend := target.get("backend"):
            own = by_service.get(backend["service"], []) if backend["service"] else None
            told[name] = _of_backend(backend, own, (resolved or {}).get(backend["host"], ()))
            continue
        family = "IPv6" if ":" in str(target.get("host")) else "IPv4"
        own = [one for one in by_service.get(str(target.get("service")), ()) if one["addressType"] == family]
        if own:
            told[name] = _pods(own)
    return {"format": FORMAT, "targets": told}


def _of_backend(backend: Manifest, slices: list[Manifest] | None, resolved: Sequence[str]) -> list[dict[str, Any]]:
    """The pods of its Service, but for those that are where nobody is sent; without a Service, the host's addresses."""
    if slices is None:
        host = backend["host"]  # behind one address there may be several, each of which fails by itself
        return [{"address": one, "port": backend["port"], "pod": host, "uid": host} for one in resolved]
    families = sorted({str(one["addressType"]) for one in slices if one["addressType"] in {"IPv4", "IPv6"}})
    pods = _pods([one for one in slices if one["addressType"] in families[:1]], backend["port_name"])
    return [pod for pod in pods if not is_refused(pod["address"])]


def _pods(slices: Iterable[Manifest], port_name: str | None = None) -> list[dict[str, Any]]:
    """One that ends still serves what it has begun, and takes nothing new. Of several ports, the first, or that one."""
    found = {}
    for one in slices:
        ports = [port for port in one.get("ports") or () if port.get("port")]
        ports = [port for port in ports if port_name is None or (port.get("name") or "") == port_name]
        for endpoint in one.get("endpoints") or () if ports else ():
            conditions, pod = endpoint.get("conditions") or {}, endpoint.get("targetRef") or {}
            if conditions.get("ready") is False or conditions.get("terminating"):
                continue
            address = endpoint["addresses"][0]
            told = {"address": address, "port": ports[0]["port"], "pod": pod.get("name"), "uid": pod.get("uid")}
            found[address] = {key: value for key, value in told.items() if value is not None}
    return [found[address] for address in sorted(found)]


async def follow_endpoints(
    api: ApiServer, namespace: str, table: Path, target: Path, known: Known | None = None
) -> None:
    """Keep the file what the API server says of the table's Services, until cancelled."""
    known = known or Known()
    path = f"/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices"
    watch = Watch(api, path, {"labelSelector": _SERVICE}, known.see)
    await asyncio.gather(watch.run(), _write(known, table, target))


async def _write(known: Known, table: Path, target: Path) -> None:
    """Write what changed, of the slices or of which Services the table names."""
    written = None
    while True:
        try:
            async with asyncio.timeout(_TABLE_SECONDS):
                await known.changed.wait()
        except TimeoutError:
            pass
        known.changed.clear()
        try:
            text = _text(known, table)
            if text and text != written:
                replace_file(target, text)
                written = text
        except Exception as error:  # noqa: BLE001 - a table that cannot be read, a full disk: the last file holds
            log.warning("the endpoints cannot be written, keeping the last ones: %s", error)
            await asyncio.sleep(_RETRY_SECONDS)


def _text(known: Known, table: Path) -> str | None:
    if known.slices is None or not table.exists():
        return None
    return json.dumps(
        endpoints_document(known.slices.values(), json.loads(table.read_text())["targets"], known.resolved)
    )
