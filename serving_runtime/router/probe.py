"""Asking a backend which models it has: whether it answers, takes the key, and has ours.

It is asked as its clients' requests will be. None of its words are passed on: some servers repeat a part of the key.
Nor is it trusted to end: whoever asks gives up after a while, and nothing that it sends is kept.
"""

import asyncio
import json
import re
import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import h11

from .api_server import content, next_event

__all__ = ["Report", "probed"]

Report = Mapping[str, str]
"""As plan.py's BackendReport; empty where it answers as it should."""
_SECONDS = 5.0
_LARGEST_BYTES = 4 * 1024 * 1024
_OVERLAP = 2048
"""More than a name takes."""
_ID = re.compile(rb'"id"\s*:\s*("[^"\\]*(?:\\.[^"\\]*)*")')
_FINE: Report = {}


async def probed(
    backend: Mapping[str, Any], model: str, addresses: Sequence[tuple[str, int]], key: str, tls: ssl.SSLContext | None
) -> Report:
    """Ask the first of the addresses that answers."""
    address = f"{backend['scheme']}://{_authority(backend)}{backend['path']}"
    problem = "it has no address"
    for one in addresses:
        try:
            async with asyncio.timeout(_SECONDS):
                status, has_model = await _asked(backend, model, one, key, tls)
        except ssl.SSLCertVerificationError as error:
            problem = f"its certificate does not hold ({error.verify_message})"
        except TimeoutError:
            problem = f"it took longer than {_SECONDS:g} s"
        except (OSError, h11.ProtocolError) as error:
            problem = str(error) if isinstance(error, OSError) and str(error) else type(error).__name__
        else:
            return _judged(address, status, model, has_key=bool(key), has_model=has_model)
    return _told("Unreachable", f"the backend {address} cannot be reached: {problem}")


def _told(problem: str, message: str) -> Report:
    return {"problem": problem, "message": message[:600]}


def _authority(backend: Mapping[str, Any]) -> str:
    default = 443 if backend["scheme"] == "https" else 80
    return str(backend["host"]) if backend["port"] == default else f"{backend['host']}:{backend['port']}"


async def _asked(
    backend: Mapping[str, Any], model: str, address: tuple[str, int], key: str, tls: ssl.SSLContext | None
) -> tuple[int, bool | None]:
    """Connect to this very address, by the backend's name; return the status, and what its list says of the model."""
    name = str(backend["host"]) if tls else None
    reader, writer = await asyncio.open_connection(*address, ssl=tls, server_hostname=name)
    try:
        headers = [("Host", _authority(backend)), ("Accept", "application/json"), ("User-Agent", "anneal-router")]
        headers += [("Authorization", f"Bearer {key}")] if key else []
        http = h11.Connection(h11.CLIENT)
        asked = h11.Request(
            method="GET", target=f"{backend['path']}/models", headers=[*headers, ("Connection", "close")]
        )
        writer.write((http.send(asked) or b"") + (http.send(h11.EndOfMessage()) or b""))
        while not isinstance(answer := await next_event(http, reader), h11.Response):
            pass
        return answer.status_code, await _has(model, content(http, reader)) if answer.status_code == 200 else None
    finally:
        writer.transport.abort()


def _judged(address: str, status: int, model: str, *, has_key: bool, has_model: bool | None) -> Report:
    if status == 429:
        return _FINE  # it answers, and has enough to do
    if status != 200:
        return _refused(address, status, has_key=has_key)
    if has_model is None:
        return _told("Unusable", f"{address}/models lists no models as OpenAI's API does")
    if not has_model:
        return _told(
            "ModelUnknown", f"{address}/models lists no `{model}`: create the version with another `backend.model`"
        )
    return _FINE


def _refused(address: str, status: int, *, has_key: bool) -> Report:
    said = f"(status {status})"
    if status in {401, 403} and has_key:
        return _told("KeyRefused", f"the backend {address} does not take the key of `backend.apiKey` {said}")
    if status in {401, 403}:
        return _told("KeyRefused", f"the backend {address} demands a key {said}: name one in `backend.apiKey`")
    if 300 <= status < 400:
        return _told("Unusable", f"{address}/models leads elsewhere {said}, where nobody is sent: name that place")
    if status >= 500:
        return _told("Unreachable", f"{address}/models fails {said}")
    return _told("Unusable", f"there are no models at {address}/models {said}: its path has to be the API's `base_url`")


async def _has(model: str, pieces: AsyncIterator[bytes]) -> bool | None:
    """Whether a list has the model; None where it is no list.

    It is looked through as it comes, and not parsed: a few megabytes of JSON may take more memory than the pod has, and
    be too deep for any parser.
    """
    text, length, has_list = b"", 0, False
    async for piece in pieces:
        if length == 0 and piece.lstrip()[:1] not in {b"", b"{"}:
            return None
        length += len(piece)
        text = text[-_OVERLAP:] + piece
        has_list = has_list or b'"data"' in text
        if has_list and any(_is(model, name) for name in _ID.findall(text)):
            return True
        if length > _LARGEST_BYTES:
            break
    return False if has_list else None


def _is(model: str, name: bytes) -> bool:
    try:
        found = str(json.loads(name))
    except ValueError:
        return False
    return found == model or found.endswith(f"/{model}")
