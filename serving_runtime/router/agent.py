"""Bring the namespace's route table to nginx: `python -m serving_runtime.router.agent …`.

The table is one ConfigMap. Watching it takes well under a second from the operator's write to the file that nginx
reads; the copy that the kubelet mounts, up to a minute old, serves until the API server answers, and while it is down.
"""

import argparse
import asyncio
import logging
import signal
import sys
from pathlib import Path

from kubernetes.aio import client, config, watch

from .endpoints import follow_endpoints
from .files import replace_file

__all__ = ["follow", "main"]

_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
_WATCH_SECONDS = 300
_RETRY_SECONDS = 1.0
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
    if options.mounted.exists() and not options.to.exists():
        replace_file(options.to, options.mounted.read_text())
    settings = client.Configuration()
    config.load_incluster_config(settings)
    # From Python 3.13 on, certificates are refused whose issuer left an extension out, as many a cluster's own did.
    settings.disable_strict_ssl_verification = True
    client.Configuration.set_default(settings)
    asyncio.run(_follow_all(_NAMESPACE.read_text(), options.config_map, options.key, options.to))


async def _follow_all(namespace: str, name: str, key: str, target: Path) -> None:
    endpoints = follow_endpoints(namespace, target, target.with_name("endpoints.json"))
    await asyncio.gather(follow(namespace, name, key, target), endpoints)


async def follow(namespace: str, name: str, key: str, target: Path) -> None:
    """Keep a file what the ConfigMap says under this key, until cancelled; without one, it stays as it is."""
    while True:
        try:
            async with client.ApiClient() as api:
                await _watch(client.CoreV1Api(api), namespace, name, key, target)
        except Exception as error:  # noqa: BLE001 - whatever the API server does, the last table holds
            log.warning("the route table cannot be watched, keeping the last one: %s", error)
        await asyncio.sleep(_RETRY_SECONDS)  # also after a watch that the API server ended at once


async def _watch(api: client.CoreV1Api, namespace: str, name: str, key: str, target: Path) -> None:
    selector = f"metadata.name={name}"
    events = watch.Watch().stream(
        api.list_namespaced_config_map,
        namespace,
        field_selector=selector,
        timeout_seconds=_WATCH_SECONDS,
    )
    async for event in events:
        table = (event["object"].data or {}).get(key)
        if event["type"] in {"ADDED", "MODIFIED"} and table:
            replace_file(target, table)
            log.info("routes of resource version %s are in place", event["object"].metadata.resource_version)


if __name__ == "__main__":
    main()
