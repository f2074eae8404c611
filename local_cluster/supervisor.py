"""Restart what ended by itself: a process of its own, started by `up`, ended by `down`.

A component's record says that it is wanted: `kill` and `stop` remove it before the process ends, so what they hold
down stays down. The supervisor restarts what has a record and no process; it does not judge health, so a frozen
component stays frozen.
"""

import os
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from .components import COMPONENTS
from .layout import Layout
from .processes import Process, end, find, forget, recording, restart, runs_otherwise, start, wanted

__all__ = ["SUPERVISOR", "end_supervisor", "start_supervisor", "supervise"]

SUPERVISOR = "supervisor"
_PERIOD_SECONDS = 0.2
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.5, 15.0
_STEADY_SECONDS = 30.0  # who ran for so long begins with a short pause again
_CHECKOUT = Path(__file__).resolve().parents[1]


@dataclass
class _Backoff:
    """When a component that ended may start again: each pause is twice the one before, until it ran for a while."""

    pause: float = _FIRST_PAUSE_SECONDS
    started: float = field(default_factory=time.monotonic)
    ended: float | None = None

    def is_due(self, now: float) -> bool:
        """Whether the pause is over; the first call says when it began."""
        if self.ended is None:
            self.ended = now
            if now - self.started > _STEADY_SECONDS:
                self.pause = _FIRST_PAUSE_SECONDS
        return now - self.ended >= self.pause

    def restarted(self, now: float) -> None:
        """Count a start."""
        self.started, self.ended = now, None
        self.pause = min(2 * self.pause, _LONGEST_PAUSE_SECONDS)


def start_supervisor(layout: Layout) -> None:
    """Start it unless it runs; what an earlier one left unfinished is up to the caller, not to the new one.

    That of another checkout ends: it may know other components.
    """
    mode = [] if layout.has_node else ["--control-plane-only"]
    command = [sys.executable, "-m", "local_cluster", *mode, "supervise"]
    if runs_otherwise(layout, SUPERVISOR, command):
        end_supervisor(layout)
    if find(layout, SUPERVISOR):
        return
    for name in wanted(layout):
        if find(layout, name) is None:
            forget(layout, name)
    start(layout, SUPERVISOR, command, folder=_CHECKOUT)


def end_supervisor(layout: Layout) -> None:
    """End it, and wait until it has ended: nobody starts components any more."""
    process = find(layout, SUPERVISOR)
    forget(layout, SUPERVISOR)
    if process:
        end([process])


def supervise(layout: Layout) -> None:
    """Look after the components until this process is no longer the recorded supervisor."""
    backoffs: dict[str, _Backoff] = {}
    with recording(layout):
        pass  # whoever started this process has written its record by now
    while _is_the_supervisor(find(layout, SUPERVISOR)):
        _reap()
        for name in wanted(layout) & COMPONENTS.keys():
            backoff = backoffs.setdefault(name, _Backoff())
            if find(layout, name):
                backoff.ended = None
            elif backoff.is_due(time.monotonic()):
                print(f"{name} ended: starting it again", flush=True)
                restart(layout, name, COMPONENTS[name].command(layout))
                backoff.restarted(time.monotonic())
        time.sleep(_PERIOD_SECONDS)


def _is_the_supervisor(process: Process | None) -> bool:
    return process is not None and process.pid == os.getpid()


def _reap() -> None:
    """Collect restarted components that ended; ignoring SIGCHLD would do so too, but they would inherit that."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return
