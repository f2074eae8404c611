"""Bring the namespace's route table to nginx: `python -m serving_runtime.router.agent …`.

The table is one ConfigMap. Watching it takes well under a second from the operator's write to the file that nginx
reads; the copy that the kubelet mounts, up to a minute old, serves until the API server answers, and while it is down.
Whichever is newer holds: what is read later may be older, where a server of the API is behind, or a kubelet.
"""

import argparse
import asyncio
import json
import logging
import signal
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from serving_runtime.terms import BACKEND_KEYS_FOLDER, FORMAT, PLAIN_FORMAT

from .api_server import ApiServer, in_cluster
from .authorities import of_backends, own_authorities
from .backends import Backends
from .endpoints import Known, follow_endpoints, hosts_before
from .files import replace_file
from .watch import Manifest, Watch

__all__ = ["follow", "follow_all", "main", "take"]

_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
log = logging.getLogger("agent")


def main() -> None:
    """Run until the pod ends."""
    parser = argparse.ArgumentParser(prog="python -m serving_runtime.router.agent", description=__doc__)
    parser.add_argument("--config-map", required=True, help="the ConfigMap that holds the table")
    parser.add_argument("--key", required=True, help="the table's key in it")
    parser.add_argument("--mounted", type=Path, required=True, help="the copy mounted by the kubelet")
    parser.add_argument("--to", type=Path, required=True, help="the file that nginx reads")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # a container's first process has no default action
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if options.mounted.exists():
        take(options.to, options.mounted.read_text())
    namespace = (_ACCOUNT / "namespace").read_text()
    asyncio.run(follow_all(in_cluster(_ACCOUNT), namespace, options.config_map, options.key, options.to))


async def follow_all(api: ApiServer, namespace: str, name: str, key: str, target: Path) -> None:
    """Keep the table and, beside it, its endpoints and how its backends stand, until cancelled."""
    file = target.with_name("endpoints.json")
    known = Known(resolved=hosts_before(file))
    endpoints = follow_endpoints(api, namespace, target, file, known)
    told, keys = target.with_name("backends.json"), Path(BACKEND_KEYS_FOLDER)
    backends = Backends(known, target, told, keys, authorities=own_authorities(), trusted=of_backends())
    await asyncio.gather(follow(api, namespace, name, key, target), endpoints, backends.run())


def take(target: Path, table: str) -> None:
    """Put a table in place, unless it is of a format that is not known here, or older than the one that is there."""
    try:
        lineage, generation = _order(table)
    except (KeyError, TypeError, ValueError) as error:
        log.warning("the route table is refused, keeping the last one: %s", error)
        return
    there = target.read_text() if target.exists() else ""
    if (lineage, generation) < _order_there(there):
        log.warning("the route table of generation %d is older than the one that holds, and is refused", generation)
    elif table != there:
        replace_file(target, table)
        log.info("routes of generation %d are in place", generation)


def _order_there(table: str) -> tuple[str, int]:
    """Before all others, where it cannot be read: a node that lost its power may leave anything."""
    with suppress(KeyError, TypeError, ValueError):
        return _order(table)
    return "", 0


def _order(table: str) -> tuple[str, int]:
    """Where a table stands among all; raise an error that says why it is none."""
    found = json.loads(table)
    if not isinstance(found, dict) or found.get("format") not in (PLAIN_FORMAT, FORMAT):
        told = found.get("format") if isinstance(found, dict) else "that of no table"
        raise ValueError(f"its format is {told}, and this build knows {PLAIN_FORMAT} and {FORMAT}")
    return str(found["lineage"]), int(found["generation"])


async def follow(api: ApiServer, namespace: str, name: str, key: str, target: Path) -> None:
    """Keep a file what the ConfigMap says under this key, until cancelled; without one, it stays as it is."""

    def tell(found: Mapping[str, Manifest]) -> None:
        table = (found.get(name, {}).get("data") or {}).get(key)
        if table:
            take(target, table)

    path = f"/api/v1/namespaces/{namespace}/configmaps"
    await Watch(api, path, {"fieldSelector": f"metadata.name={name}"}, tell).run()


if __name__ == "__main__":
    main()
