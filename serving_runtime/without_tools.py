"""Tells clients why a model takes no tools: `vllm serve --middleware serving_runtime.without_tools.WithoutTools`.

vLLM refuses such a request by itself, but in words for whoever starts it: which arguments it misses.
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


class WithoutTools:
    """An application whose refusals of tools are said for its clients; all else passes as it is."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._refusal = os.environ.get(REFUSAL_VARIABLE, "")

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Pass on; hold back what is a refusal until it can be read."""
        if scope["type"] != "http" or not self._refusal:
            await self._app(scope, receive, send)
            return
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
        written = json.dumps(said, ensure_ascii=False).encode()
        kept = [(name, value) for name, value in start["headers"] if name.lower() != b"content-length"]
        headers = [*kept, (b"content-length", str(len(written)).encode())]
        return [{**start, "headers": headers}, {"type": "http.response.body", "body": written}]


def _object(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
