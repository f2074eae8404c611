"""The operator, told that every Service of the cluster is at one address of this machine: ANNEAL_TEST_SERVICES."""

import os
import socket
from typing import Any

from anneal_operator.__main__ import main

__all__: list[str] = []


def _stand_in() -> None:
    resolve = socket.getaddrinfo
    host, _, port = os.environ["ANNEAL_TEST_SERVICES"].partition(":")

    def resolve_elsewhere(name: Any, number: Any, *arguments: Any, **options: Any) -> Any:
        elsewhere = isinstance(name, str) and name.endswith(".svc")
        return resolve(*((host, int(port)) if elsewhere else (name, number)), *arguments, **options)

    socket.getaddrinfo = resolve_elsewhere  # type: ignore[assignment] # passes on whatever it is called with


if __name__ == "__main__":
    _stand_in()
    main()
