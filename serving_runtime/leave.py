"""Before an engine is asked to end: `python -m serving_runtime.leave --port 8000 --seconds 600`, its pod's preStop.

Nobody tells a pod that all routers have left it. What they send tells: it goes on answering until none has sent
anything for a while, or until every router has had the time to hear of it, whatever its API server did. Then it takes
nothing new: a router that comes yet asks another pod. At last it waits for the answers under way. An engine that cannot
be asked has nothing to wait for, nor has one that hangs, which the kubelet asks no more by then.
"""

import argparse
import json
import os
import time
from collections.abc import Callable
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException

from .lifecycle import LEAVE_PATH, TRAFFIC_PATH
from .plan import ALIVE_PATH, ENGINE_KEY_VARIABLE, LEFT_BY_ALL_SECONDS

__all__ = ["leave", "main"]

_QUIET_SECONDS = 5.0
"""For how many seconds nobody may ask: several times what a router takes to hear of a pod's end."""
_PERIOD_SECONDS = 0.25
_TIMEOUT_SECONDS = 10.0
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


def leave(port: int, seconds: float, quiet: float = _QUIET_SECONDS) -> None:
    """Return when it may be asked to end."""
    try:
        _wait(lambda since: min(since, _asked(port)["seconds_since_asked"]) >= quiet, LEFT_BY_ALL_SECONDS)
        _asked(port, is_leaving=True)
        _wait(lambda _: _asked(port)["under_way"] == 0 or _is_dead(port), seconds)
    except _AwayError:
        return


def _wait(is_done: Callable[[float], bool], seconds: float) -> None:
    """Wait until that is so, given for how long was waited; for so many seconds at most."""
    began = time.monotonic()
    while (since := time.monotonic() - began) < seconds and not is_done(since):
        time.sleep(_PERIOD_SECONDS)


def _asked(port: int, *, is_leaving: bool = False) -> dict[str, float]:
    """What is under way in the engine of this pod."""
    try:
        status, said = _answer(port, "POST" if is_leaving else "GET", LEAVE_PATH if is_leaving else TRAFFIC_PATH)
    except TimeoutError:
        return _BUSY
    if status != HTTPStatus.OK:
        raise _AwayError
    return said


def _is_dead(port: int) -> bool:
    try:
        return _answer(port, "GET", ALIVE_PATH)[0] == HTTPStatus.SERVICE_UNAVAILABLE
    except TimeoutError:
        return False


def _answer(port: int, method: str, path: str) -> tuple[int, dict[str, float]]:
    key = os.environ.get(ENGINE_KEY_VARIABLE, "").strip()
    connection = HTTPConnection("127.0.0.1", port, timeout=_TIMEOUT_SECONDS)
    try:
        connection.request(method, path, headers={"Authorization": f"Bearer {key}"})
        answer = connection.getresponse()
        return answer.status, json.load(answer)
    except TimeoutError:
        raise
    except (OSError, HTTPException, ValueError) as error:
        raise _AwayError from error
    finally:
        connection.close()


if __name__ == "__main__":
    main()
