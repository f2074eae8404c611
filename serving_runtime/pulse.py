"""Whether an engine lives: vLLM's own health says yes for as long as it knows of no death, so also of one that hangs.

Each of its steps is told in its metrics, so a change of these is life, however long its queue is. Where nothing changes
it is asked for one token. Only one that neither took a step nor answered that in a long time is dead: two minutes, or
more where the processor is all that it has, which may read a long prompt in one step.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from .keys import App, Message

__all__ = ["Pulse", "Scope", "answer", "question"]

_PAUSE_SECONDS = 20.0
"""For how many seconds nothing changes until it is asked."""
_STEPS = (
    "vllm:generation_tokens_total",
    "vllm:prompt_tokens_total",
    "vllm:kv_cache_usage_perc",
    "vllm:num_requests_",
)
_QUESTION = {"prompt": "a", "temperature": 0, "ignore_eos": True}
_SERVER_ERROR = 500
Scope = MutableMapping[str, Any]


class Pulse:
    """Of one engine, which may be silent for so many seconds. `clock` counts them, and never back."""

    def __init__(self, app: App, clock: Callable[[], float], longest_silence: float) -> None:
        self._app, self._clock, self._longest_silence = app, clock, longest_silence
        self._steps: bytes | None = None
        self._lived_at = clock()
        self._asked: asyncio.Task[bool] | None = None

    async def beats(self, scope: Scope) -> bool:
        """Return whether it lives, at once; `scope` is of any request to its server."""
        steps, now = await self._metrics(scope), self._clock()
        if steps != self._steps or self._was_answered():
            self._steps, self._lived_at = steps, now
        if self._asked is None and now - self._lived_at >= _PAUSE_SECONDS:
            self._asked = asyncio.create_task(question(self._app, scope))
        return now - self._lived_at < self._longest_silence

    def _was_answered(self) -> bool:
        if self._asked is None or not self._asked.done():
            return False
        asked, self._asked = self._asked, None
        return asked.result()

    async def _metrics(self, scope: Scope) -> bytes:
        """What its metrics say of the steps that it took."""
        try:
            _, body = await answer(self._app, scope, "GET", "/metrics")
        except Exception:  # noqa: BLE001 - whatever is wrong with its metrics: it is asked for a token
            return b""
        return b"\n".join(line for line in body.splitlines() if line.startswith(tuple(map(str.encode, _STEPS))))


async def question(app: App, scope: Scope, tokens: int = 1) -> bool:
    """Ask an engine's server for so many tokens, past all keys; return whether it answered, if only that it cannot."""
    asked = json.dumps(_QUESTION | {"max_tokens": tokens}).encode()
    try:
        status, _ = await answer(app, scope, "POST", "/v1/completions", asked)
    except Exception:  # noqa: BLE001 - whatever its server does: that is no answer
        return False
    return 0 < status < _SERVER_ERROR


async def answer(app: App, scope: Scope, method: str, path: str, body: bytes = b"") -> tuple[int, bytes]:
    """Call an application as a server would, with a request of our own in the place of the one that came."""
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    asked = {**scope, "method": method, "path": path, "raw_path": path.encode(), "query_string": b""}
    asked |= {"root_path": "", "headers": headers}
    status, answered = 0, bytearray()

    async def take(message: Message) -> None:
        nonlocal status
        status = message.get("status", status)
        answered.extend(message.get("body", b""))

    await app(asked, _sent(body), take)
    return status, bytes(answered)


def _sent(body: bytes) -> Callable[[], Awaitable[Message]]:
    """A client who sends this and then waits."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Message:
        return messages.pop() if messages else await asyncio.Future()

    return receive
