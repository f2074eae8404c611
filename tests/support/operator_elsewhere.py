"""The operator, told that every Service of the cluster is at one address of this machine: ANNEAL_TEST_SERVICES.

So is every router's pod, which on a simulated node has an address that nobody is at.
"""

import os
import socket
from typing import Any

from anneal_operator.__main__ import main
from anneal_operator.errors import RouterError
from anneal_operator.reconcile import acknowledgements, traffic

__all__: list[str] = []


def _stand_in() -> None:
    resolve = socket.getaddrinfo
    host, _, port = os.environ["ANNEAL_TEST_SERVICES"].partition(":")

    def resolve_elsewhere(name: Any, number: Any, *arguments: Any, **options: Any) -> Any:
        elsewhere = isinstance(name, str) and name.endswith(".svc")
        return resolve(*((host, int(port)) if elsewhere else (name, number)), *arguments, **options)

    async def applied(routers: Any, key: str, pod: Any) -> Any:
        try:
            return await routers.applied(_admin_url(pod), key)
        except RouterError:
            return None

    async def told(routers: Any, key: str, pod: Any) -> Any:
        try:
            return await routers.traffic(_admin_url(pod), key)
        except RouterError:
            return None

    acknowledgements._applied = applied  # noqa: SLF001
    traffic._told = told  # noqa: SLF001
    socket.getaddrinfo = resolve_elsewhere  # type: ignore[assignment] # passes on whatever it is called with


def _admin_url(pod: Any) -> str:
    return f"http://anneal-router.{pod['metadata']['namespace']}.svc:8082"


if __name__ == "__main__":
    _stand_in()
    main()
