"""What the GPU is doing, as its driver tells, nothing on machines without one; and the memory beside it."""

from functools import lru_cache
from pathlib import Path

__all__ = ["device_metrics", "gpu_bytes", "memory_left"]

_GIB_BYTES = 2**30
_CGROUP = Path("/sys/fs/cgroup")
_LIMITS = (("memory.max", "memory.current"), ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"))


def gpu_bytes() -> int:
    """Return the memory of the smallest GPU, 0 without any."""
    import torch

    count = torch.cuda.device_count()
    return min((torch.cuda.get_device_properties(i).total_memory for i in range(count)), default=0)


def memory_left(cgroup: Path = _CGROUP) -> int:
    """Return the bytes that this process may still take: the machine's, or less where its container has a limit."""
    import psutil

    left = psutil.virtual_memory().available
    for limit, used in _LIMITS:
        try:
            left = min(left, int((cgroup / limit).read_text()) - int((cgroup / used).read_text()))
        except (OSError, ValueError):  # another version of cgroups, or no limit
            continue
    return int(left)


def device_metrics() -> dict[str, float]:
    """Return memory in GiB and utilisation in percent of this process's GPU."""
    import torch

    if not torch.cuda.is_available():
        return {}
    found = {
        "gpu_memory_gib": torch.cuda.memory_allocated() / _GIB_BYTES,
        "gpu_memory_peak_gib": torch.cuda.max_memory_allocated() / _GIB_BYTES,
    }
    return found | _utilisation(torch.cuda.current_device())


@lru_cache(1)
def _driver() -> bool:
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return False
    return True


def _utilisation(device: int) -> dict[str, float]:
    if not _driver():
        return {}
    import pynvml

    rates = pynvml.nvmlDeviceGetUtilizationRates(pynvml.nvmlDeviceGetHandleByIndex(device))
    return {"gpu_utilisation_percent": float(rates.gpu)}
