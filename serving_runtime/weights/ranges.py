"""Reading ranges of files over HTTP, again and again while something comes."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar
from urllib.parse import urlsplit

import urllib3
from urllib3.exceptions import HTTPError, LocationValueError

from .published import WeightsError
from .sources import Source
from .ways import Ways, untrusted

__all__ = ["Ranges", "RefusedError"]

_CHUNK = 1 << 20
_LONGEST_MANIFEST = 64 << 20
_ATTEMPTS = 5
_FIRST_PAUSE_SECONDS = 1.0
_SILENT_SECONDS = 60.0
_PASSING = frozenset({408, 425, 429})
_OK, _PARTIAL, _OUTSIDE, _SERVER_ERROR = 200, 206, 416, 500
_Read = TypeVar("_Read")


class RefusedError(WeightsError):
    """A server has no such file, or does not give it to us: asking again is of no use."""


class Ranges:
    """The files of one source; `streams` are read at once."""

    def __init__(self, source: Source) -> None:
        self._source, self.streams = source, source.streams
        self._ways = Ways(source.streams, source.answers_within)

    def whole(self, name: str) -> bytes:
        """Return a small file."""
        return self._patiently(name, {}, lambda answer: answer.read(_LONGEST_MANIFEST))

    def size(self, name: str) -> int:
        """Return how many bytes a file has."""

        def told(answer: urllib3.BaseHTTPResponse) -> int:
            of_part = answer.headers.get("Content-Range", "").rpartition("/")[2]
            length = answer.headers.get("Content-Length", "") if answer.status == _OK else of_part
            if not length.isdecimal():
                raise WeightsError(
                    f"the server does not tell the size of {self._told(name)}: publish it with a manifest that does, "
                    "as `python -m serving_runtime.weights.describe` writes"
                )
            return int(length)

        return self._patiently(name, {"Range": "bytes=0-0"}, told)

    def _patiently(
        self, name: str, headers: dict[str, str], read: Callable[[urllib3.BaseHTTPResponse], _Read]
    ) -> _Read:
        pauses = _Pauses(self._told(name))
        while True:
            try:
                with self._answer(name, headers) as answer:
                    return read(answer)
            except HTTPError as error:
                pauses.wait(error)

    def parts(self, name: str, begin: int, end: int) -> Iterator[bytes]:
        """Yield what lies between two places of a file, the last one not included, until all of it came."""
        pauses = _Pauses(self._told(name))
        while begin < end:
            try:
                for part in self._once(name, begin, end):
                    pauses.forget()
                    begin += len(part)
                    yield part
                if begin < end:
                    raise HTTPError("it ended too early")  # noqa: TRY301 - as a broken connection
            except HTTPError as error:
                pauses.wait(error)

    def _once(self, name: str, begin: int, end: int) -> Iterator[bytes]:
        """As far as one request goes; a server that knows no ranges sends what is before them, too."""
        with self._answer(name, {"Range": f"bytes={begin}-{end - 1}"}) as answer:
            if answer.status == _OUTSIDE:
                raise RefusedError(f"{self._told(name)} is shorter than was published")
            if answer.status == _PARTIAL and not answer.headers.get("Content-Range", "").startswith(f"bytes {begin}-"):
                raise HTTPError("the answer was another part of it")
            before, left = (0 if answer.status == _PARTIAL else begin), end - begin
            while left and (part := answer.read1(min(_CHUNK, before or left))):
                if before:
                    before -= len(part)
                    continue
                left -= len(part)
                yield part

    @contextmanager
    def _answer(self, name: str, headers: dict[str, str]) -> Iterator[urllib3.BaseHTTPResponse]:
        url, own = self._source.asked(name)
        answer = self._asked(url, {**own, **headers}, name)
        try:
            if answer.status not in {_OK, _PARTIAL, _OUTSIDE}:
                said = f"the answer was {answer.status} {answer.reason or ''}".strip()
                if answer.status >= _SERVER_ERROR or answer.status in _PASSING:
                    raise HTTPError(said)
                raise RefusedError(f"{self._told(name)} cannot be downloaded: {said}")
            if answer.connection and (sock := getattr(answer.connection, "sock", None)):
                sock.settimeout(_SILENT_SECONDS)
            yield answer
        finally:
            answer.close()  # of one that was read to its end the connection is another's by now

    def _asked(self, url: str, headers: dict[str, str], name: str) -> urllib3.BaseHTTPResponse:
        try:
            return self._ways.get(url, headers)
        except HTTPError as error:
            if said := untrusted(error):
                raise RefusedError(f"{self._told(name)} cannot be downloaded: {said}") from error
            raise

    def _told(self, name: str) -> str:
        """A file's address, without what may be a password or a signature, and the proxy on the way to it."""
        url = self._source.asked(name)[0]
        parts, proxy = urlsplit(url), self._ways.proxy_of(url)
        through = f" (through the proxy {proxy}, as HTTP_PROXY, HTTPS_PROXY and NO_PROXY say)" if proxy else ""
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}{through}"


class _Pauses:
    """Between attempts, longer and longer; after so many of which nothing came the weights cannot be had."""

    def __init__(self, told: str) -> None:
        self._told, self._failed = told, 0

    def forget(self) -> None:
        self._failed = 0

    def wait(self, error: HTTPError) -> None:
        self._failed += 1
        if self._failed >= _ATTEMPTS:
            raise WeightsError(f"{self._told} cannot be downloaded: {_why(error)}") from error
        time.sleep(_FIRST_PAUSE_SECONDS * 2 ** (self._failed - 1))


def _why(error: BaseException) -> str:
    """What happened, without the client's own words around it."""
    if isinstance(error, LocationValueError):
        return "it leads to what is no address"
    while inner := getattr(error, "reason", None) or error.__cause__:
        if not isinstance(inner, BaseException):
            break
        error = inner
    return str(error).rpartition(">: ")[2] or type(error).__name__
