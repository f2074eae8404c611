"""Asking a backend which models it has: whether it answers, takes the key, and has ours.

It is asked as its clients' requests will be. None of its words are passed on: some servers repeat a part of the key.
"""

import http.client
import json
import socket
import ssl
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["Report", "probed"]

Report = Mapping[str, str]
"""As plan.py's BackendReport; empty where it answers as it should."""
_SECONDS = 5.0
_LARGEST_BYTES = 4 * 1024 * 1024
_FINE: Report = {}


def probed(backend: Mapping[str, Any], model: str, addresses: Sequence[tuple[str, int]], key: str) -> Report:
    """Ask the first of the addresses that takes a connection."""
    address = f"{backend['scheme']}://{_authority(backend)}{backend['path']}"
    problem = "it has no address"
    for one in addresses:
        try:
            status, body = _asked(backend, one, key)
        except ssl.SSLCertVerificationError as error:
            problem = f"its certificate does not hold ({error.verify_message})"
        except (OSError, http.client.HTTPException) as error:
            problem = str(error) if isinstance(error, OSError) and str(error) else type(error).__name__
        else:
            return _judged(address, status, body, model, has_key=bool(key))
    return _told("Unreachable", f"the backend {address} cannot be reached: {problem}")


def _told(problem: str, message: str) -> Report:
    return {"problem": problem, "message": message[:600]}


def _authority(backend: Mapping[str, Any]) -> str:
    default = 443 if backend["scheme"] == "https" else 80
    return str(backend["host"]) if backend["port"] == default else f"{backend['host']}:{backend['port']}"


def _asked(backend: Mapping[str, Any], address: tuple[str, int], key: str) -> tuple[int, bytes]:
    """Connect to this very address, by the backend's name."""
    made: socket.socket = socket.create_connection(address, _SECONDS)
    connection = http.client.HTTPConnection(str(backend["host"]), address[1], timeout=_SECONDS)
    connection.sock = made
    try:
        if backend["scheme"] == "https":
            context = ssl.create_default_context()
            connection.sock = context.wrap_socket(made, server_hostname=str(backend["host"]))
        headers = {"Host": _authority(backend), "Accept": "application/json", "User-Agent": "anneal-router"}
        headers |= {"Authorization": f"Bearer {key}"} if key else {}
        connection.request("GET", f"{backend['path']}/models", headers=headers)
        response = connection.getresponse()
        return response.status, response.read(_LARGEST_BYTES)
    finally:
        connection.close()
        made.close()


def _judged(address: str, status: int, body: bytes, model: str, *, has_key: bool) -> Report:
    if status == 429:
        return _FINE  # it answers, and has enough to do
    if status != 200:
        return _refused(address, status, has_key=has_key)
    names = _models(body)
    if names is None:
        return _told("Unusable", f"{address}/models lists no models as OpenAI's API does")
    if not any(name == model or name.endswith(f"/{model}") for name in names):
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


def _models(body: bytes) -> list[str] | None:
    try:
        return [str(found["id"]) for found in json.loads(body)["data"]]
    except (KeyError, TypeError, ValueError):
        return None
