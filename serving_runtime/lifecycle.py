"""How an engine begins and ends without a lost request: a part of its server, behind its key (`engine_key.py`).

Ready is one that answers as in training (`canary.py`) and has answered some questions. `--shutdown-timeout` alone would
lose requests: while vLLM drains, it answers new ones with 500, or cut short as if they were whole. So before it is to
end (`leave.py`), new ones get 503 here, which a router takes elsewhere, and those under way are waited for.

What it does not do: count over several processes. An engine has one API server.
"""

import asyncio
import json
import os
import time
from collections.abc import Callable

from .canary import CanaryCheck, held_to
from .keys import App, Message, Receive, Send
from .plan import (
    ALIVE_PATH,
    LONGEST_SILENCE_SECONDS,
    SILENCE_VARIABLE,
    STARTED_PATH,
    WARM_UP_VARIABLE,
    WarmUp,
)
from .pulse import Pulse, question

__all__ = ["LEAVE_PATH", "OPEN_PATHS", "TRAFFIC_PATH", "Lifecycle"]

LEAVE_PATH, TRAFFIC_PATH = "/-/leave", "/-/traffic"
OPEN_PATHS = frozenset({"/health", "/metrics", ALIVE_PATH, STARTED_PATH})
"""Where the kubelet and Prometheus ask: no requests of clients."""
_OWN = {LEAVE_PATH, TRAFFIC_PATH}
_GONE = {"error": {"message": "this engine is about to end", "type": "server_error", "param": None, "code": 503}}


class Lifecycle:
    """Counts what an engine's server answers, tells the kubelet how it is, and takes nothing new when it is to end."""

    def __init__(self, app: App, clock: Callable[[], float] = time.monotonic) -> None:
        self._app, self._clock = app, clock
        self._pulse = Pulse(app, clock, float(os.environ.get(SILENCE_VARIABLE, LONGEST_SILENCE_SECONDS)))
        self._warm_up = WarmUp.model_validate_json(os.environ.get(WARM_UP_VARIABLE, "{}"))
        self._unanswered = self._warm_up.requests
        self._warming: asyncio.Task[None] | None = None
        held = held_to()
        self._canary = CanaryCheck(app, held) if held else None
        self._under_way, self._asked_at, self._is_leaving = 0, clock(), False

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer what is ours, and count the rest."""
        path = scope["path"].removeprefix(scope.get("root_path", "")) if scope["type"] == "http" else ""
        if scope["type"] == "lifespan" or path in OPEN_PATHS - {ALIVE_PATH, STARTED_PATH}:
            await self._app(scope, receive, send)
        elif path in {ALIVE_PATH, STARTED_PATH}:
            holds = await self._pulse.beats(scope) if path == ALIVE_PATH else await self._has_started(scope)
            await _say(send, 200 if holds else 503, {})
        elif path in _OWN:
            self._is_leaving = self._is_leaving or (path == LEAVE_PATH and scope["method"] == "POST")
            await _say(send, 200, self._traffic())
        elif self._is_leaving and path:
            await _say(send, 503, _GONE)
        else:
            await self._counted(scope, receive, send)

    async def _counted(self, scope: Message, receive: Receive, send: Send) -> None:
        self._under_way += 1
        self._asked_at = self._clock()
        try:
            await self._app(scope, receive, send)
        finally:
            self._under_way -= 1

    def _traffic(self) -> dict[str, float]:
        return {"under_way": self._under_way, "seconds_since_asked": self._clock() - self._asked_at}

    async def _has_started(self, scope: Message) -> bool:
        """Whether it has answered what warms it up: that may take long, so nobody waits for it here."""
        if self._unanswered and (self._warming is None or self._warming.done()):
            self._warming = asyncio.create_task(self._warm(scope))
        return not self._unanswered

    async def _warm(self, scope: Message) -> None:
        """Ask at once what is unanswered. An engine with a short queue refuses some, which are asked again.

        Not before it answered as in training: the compilation that the others wait for is that of the right weights.
        """
        if self._canary and not await self._canary.passes(scope):
            return
        asked = (question(self._app, scope, self._warm_up.max_tokens) for _ in range(self._unanswered))
        self._unanswered -= sum(await asyncio.gather(*asked))


async def _say(send: Send, status: int, what: object) -> None:
    body = json.dumps(what).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    headers += [(b"connection", b"close")] if what is _GONE else []
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
