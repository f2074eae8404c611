"""Before an engine is asked to end: `python -m serving_runtime.leave --port 8000 --seconds 600`, its pod's preStop.

Nobody tells a pod that all routers have left it. What they send tells: it goes on answering until none has sent
anything for a while, or until every router has had the time to hear of it, whatever its API server did. Then it takes
nothing new: a router that comes yet asks another pod. At last it waits for the answers under way. An engine that cannot
be asked has nothing to wait for.
"""

import argparse
import json
import os
import time
from collections.abc import Callable
from http.client import HTTPConnection, HTTPException

from .lifecycle import LEAVE_PATH, TRAFFIC_PATH
from .plan import ENGINE_KEY_VARIABLE, LEFT_BY_ALL_SECONDS

__all__ = ["leave", "main"]

_QUIET = 5.0
"""For how many seconds nobody may ask: several times what a router takes to hear of a pod's end."""
_PERIOD = 0.25
_TIMEOUT = 10.0
_BUSY = {"under_way": 1.0, "seconds_since_asked": 0.0}
"""What one that does not answer at once is taken for."""


class _AwayError(Exception):
    """Nobody to ask."""


def main() -> None:
    """Wait until the engine may be asked to end."""
    parser = argparse.ArgumentParser(prog="python -m serving_runtime.leave", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True, help="how long answers under way may take")
    options = parser.parse_args()
    leave(options.port, options.seconds)


def leave(port: int, seconds: float, quiet: float = _QUIET) -> None:
    """Return when it may be asked to end."""
    try:
        _wait(lambda since: min(since, _asked(port)["seconds_since_asked"]) >= quiet, LEFT_BY_ALL_SECONDS)
        _asked(port, is_leaving=True)
        _wait(lambda _: _asked(port)["under_way"] == 0, seconds)
    except _AwayError:
        return


def _wait(is_done: Callable[[float], bool], seconds: float) -> None:
    """Wait until that is so, given for how long was waited; for so many seconds at most."""
    began = time.monotonic()
    while (since := time.monotonic() - began) < seconds and not is_done(since):
        time.sleep(_PERIOD)


def _asked(port: int, *, is_leaving: bool = False) -> dict[str, float]:
    """What is under way in the engine of this pod."""
    key = os.environ.get(ENGINE_KEY_VARIABLE, "").strip()
    asked = ("POST", LEAVE_PATH) if is_leaving else ("GET", TRAFFIC_PATH)
    connection = HTTPConnection("127.0.0.1", port, timeout=_TIMEOUT)
    try:
        connection.request(*asked, headers={"Authorization": f"Bearer {key}"})
        answer = connection.getresponse()
        found: dict[str, float] = json.load(answer)
        if answer.status != 200:
            raise _AwayError
    except TimeoutError:
        return _BUSY
    except (OSError, HTTPException, ValueError) as error:
        raise _AwayError from error
    finally:
        connection.close()
    return found


if __name__ == "__main__":
    main()
