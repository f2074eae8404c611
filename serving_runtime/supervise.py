"""The first process of an engine's container: `python -m serving_runtime.supervise -m serving_runtime.launch …`.

It runs what follows under the same Python, passes on what the kubelet says, and tells how it ended. vLLM's server ends
with 0 when its engine died; nobody had asked it to, so that is a failure here. Asked to end, the kernel would let a
container's first process do nothing unless it says otherwise: the child is none.
"""

import os
import signal
import subprocess
import sys

__all__ = ["ENDED_BY_ITSELF", "main", "run"]

ENDED_BY_ITSELF = 70
_ASKED = {signal.SIGTERM, signal.SIGINT}


def main() -> None:
    """Run the arguments under this Python; end as they do."""
    sys.exit(run([sys.executable, *sys.argv[1:]]))


def run(command: list[str]) -> int:
    """Run a command until it ends; return the exit code that tells how: 0 only where it was asked to end."""
    awaited = {*_ASKED, signal.SIGCHLD}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, awaited)

    def hear() -> None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # what a shell starts in the background ignores it
        signal.pthread_sigmask(signal.SIG_SETMASK, before)

    child = subprocess.Popen(command, preexec_fn=hear)
    is_asked = False
    while True:
        said = signal.sigwait(awaited)
        if said in _ASKED:
            is_asked = True
            child.send_signal(said)
        elif (code := _ended(child.pid)) is not None:
            return _told(code, is_asked=is_asked)


def _ended(pid: int) -> int | None:
    """The child's code if it has ended; those that it left behind are buried, too."""
    found = None
    while True:
        try:
            ended, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return found
        if ended == 0:
            return found
        if ended == pid:
            found = os.waitstatus_to_exitcode(status)


def _told(code: int, *, is_asked: bool) -> int:
    if is_asked and code in {0, -signal.SIGTERM, -signal.SIGINT}:
        return 0
    if code == 0:
        print("error: the engine ended by itself, though nobody asked it to", file=sys.stderr, flush=True)
        return ENDED_BY_ITSELF
    return code if code > 0 else 128 - code


if __name__ == "__main__":
    main()
