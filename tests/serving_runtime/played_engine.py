"""An engine, played: `python -m tests.serving_runtime.played_engine PORT`; wrapped, and ended, as vLLM's server is.

Once it is asked to end, it answers new requests with 500 for a while, as vLLM does until the last stream has ended.
"""

import asyncio
import os
import sys

import uvicorn
from typing_extensions import override

from serving_runtime.engine_key import EngineKey
from serving_runtime.keys import Message, Receive, Send

__all__ = ["PIECES", "PieceByPiece"]

PIECES = 20
_PAUSE = 0.1
_DRAINING_SECONDS = 0.5


class PieceByPiece:
    """Answers in pieces, and to `/die` by ending as vLLM does whose engine died."""

    is_ending = False

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["path"] == "/die":
            os._exit(0)
        while (await receive()).get("more_body"):
            pass
        await send({"type": "http.response.start", "status": 500 if self.is_ending else 200, "headers": []})
        for piece in range(PIECES if scope["path"] == "/v1/chat/completions" else 1):
            await send({"type": "http.response.body", "body": b"%d " % piece, "more_body": True})
            await asyncio.sleep(_PAUSE)
        await send({"type": "http.response.body", "body": b"end"})


class _Server(uvicorn.Server):
    @override
    def handle_exit(self, sig: int, frame: object) -> None:
        _ENGINE.is_ending = True
        asyncio.get_running_loop().call_later(_DRAINING_SECONDS, super().handle_exit, sig, frame)


_ENGINE = PieceByPiece()

if __name__ == "__main__":
    _Server(uvicorn.Config(EngineKey(_ENGINE), port=int(sys.argv[1]), log_level="critical", lifespan="off")).run()
