"""The recorder as a router's pod knows it: an address in a file, and a place where it takes lines.

The address is the Service's own, so no name server is needed; the file follows when the Service is made anew.
"""

import http.client
import json
from pathlib import Path

from serving_runtime.records import POSITION, RECORDS_PATH, SOURCE

__all__ = ["TIMEOUT_SECONDS", "Recorder", "RecorderError"]

TIMEOUT_SECONDS = 5.0
_LARGEST_ANSWER = 4096


class RecorderError(Exception):
    """The recorder did not say that it stored what it was sent."""


class Recorder:
    """One connection at a time, made when it is needed: whoever keeps one misses that another pod answers now."""

    def __init__(self, address: Path, key: str) -> None:
        self._address, self._key = address, key
        self._connection: http.client.HTTPConnection | None = None

    def store(self, source: str, position: int, lines: bytes) -> int:
        """Have lines stored that begin there; return up to where the recorder has this source now."""
        headers = {"Content-Type": "application/jsonl", SOURCE: source, POSITION: str(position)}
        headers["Authorization"] = f"Bearer {self._key}"
        try:
            connection = self._connected()
            connection.request("POST", RECORDS_PATH, lines, headers)
            answer = connection.getresponse()
            content = answer.read(_LARGEST_ANSWER)
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise RecorderError(f"no answer: {error!r}") from error
        if answer.status != http.HTTPStatus.OK:
            self.close()
            raise RecorderError(f"it answered {answer.status}: {content[:200]!r}")
        return _position(content)

    def close(self) -> None:
        """End the connection."""
        if self._connection:
            self._connection.close()
        self._connection = None

    def _connected(self) -> http.client.HTTPConnection:
        if self._connection is None:
            address = self._address.read_text().strip()
            self._connection = http.client.HTTPConnection(address, timeout=TIMEOUT_SECONDS)
        return self._connection


def _position(content: bytes) -> int:
    try:
        position = int(json.loads(content)["position"])
    except (KeyError, TypeError, ValueError) as error:
        raise RecorderError(f"it answered what is no position: {content[:200]!r}") from error
    if position < 0:
        raise RecorderError(f"it answered a position of {position}")
    return position
