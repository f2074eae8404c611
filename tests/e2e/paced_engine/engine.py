"""A model's server, played, in pods that the operator makes for vLLM: in its image this is `serving_runtime.launch`.

As vLLM's it is a server of uvicorn that demands the routers' key. An answer has as many parts as tokens are asked for,
numbered, so that whoever reads it knows whether it is whole. Asked to end, it finishes what it has begun. While a file
says so, every question fails.
"""

import argparse
import asyncio
import json
from pathlib import Path
from typing import Any

import uvicorn

from serving_runtime.engine_key import EngineKey
from serving_runtime.keys import Message, Receive, Send
from serving_runtime.plan import ServingPlan

__all__ = ["answer", "main"]

_FAILING = Path("/tmp/failing")  # noqa: S108 - the pod's own
_PACE_SECONDS = 0.025
_KEEP_ALIVE_SECONDS = 75  # launch.py says so, too


async def answer(scope: Message, receive: Receive, send: Send) -> None:
    """Answer the kubelet, or a chat."""
    if scope["path"] in {"/health", "/metrics"}:
        await _send_whole(send, b"{}")
        return
    body = json.loads(await _body(receive))
    if _FAILING.exists():  # noqa: ASYNC240 - of the pod's own memory
        await _send_whole(send, b'{"error": {"message": "out of order", "type": "InternalServerError"}}', 500)
        return
    name = f"chatcmpl-{dict(scope['headers']).get(b'x-request-id', b'').decode()}"
    if body.get("stream"):
        await _stream(body, name, send)
    else:
        await asyncio.sleep(_PACE_SECONDS * body["max_tokens"])
        parts = "".join(f"{number} " for number in range(body["max_tokens"]))
        choice = {"index": 0, "message": {"role": "assistant", "content": parts}, "finish_reason": "stop"}
        told = {"id": name, "object": "chat.completion", "choices": [choice], "usage": _usage(body)}
        await _send_whole(send, json.dumps(told).encode())


def main() -> None:
    """Serve until the pod ends."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--plan", type=ServingPlan.model_validate_json, required=True)
    parser.add_argument("--folder", required=True, help="where the weights would be")
    port: int = parser.parse_args().port
    options: dict[str, Any] = {"lifespan": "off", "access_log": False, "log_level": "warning"}
    uvicorn.run(EngineKey(answer), host="0.0.0.0", port=port, timeout_keep_alive=_KEEP_ALIVE_SECONDS, **options)  # noqa: S104 - a pod


async def _body(receive: Receive) -> bytes:
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    return body


async def _stream(body: dict[str, Any], name: str, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
    for number in range(body["max_tokens"]):
        await asyncio.sleep(_PACE_SECONDS)
        await _send_event(send, name, [{"index": 0, "delta": {"content": f"{number} "}, "finish_reason": None}])
    await _send_event(send, name, [{"index": 0, "delta": {}, "finish_reason": "stop"}])
    if (body.get("stream_options") or {}).get("include_usage"):
        await _send_event(send, name, [], usage=_usage(body))
    await send({"type": "http.response.body", "body": b"data: [DONE]\n\n"})


async def _send_event(send: Send, name: str, choices: list[dict[str, Any]], **more: Any) -> None:
    event = {"id": name, "object": "chat.completion.chunk", "choices": choices, **more}
    await send({"type": "http.response.body", "body": f"data: {json.dumps(event)}\n\n".encode(), "more_body": True})


def _usage(body: dict[str, Any]) -> dict[str, int]:
    return {"prompt_tokens": 1, "completion_tokens": body["max_tokens"], "total_tokens": 1 + body["max_tokens"]}


async def _send_whole(send: Send, content: bytes, status: int = 200) -> None:
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": content})


if __name__ == "__main__":
    main()
