"""Tells clients why a model takes no tools: `vllm serve --middleware serving_runtime.without_tools.WithoutTools`.

vLLM refuses such a request by itself, but in words for whoever starts it: which arguments it misses. Of `/v1/responses`
it refuses none, and the model answers as if it had been given no tools.
"""

import json
import os
from typing import Any

from .keys import App, Message, Receive, Send

__all__ = ["REFUSAL_VARIABLE", "WithoutTools"]

REFUSAL_VARIABLE = "ANNEAL_NO_TOOLS"
"""In the engine's environment: what a client is told who sends tools."""
_BAD_REQUEST = 400
_SIGN = "--tool-call-parser to be set"
_UNCHECKED = "/v1/responses"


class WithoutTools:
    """An application whose refusals of tools are said for its clients; all else passes as it is."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._refusal = os.environ.get(REFUSAL_VARIABLE, "")

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Pass on; hold back what is a refusal until it can be read."""
        if scope["type"] != "http" or not self._refusal:
            await self._app(scope, receive, send)
        elif scope["method"] == "POST" and scope["path"] == _UNCHECKED:
            await self._checked(scope, receive, send)
        else:
            await self._reworded(scope, receive, send)

    async def _checked(self, scope: Message, receive: Receive, send: Send) -> None:
        heard = [await receive()]
        while heard[-1].get("more_body"):
            heard.append(await receive())
        asked = _object(b"".join(message.get("body", b"") for message in heard))

        async def again() -> Message:
            return heard.pop(0) if heard else await receive()

        if asked.get("tools") and asked.get("tool_choice") != "none":
            error = {"message": self._refusal, "type": "BadRequestError", "param": "tools", "code": _BAD_REQUEST}
            head = {"type": "http.response.start", "status": _BAD_REQUEST}
            head["headers"] = [(b"content-type", b"application/json")]
            for message in _written(head, {"error": error}):
                await send(message)
        else:
            await self._app(scope, again, send)

    async def _reworded(self, scope: Message, receive: Receive, send: Send) -> None:
        held: list[Message] = []

        async def read(message: Message) -> None:
            if held or (message["type"] == "http.response.start" and message["status"] == _BAD_REQUEST):
                held.append(message)
                if message["type"] == "http.response.body" and not message.get("more_body"):
                    for told in self._told(held):
                        await send(told)
                    held.clear()
            else:
                await send(message)

        await self._app(scope, receive, read)

    def _told(self, held: list[Message]) -> list[Message]:
        """A refusal of tools in other words, any other as it is."""
        start, *parts = held
        said = _object(b"".join(part.get("body", b"") for part in parts))
        error = said.get("error")
        if not isinstance(error, dict) or not str(error.get("message")).endswith(_SIGN):
            return held
        error |= {"message": self._refusal} | ({"param": "tools"} if "param" in error else {})
        return _written(start, said)


def _written(start: Message, said: dict[str, Any]) -> list[Message]:
    body = json.dumps(said, ensure_ascii=False).encode()
    kept = [(name, value) for name, value in start["headers"] if name.lower() != b"content-length"]
    headers = [*kept, (b"content-length", str(len(body)).encode())]
    return [{**start, "headers": headers}, {"type": "http.response.body", "body": body}]


def _object(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
