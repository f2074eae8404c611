"""How soon clients are answered by the version that `production` was moved to: they ask for the model all the while.

Run it where a router answers, with both versions warm. The router says in each answer which version gave it.
"""

import json
import threading
import time
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

__all__ = ["Moved", "answered_by", "move_alias"]

_BEFORE_SECONDS, _QUIET_SECONDS, _PATIENCE_SECONDS = 2.0, 5.0, 120.0
_TIMEOUT_SECONDS = 60.0
_VERSION_HEADER = "X-Anneal-Version"


@dataclass(frozen=True)
class Moved:
    """What came of it."""

    seconds: float
    """From the end of the move, MLflow's answer, to the last request that was sent and answered by another version."""
    requests: int
    failed: int


@dataclass(frozen=True)
class _Answer:
    sent: float
    version: str
    """Empty where there was no answer."""


def move_alias(router: str, model: str, name: str, clients: int, move: Callable[[], object]) -> Moved:
    """Have `production` moved to the version of a name, and ask until for five seconds that alone has answered."""
    answers: list[_Answer] = []
    ended = threading.Event()
    with ThreadPoolExecutor(clients) as pool:
        asking = [pool.submit(_ask, router, model, answers, ended) for _ in range(clients)]
        try:
            time.sleep(_BEFORE_SECONDS)
            move()
            moved = time.monotonic()
            while not ended.wait(0.1):
                now, last = time.monotonic(), _last_of_another(answers, name, moved)
                if now - last > _QUIET_SECONDS or now - moved > _PATIENCE_SECONDS:
                    break
        finally:
            ended.set()
        for one in asking:
            one.result()
    if all(answer.version != name for answer in answers):
        raise RuntimeError(f"{name} answered nothing: is it where {model} was moved to?")
    failed = sum(not answer.version for answer in answers)
    return Moved(_last_of_another(answers, name, moved) - moved, len(answers), failed)


def _last_of_another(answers: list[_Answer], name: str, moved: float) -> float:
    return max([moved, *(answer.sent for answer in answers.copy() if answer.version != name)])


def _ask(router: str, model: str, answers: list[_Answer], ended: threading.Event) -> None:
    while not ended.is_set():
        sent = time.monotonic()
        answers.append(_Answer(sent, answered_by(router, model)))


def answered_by(router: str, model: str) -> str:
    """Ask once for a model's first token; return which version gave it, and nothing where none did."""
    question = {"model": model, "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 1}
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"{router}/v1/chat/completions", json.dumps(question).encode(), headers)  # noqa: S310 - the user's own
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS) as answer:  # noqa: S310
            answer.read()
            return str(answer.headers.get(_VERSION_HEADER, ""))
    except OSError:
        return ""
