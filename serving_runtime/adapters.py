"""Several versions in one engine: `vllm serve --middleware serving_runtime.adapters.Adapters`, behind its key.

vLLM loads and unloads adapters for whoever may ask it, from any path. Here nobody may: of its paths those alone are
open that a router asks, and what is loaded follows a mounted file (`adapter_keeper.py`).
"""

import asyncio
import json
import logging
import os
from pathlib import Path
from typing import Any

from prompts.canary import CANARY_FILE

from .adapter_folder import PLACES_VARIABLE, AdapterError, Places
from .adapter_keeper import Keeper
from .canary import CanaryCheck, HeldTo
from .keys import App, Message, Receive, Send
from .plan import ADAPTERS_PATH
from .pulse import answer

__all__ = ["PASSED_ON", "Adapters"]

PASSED_ON = frozenset(
    {"/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/embeddings", "/tokenize", "/detokenize"}
)
"""What a router asks (router/surface.lua)."""
_READ = frozenset({"/health", "/metrics", "/v1/models"})
_PERIOD, _ATTEMPTS = 1.0, 10
_OK, _NOT_FOUND, _UNAVAILABLE = 200, 404, 503
_POLICY_VIOLATION = 1008
_REQUESTS_GAUGE = "vllm:lora_requests_info"
_REFUSED = "this path is closed: an engine of several versions answers what its routers ask, and nothing else"
_MISSING = "this pod has not loaded the version that was asked for; another may have"
log = logging.getLogger("anneal.adapters")


class Adapters:
    """Answers nobody before what was asked for at its start was gone through."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._places = Places.model_validate_json(os.environ[PLACES_VARIABLE])
        self._keeper: Keeper | None = None
        self._keeping: asyncio.Task[None] | None = None
        self._gone_through = asyncio.Event()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Pass on what may pass."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await self._answer(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": _POLICY_VIOLATION})

    async def _answer(self, scope: Message, receive: Receive, send: Send) -> None:
        keeper = self._keeper or self._begun(scope)
        asked = scope["method"], scope["path"].removeprefix(scope.get("root_path", ""))
        if asked == ("GET", ADAPTERS_PATH):
            await _say(send, _OK, keeper.report().model_dump())
        elif asked[0] == "POST" and asked[1] in PASSED_ON:
            await self._gone_through.wait()
            asked_for, again = await _model(receive)
            if isinstance(asked_for, str) and keeper.hides(asked_for):
                await _say(send, _UNAVAILABLE, _error(_MISSING, _UNAVAILABLE))
            else:
                await self._app(scope, again, _Answer(send).pass_on)
        elif asked[0] == "GET" and asked[1] in _READ:
            await self._app(scope, receive, send)
        else:
            await _say(send, _NOT_FOUND, _error(_REFUSED, _NOT_FOUND))

    def _begun(self, scope: Message) -> Keeper:
        """Begin to keep the adapters: with the first request, of the kubelet's, as there is no server before."""
        self._keeper = keeper = Keeper(
            _Within(self._app, dict(scope), self._places.plan.canary_tolerance), self._places
        )
        self._keeping = asyncio.create_task(self._keep(keeper))
        return keeper

    async def _keep(self, keeper: Keeper) -> None:
        gauges = _unregistered()
        while True:
            for gauge in gauges:
                gauge.clear()
            try:
                await keeper.keep()
            except Exception:
                log.exception("the adapters are not what they should be; trying again")
            self._gone_through.set()
            await asyncio.sleep(_PERIOD)


def _unregistered() -> list[Any]:
    """Take from the engine's metrics what grows a series for each combination of adapters; return it.

    The engine goes on to write into it, so it has to be emptied, too.
    """
    from prometheus_client import REGISTRY

    known = list(REGISTRY._collector_to_names)  # noqa: SLF001 - as vLLM itself looks for its own
    found = [one for one in known if getattr(one, "_name", "") == _REQUESTS_GAUGE]
    for gauge in found:
        REGISTRY.unregister(gauge)
    return found


class _Within:
    """An engine's server, asked from within its own process, past all keys; `scope` is of any request to it."""

    def __init__(self, app: App, scope: Message, tolerance: float) -> None:
        self._app, self._scope, self._tolerance = app, scope, tolerance

    async def load(self, name: str, folder: Path) -> str:
        """Load an adapter; return why that cannot be done, empty where it was."""
        status, said = await self._post("/v1/load_lora_adapter", {"lora_name": name, "lora_path": str(folder)})
        return "" if status == _OK else f"the engine does not load it: {_message(said) or f'it answered {status}'}"

    async def differs(self, name: str, folder: Path) -> str:
        """Return in what a loaded adapter answers otherwise than in training; empty where it does not.

        Raise AdapterError where it does not answer.
        """
        if not (folder / CANARY_FILE).exists():
            return ""
        reasons = list[str]()
        held = HeldTo(file=folder / CANARY_FILE, tolerance=self._tolerance)
        check = CanaryCheck(self._app, held, reasons.append, model=name)
        for _ in range(_ATTEMPTS):
            if await check.passes(self._scope) or reasons:
                return next(iter(reasons), "")
            await asyncio.sleep(_PERIOD)
        raise AdapterError("the engine does not answer the questions of its evaluation")

    async def unload(self, name: str) -> None:
        """Forget a name; requests under way go on."""
        await self._post("/v1/unload_lora_adapter", {"lora_name": name})

    async def loaded(self) -> dict[str, str] | None:
        """Return the folders of what is loaded, by name; None where it does not answer."""
        status, said = await answer(self._app, self._scope, "GET", "/v1/models")
        if status != _OK:
            return None
        return {one["id"]: one["root"] for one in json.loads(said)["data"] if one.get("parent")}

    async def _post(self, path: str, body: dict[str, str]) -> tuple[int, bytes]:
        return await answer(self._app, self._scope, "POST", path, json.dumps(body).encode())


class _Answer:
    """One answer on its way. That the engine knows no such model is said so that a router asks another pod."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._held: list[Message] = []

    async def pass_on(self, message: Message) -> None:
        """Pass on; hold back what says that something is not there, until it can be read."""
        if not self._held and message.get("status") != _NOT_FOUND:
            await self._send(message)
            return
        self._held.append(message)
        if message["type"] == "http.response.body" and not message.get("more_body"):
            held, self._held = self._held, []
            if _field(b"".join(part.get("body", b"") for part in held[1:]), "param") == "model":
                await _say(self._send, _UNAVAILABLE, _error(_MISSING, _UNAVAILABLE))
            else:
                for part in held:
                    await self._send(part)


async def _model(receive: Receive) -> tuple[object, Receive]:
    """Return which model a request names, None where it names none, and what hands its body out once more."""
    messages = [await receive()]
    while messages[-1]["type"] == "http.request" and messages[-1].get("more_body"):
        messages.append(await receive())
    try:
        asked = json.loads(b"".join(message.get("body", b"") for message in messages))
    except ValueError:
        asked = None  # the engine says what is wrong with it

    async def again() -> Message:
        return messages.pop(0) if messages else await receive()

    return asked.get("model") if isinstance(asked, dict) else None, again


def _error(message: str, code: int) -> dict[str, Any]:
    kind = "server_error" if code == _UNAVAILABLE else "invalid_request_error"
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def _message(said: bytes) -> str:
    return str(_field(said, "message") or "")


def _field(said: bytes, name: str) -> object:
    """A field of an error as the engine tells it; None of what is none."""
    try:
        error = json.loads(said)["error"]
    except (ValueError, KeyError, TypeError):
        return None
    return error.get(name) if isinstance(error, dict) else None


async def _say(send: Send, status: int, what: object) -> None:
    body = json.dumps(what).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
