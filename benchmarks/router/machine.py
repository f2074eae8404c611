"""The machine that figures are from, and what else it did meanwhile."""

import os
import platform
import resource
import time
from dataclasses import dataclass, field
from pathlib import Path

from toolbox.commands import CommandError, completed
from tools.nginx import installed

from .processes import Running

__all__ = ["Others", "cores", "facts"]


def cores() -> tuple[int, int]:
    """Return a core for those who ask and the engines, and one for what is measured; raise CommandError for want."""
    allowed = sorted(os.sched_getaffinity(0))
    if len(allowed) < 2:
        raise CommandError("this takes two cores: one for the system that is measured, one for those who ask it")
    return allowed[0], allowed[1]


def facts() -> str:
    """Return one line."""
    processor = Path("/proc/cpuinfo").read_text().partition("model name")[2].partition(":")[2].partition("\n")[0]
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    done = completed([*installed().command(), "-v"])
    nginx = done.stderr.strip().rpartition("/")[2]
    return (
        f"{processor.strip()}, {os.cpu_count()} cores, {memory:.0f} GiB; Linux {platform.release()}, "
        f"Python {platform.python_version()}, nginx {nginx}"
    )


@dataclass
class Others:
    """How many cores' worth of time processes that are not the benchmark's have used since."""

    upstream: Running
    _began: float = field(default_factory=time.monotonic)
    _busy: float = field(default_factory=lambda: _busy_seconds())
    _own: float = field(init=False)

    def __post_init__(self) -> None:
        self._own = self._own_seconds()

    def cores(self) -> float:
        """Return it; a process that is still measured counts as another's."""
        busy, own = _busy_seconds() - self._busy, self._own_seconds() - self._own
        return max(0.0, busy - own) / (time.monotonic() - self._began)

    def _own_seconds(self) -> float:
        used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return self.upstream.cpu_seconds() + sum(one.ru_utime + one.ru_stime for one in used)


def _busy_seconds() -> float:
    """Of all cores since boot: proc(5), stat, without idle, iowait and the guests' share that user time holds."""
    fields = [int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]]
    user, nice, system, _, _, irq, softirq = fields[:7]
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")
