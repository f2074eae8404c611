"""Clients of a router, in a process of its own: `python -m tests.e2e.load --url … --log FILE`, until SIGTERM.

Some read streams, one after the other; short requests come at a steady rate, whatever becomes of them. What gets no
answer, or one that says so, is asked again as OpenAI's own client does it: twice, after no answer at all, or 429, or
500 and above. A stream that broke off is not. Each attempt is another user's, so that the record tells it from all
others, and a line of the log.
"""

import argparse
import asyncio
import itertools
import json
import os
import random
import signal
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, Literal

import aiohttp

__all__ = ["Attempt", "attempts_in", "main", "recent_attempts"]

Kind = Literal["stream", "short"]
_PARTS: dict[Kind, int] = {"stream": 80, "short": 1}
_TRIES, _FIRST_PAUSE_SECONDS = 3, 0.5
_RECENT_BYTES = 100_000
_REPEATED = frozenset({408, 409, 429})
_TIMEOUT = aiohttp.ClientTimeout(total=60, sock_connect=5)


@dataclass
class Attempt:
    """One request as its client saw it. `request` is the same for all attempts at one; times are since the epoch.

    The outcome is `complete`; `broken` where its end is missing and the client was told so, by a cut connection or an
    event; `truncated` where it was not; `error` by its status; or `unanswered`.
    """

    user: str
    request: int
    kind: Kind
    began: float
    ended: float = 0.0
    status: int | None = None
    exposure: str | None = None
    variant: str | None = None
    fallback: bool = False
    outcome: str = "unanswered"
    detail: str = ""

    @property
    def is_repeated(self) -> bool:
        """Whether the client asks again."""
        return self.status is None or self.status in _REPEATED or self.status >= 500


def attempts_in(log: Path) -> list[Attempt]:
    """Return what a log tells."""
    return [Attempt(**json.loads(line)) for line in log.read_text().splitlines()]


def recent_attempts(log: Path) -> list[Attempt]:
    """Return the last few of them, while it is written."""
    if not log.exists():
        return []
    with log.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - _RECENT_BYTES))
        whole_lines = file.read().split(b"\n")[1:-1]
    return [Attempt(**json.loads(line)) for line in whole_lines]


def main() -> None:
    """Ask until told to end, and finish what has begun."""
    parser = argparse.ArgumentParser(prog="python -m tests.e2e.load")
    parser.add_argument("--url", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--log", type=Path, required=True)
    parser.add_argument("--streams", type=int, required=True)
    parser.add_argument("--rate", type=float, required=True, help="short requests a second")
    options = parser.parse_args()
    with options.log.open("a", buffering=1) as log:
        asyncio.run(_run(options, log))


async def _run(options: argparse.Namespace, log: IO[str]) -> None:
    over = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, over.set)
    connector = aiohttp.TCPConnector(limit=0)
    async with (
        aiohttp.ClientSession(options.url, connector=connector, timeout=_TIMEOUT) as session,
        asyncio.TaskGroup() as group,
    ):
        clients = _Clients(session, options.model, options.log.stem, log)
        for _ in range(options.streams):
            group.create_task(clients.keep_streaming(over))
        due = time.monotonic()
        while not over.is_set():
            group.create_task(clients.request("short"))
            due = max(due + 1 / options.rate, time.monotonic() - 1)
            await asyncio.sleep(due - time.monotonic())


class _Clients:
    def __init__(self, session: aiohttp.ClientSession, model: str, name: str, log: IO[str]) -> None:
        self._session = session
        self._model = model
        self._name = name
        self._log = log
        self._numbers = itertools.count()

    async def keep_streaming(self, over: asyncio.Event) -> None:
        await asyncio.sleep(random.uniform(0, 2))
        while not over.is_set():
            await self.request("stream")

    async def request(self, kind: Kind) -> None:
        number = next(self._numbers)
        for again in range(_TRIES):
            attempt = Attempt(f"{self._name}-{number}-{again}", number, kind, time.time())
            await self._ask(attempt)
            attempt.ended = time.time()
            self._log.write(json.dumps(asdict(attempt)) + "\n")
            if not attempt.is_repeated:
                return
            await asyncio.sleep(_FIRST_PAUSE_SECONDS * 2**again * random.uniform(0.75, 1))

    async def _ask(self, attempt: Attempt) -> None:
        message = {"role": "user", "content": attempt.user}
        body: dict[str, Any] = {"model": self._model, "messages": [message], "max_tokens": _PARTS[attempt.kind]}
        body["stream"] = attempt.kind == "stream"
        asked = self._session.post("/v1/chat/completions", json=body, headers={"X-User-Id": attempt.user})
        try:
            async with asked as response:
                attempt.status, headers = response.status, response.headers
                attempt.exposure, attempt.variant = headers.get("X-Exposure-Id"), headers.get("X-Anneal-Variant")
                attempt.fallback = "X-Anneal-Fallback" in headers
                attempt.outcome = "broken"
                await _read(response, attempt)
        except (aiohttp.ClientError, OSError) as error:
            attempt.detail = repr(error)


async def _read(response: aiohttp.ClientResponse, attempt: Attempt) -> None:
    if attempt.status != 200:
        attempt.detail = (await response.text())[:300]
        attempt.outcome = "error"
    elif attempt.kind == "stream":
        attempt.outcome = await _read_stream(response)
    else:
        choice = (await response.json())["choices"][0]
        is_whole = _numbers(choice["message"]["content"]) == [0] and choice["finish_reason"] == "stop"
        attempt.outcome = "complete" if is_whole else "truncated"


async def _read_stream(response: aiohttp.ClientResponse) -> str:
    text, finished, done = "", False, False
    async for line in response.content:
        data = line.removeprefix(b"data: ").strip()
        if data == b"[DONE]":
            done = True
        elif data:
            event = json.loads(data)
            if "error" in event:
                return "broken"
            text += event["choices"][0]["delta"].get("content", "")
            finished = finished or event["choices"][0]["finish_reason"] == "stop"
    is_whole = _numbers(text) == list(range(_PARTS["stream"])) and finished and done
    return "complete" if is_whole else "truncated"


def _numbers(text: str) -> list[int]:
    return [int(word) for word in text.split()]


if __name__ == "__main__":
    main()
