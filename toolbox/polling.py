"""Wait for something to become true, with a deadline."""

import time
from collections.abc import Callable

__all__ = ["poll"]

_INTERVAL_SECONDS = 0.05


def poll(condition: Callable[[], bool], patience: float, every: float = _INTERVAL_SECONDS) -> bool:
    """Ask again and again until the condition holds; return False when it did not within `patience` seconds."""
    deadline = time.monotonic() + patience
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(every)
    return True
