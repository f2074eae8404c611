"""Before a node is asked to end that shares an engine: `python -m serving_runtime.follow --port 8000 --seconds 700`.

The pods of a group are asked to end at once, and the leader has answers under way (`leave.py`), for which it needs the
others. So these go on for as long as its server listens: it is gone once the leader has ended, as is its name. Once is
not enough to know: where a node is drained, who tells names may be away for a moment, too.
"""

import argparse
import os
import socket
import time

__all__ = ["follow", "main"]

_PERIOD_SECONDS, _TIMEOUT_SECONDS, _MOST_MISSED = 1.0, 5.0, 10


def main() -> None:
    """Wait until the leader is gone."""
    parser = argparse.ArgumentParser(prog="python -m serving_runtime.follow", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True, help="how long the leader may take")
    options = parser.parse_args()
    follow(os.environ["LWS_LEADER_ADDRESS"], options.port, options.seconds)


def follow(leader: str, port: int, seconds: float, period: float = _PERIOD_SECONDS) -> None:
    """Return when the leader's server has not listened several times on end, or after so many seconds."""
    end, missed = time.monotonic() + seconds, 0
    while time.monotonic() < end and missed < _MOST_MISSED:
        missed = 0 if _listens(leader, port) else missed + 1
        time.sleep(period)


def _listens(leader: str, port: int) -> bool:
    try:
        with socket.create_connection((leader, port), timeout=_TIMEOUT_SECONDS):
            return True
    except OSError:
        return False


if __name__ == "__main__":
    main()
