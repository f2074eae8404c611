"""What tests ask for until it is there: kubectl takes a seventh of a second of a processor each time."""

import json
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from urllib.parse import quote

from anneal_operator.cluster.kinds import KINDS
from local_cluster.layout import Layout
from local_cluster.pki import administrator_tls

__all__ = ["ApiReader"]

_TIMEOUT_SECONDS = 60.0
_PATIENCE_SECONDS, _PAUSE_SECONDS = 20.0, 0.5
_NOT_FOUND = 404
_PASSING = {429, 503}
_trust = lru_cache(administrator_tls)


@dataclass(frozen=True)
class ApiReader:
    """Objects of one namespace, read as the administrator over plain HTTP."""

    layout: Layout
    namespace: str

    def object(self, kind: str, name: str) -> dict[str, Any]:
        """Return an object; empty where there is none. Raises OSError where the API server does not answer."""
        return self._found(KINDS[kind].path(self.namespace, name))

    def status(self, kind: str, name: str) -> dict[str, Any]:
        """Return an object's status; empty where there is none."""
        found: dict[str, Any] = self.object(kind, name).get("status") or {}
        return found

    def objects(self, kind: str, selector: str = "") -> list[dict[str, Any]]:
        """Return the objects of a kind that have the labels: none of a kind that is not defined yet."""
        found = self._found(f"{KINDS[kind].path(self.namespace)}?labelSelector={quote(selector)}")
        items: list[dict[str, Any]] = found.get("items", [])
        return items

    def log(self, pod: str, container: str = "") -> str:
        """Return what a pod's container has printed so far; empty where it has not begun, or is gone.

        Where none is named it is the first one, that of the pod's own work.
        """
        named = f"?container={container}" if container else ""
        try:
            return self._read(f"{KINDS['Pod'].path(self.namespace, pod)}/log{named}").decode(errors="replace")
        except OSError:
            return ""

    def _found(self, path: str) -> dict[str, Any]:
        try:
            found: dict[str, Any] = json.loads(self._read(path))
        except urllib.error.HTTPError as error:
            if error.code != _NOT_FOUND:
                raise
            return {}
        return found

    def _read(self, path: str) -> bytes:
        """As kubectl does, ask again where the API server is overrun or does not know a new kind yet."""
        ends = time.monotonic() + _PATIENCE_SECONDS
        while True:
            try:
                return self._asked(path)
            except OSError as error:
                is_final = isinstance(error, urllib.error.HTTPError) and error.code not in _PASSING
                if is_final or time.monotonic() > ends:
                    raise
            time.sleep(_PAUSE_SECONDS)

    def _asked(self, path: str) -> bytes:
        with urllib.request.urlopen(
            f"{self.layout.api_url}{path}", timeout=_TIMEOUT_SECONDS, context=_trust(self.layout)
        ) as answer:
            content: bytes = answer.read()
        return content
