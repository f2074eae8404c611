"""Look where backends are and whether they answer, beside the agent's watch of the route table.

nginx connects to addresses alone, and the operator may read no Secret but its own: so the router's own pod looks hosts
up, checks where they lead, and asks each with its key, which leaves this pod for that backend alone. One failure says
little of one that answered: it takes two. What one does is no other's concern.
"""

import asyncio
import json
import logging
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from serving_runtime.terms import digest_of_target

from . import addresses
from .authorities import trusting, trusting_alone
from .endpoints import Known, endpoints_document
from .files import replace_file
from .probe import Report, probed

__all__ = ["Backends"]

_ROUND_SECONDS, _AWAY_SECONDS, _SECONDS = 1.0, 5.0, 20.0
"""Between looks at what is due, at a backend that may come back by itself, and at one that answers."""
_LOOKUP_SECONDS, _LONGEST_SECONDS = 4.0, 15.0
_BY_ITSELF = frozenset({"AddressRefused", "KeyMissing", "Unreachable"})
log = logging.getLogger("agent")


@dataclass
class _Looked:
    """What was asked, and what came of it."""

    asked: tuple[str, str]
    """The target's digest and the key, as they were."""
    report: Report
    due: float
    failures: int = 0


@dataclass
class Backends:
    """Of one namespace."""

    known: Known
    table: Path
    target: Path
    """The file that nginx tells the operator."""
    keys: Path
    """The folder with the backends' keys."""
    clock: Callable[[], float] = time.monotonic
    authorities: str = ""
    """The installation's own, as PEM."""
    trusted: Mapping[str, str] = field(default_factory=dict)
    """Those of single backends, by file."""
    _looked: dict[str, _Looked] = field(default_factory=dict)
    _lookups: dict[str, asyncio.Task[list[str]]] = field(default_factory=dict)
    """Of hosts, under way."""
    _written: str = ""

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            try:
                await self.look()
            except Exception as error:  # noqa: BLE001 - a table that cannot be read, a full disk: what was told holds
                log.warning("backends cannot be looked at: %s", str(error) or repr(error))
            await asyncio.sleep(_ROUND_SECONDS)

    async def look(self) -> None:
        """Ask the backends that are due, and write what changed."""
        targets = json.loads(self.table.read_text())["targets"] if self.table.exists() else {}
        backends = {name: target for name, target in targets.items() if target.get("backend")}
        for gone in self._looked.keys() - backends.keys():
            del self._looked[gone]
        for gone in self.known.resolved.keys() - {target["backend"]["host"] for target in backends.values()}:
            del self.known.resolved[gone]
        await asyncio.gather(*(self._look_at(name, target) for name, target in backends.items()))
        reports = {name: {**one.report, "asked": one.asked[0]} for name, one in sorted(self._looked.items())}
        told = json.dumps({"backends": reports})
        if told != self._written and (backends or self._written):
            replace_file(self.target, told)
            self._written = told

    async def _look_at(self, name: str, target: Mapping[str, Any]) -> None:
        """Not before it is known which pods a Service has."""
        backend = target["backend"]
        if backend["service"] and self.known.slices is None:
            return
        key = self._key(backend["key"]) if backend["key"] else ""
        asked, before = (digest_of_target(target), key), self._looked.get(name)
        if before and before.asked == asked and self.clock() < before.due:
            return
        report = await self._tried(target, key)
        self.known.changed.set()
        failures = before.failures + 1 if before and report else int(bool(report))
        if before and before.asked == asked and not before.report and failures == 1:
            report = before.report
        is_soon = failures and (not report or report["problem"] in _BY_ITSELF)
        due = self.clock() + (_AWAY_SECONDS if is_soon else _SECONDS)
        self._looked[name] = _Looked(asked, report, due, failures)

    def _key(self, file: str) -> str:
        """Nothing where it is not there; the kubelet replaces it as its Secret changes."""
        try:
            text = (self.keys / file).read_text().strip()
        except (OSError, UnicodeDecodeError):
            return ""
        return text if text.isascii() and text.isprintable() and " " not in text else ""

    async def _tried(self, target: Mapping[str, Any], key: str) -> Report:
        try:
            async with asyncio.timeout(_LONGEST_SECONDS):
                return await self._found(target, key)
        except TimeoutError:
            return _unreachable(f"the backend took longer than {_LONGEST_SECONDS:g} s to answer")
        except Exception as error:  # noqa: BLE001 - whatever it answered, the others are told of
            log.warning("a backend at %s cannot be asked: %r", target["backend"]["host"], error)
            return _unreachable(f"the backend cannot be asked: {type(error).__name__}")

    async def _found(self, target: Mapping[str, Any], key: str) -> Report:
        backend = target["backend"]
        if not backend["service"] and (problem := await self._resolve(str(backend["host"]), int(backend["port"]))):
            return problem
        if backend["key"] and not key:
            message = (
                "the Secret of `backend.apiKey` is not there, has no such key, or more in it than one word: mend it, "
                "and routers have it soon"
            )
            return {"problem": "KeyMissing", "message": message}
        alone = str(backend.get("trusted", ""))  # a table of an earlier build has none
        if alone and alone not in self.trusted:
            message = (
                "the ConfigMap of `backend.caCertificateRef` is not there, has no such key, or no certificates as PEM "
                "in it: mend it, and routers are replaced by others that have it within a minute or two"
            )
            return {"problem": "AuthoritiesMissing", "message": message}
        slices = (self.known.slices or {}).values()
        (pods,) = endpoints_document(slices, {"": target}, self.known.resolved)["targets"].values()
        if not pods:
            return _unreachable(f"no pod of Service {backend['service']} is ready")
        at = [(pod["address"], pod["port"]) for pod in pods]
        return await probed(backend, str(target["model"]), at, key, self._tls(backend["scheme"], alone))

    def _tls(self, scheme: str, alone: str) -> ssl.SSLContext | None:
        if scheme != "https":
            return None
        return trusting_alone(self.trusted[alone]) if alone else trusting(self.authorities)

    async def _resolve(self, host: str, port: int) -> Report | None:
        """Look a host up; what cannot be looked up stays where it was."""
        try:
            found = await self._lookup(host, port)
        except (OSError, UnicodeError) as error:
            if self.known.resolved.get(host):
                return None
            why = str(error) or f"no name server answered within {_LOOKUP_SECONDS:g} s"
            return _unreachable(f"{host} cannot be looked up: {why}")
        taken = [address for address in found if not addresses.is_refused(address)]
        self.known.resolved[host] = taken
        if taken:
            return None
        message = (
            f"{host} leads to {found[0]}, and no router asks a pod's own address, its link's, or a cloud's metadata"
        )
        return {"problem": "AddressRefused", "message": message}

    async def _lookup(self, host: str, port: int) -> list[str]:
        """One of a host at a time: a name server that is silent holds a thread for longer than anybody waits."""
        if host not in self._lookups:
            self._lookups[host] = asyncio.create_task(asyncio.to_thread(addresses.resolved, host, port))
            self._lookups[host].add_done_callback(partial(self._end_lookup, host))
        async with asyncio.timeout(_LOOKUP_SECONDS):
            return await asyncio.shield(self._lookups[host])

    def _end_lookup(self, host: str, lookup: asyncio.Task[list[str]]) -> None:
        """Nobody may be waiting for it any more."""
        del self._lookups[host]
        if not lookup.cancelled():
            lookup.exception()


def _unreachable(message: str) -> Report:
    return {"problem": "Unreachable", "message": message}
