"""Who may ask: a server of ours demands its key of every request, as `Authorization: Bearer KEY`.

Plain ASGI without a framework, as vLLM's server and the recorder have it. What it does not do: tell one user from
another. Whoever has the key may ask everything.
"""

import hmac
import json
import os
from collections.abc import Awaitable, Callable, Collection, MutableMapping
from typing import Any

__all__ = ["App", "Keyed", "Message", "Receive", "Send", "key_of"]

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]
_POLICY_VIOLATION = 1008
_MESSAGE = "this server answers the namespace's router and operator alone; ask the router, at port 8080"
_REFUSAL = json.dumps(
    {"error": {"message": _MESSAGE, "type": "invalid_request_error", "param": None, "code": 401}}
).encode()


def key_of(variable: str) -> str:
    """The key in an environment variable; raise ValueError where there is none: without one everybody could ask."""
    key = os.environ.get(variable, "").strip()
    if not key:
        raise ValueError(f"{variable} is not set: the namespace's Secret `anneal-router` holds the key")
    return key


class Keyed:
    """An application behind a key; the open paths need none."""

    def __init__(self, app: App, key: str, open_paths: Collection[str]) -> None:
        self._app = app
        self._expected = f"Bearer {key}".encode()
        self._open = frozenset(open_paths)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Pass on what may pass."""
        if scope["type"] == "lifespan" or self._is_open(scope) or self._has_key(scope):
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await _refuse(send)
        else:
            await send({"type": "websocket.close", "code": _POLICY_VIOLATION})

    def _is_open(self, scope: Message) -> bool:
        return scope["type"] == "http" and scope["path"].removeprefix(scope.get("root_path", "")) in self._open

    def _has_key(self, scope: Message) -> bool:
        """Whether it is there, once; a comparison takes as long whatever is sent."""
        sent = [value for name, value in scope["headers"] if name == b"authorization"]
        return len(sent) == 1 and hmac.compare_digest(sent[0], self._expected)


async def _refuse(send: Send) -> None:
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(_REFUSAL)).encode())]
    headers.append((b"www-authenticate", b"Bearer"))
    await send({"type": "http.response.start", "status": 401, "headers": headers})
    await send({"type": "http.response.body", "body": _REFUSAL})
