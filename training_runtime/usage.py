"""What a stage takes of the machine, told in its log every half minute: processors, memory, GPUs."""

import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psutil

from .log import log_event

__all__ = ["Usage", "gpu_usage", "usage_told"]

_PAUSE_SECONDS = 30.0
_GIB_BYTES = 2**30


class Usage:
    """Measures this process and those that it started; what processors did is told since the time before."""

    def __init__(self) -> None:
        self._before = (time.monotonic(), _busy_seconds(_processes()))

    def measured(self) -> dict[str, float]:
        """Return how much is used now; 100 % is one processor. Memory that processes share counts for each of them."""
        processes = _processes()
        (then, busy_then), now, busy = self._before, time.monotonic(), _busy_seconds(processes)
        self._before = (now, busy)
        return {
            "cpu_percent": round(100 * max(0.0, busy - busy_then) / max(now - then, 1e-9), 1),
            "memory_gib": round(_resident_bytes(processes) / _GIB_BYTES, 2),
            **gpu_usage(),
        }


@contextmanager
def usage_told(pause_seconds: float = _PAUSE_SECONDS) -> Iterator[None]:
    """Tell it again and again, in a thread; a person at a terminal is left in peace."""
    ended = threading.Event()

    def tell() -> None:
        usage = Usage()
        while not ended.wait(pause_seconds):
            log_event("system", **usage.measured())

    if not sys.stdout.isatty():
        threading.Thread(target=tell, name="usage", daemon=True).start()
    try:
        yield
    finally:
        ended.set()


def gpu_usage() -> dict[str, float]:
    """Return what NVIDIA's driver says of each GPU that is seen here, nothing where there is no driver.

    The server's image for nodes without GPUs has no library for it either.
    """
    try:
        import pynvml
    except ModuleNotFoundError:
        return {}
    try:
        pynvml.nvmlInit()
        handles = [pynvml.nvmlDeviceGetHandleByIndex(number) for number in range(pynvml.nvmlDeviceGetCount())]
    except pynvml.NVMLError:
        return {}
    return {name: value for number, handle in enumerate(handles) for name, value in _of_gpu(number, handle)}


def _of_gpu(number: int, handle: object) -> Iterator[tuple[str, float]]:
    """Of a slice of a GPU the driver tells no utilisation."""
    import pynvml

    with suppress(pynvml.NVMLError):
        yield f"gpu_{number}_memory_gib", round(pynvml.nvmlDeviceGetMemoryInfo(handle).used / _GIB_BYTES, 2)
    with suppress(pynvml.NVMLError):
        yield f"gpu_{number}_utilisation_percent", float(pynvml.nvmlDeviceGetUtilizationRates(handle).gpu)


def _processes() -> list[psutil.Process]:
    own = psutil.Process(os.getpid())
    return [own, *own.children(recursive=True)]


def _busy_seconds(processes: list[psutil.Process]) -> float:
    """Those that have ended are counted by the process that started them."""
    total = 0.0
    for process in processes:
        try:
            times = process.cpu_times()
        except psutil.Error:  # it has just ended
            continue
        total += times.user + times.system
        total += getattr(times, "children_user", 0.0) + getattr(times, "children_system", 0.0)
    return total


def _resident_bytes(processes: list[psutil.Process]) -> int:
    total = 0
    for process in processes:
        try:
            total += process.memory_info().rss
        except psutil.Error:
            continue
    return total
