"""Why a server could not be reached or refused, in words: client libraries tell it with their whole stack."""

import re
import socket
import ssl
from collections.abc import Iterator

__all__ = ["why"]

_MAX_CHARACTERS = 200
_AWS_ERROR = re.compile(r"AWS Error (?P<kind>[A-Z_]+)")
_BY_CURL = {
    "6": "the host name cannot be resolved",
    "7": "the connection was refused",
    "28": "no answer in time",
    "35": "TLS could not be set up",
    "60": "the certificate is not trusted",
}
_CURL_CODE = re.compile(r"curlCode: (?P<code>\d+)")


def why(error: BaseException) -> str:
    """Return the innermost cause that a person can act on; else the first line of what the error itself says."""
    chain = list(_chain(error))
    for found in reversed(chain):
        if told := _told(found):
            return told
    if any("timeout" in type(found).__name__.lower() for found in chain):
        return "no answer in time"
    return _from_text(str(error))


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An error and what caused it; urllib3 keeps the cause in `reason`, requests passes it as an argument."""
    waiting: list[object] = [error]
    seen: set[int] = set()
    while waiting:
        found = waiting.pop(0)
        if isinstance(found, BaseException) and id(found) not in seen:
            seen.add(id(found))
            yield found
            waiting += [found.__cause__, found.__context__, getattr(found, "reason", None), *found.args]


def _told(error: BaseException) -> str | None:
    response = getattr(error, "response", None)
    if response is not None and hasattr(response, "status_code"):
        phrase = getattr(response, "reason", None) or getattr(response, "reason_phrase", "")
        return f"the answer was {response.status_code} {phrase}".strip()
    if isinstance(error, ssl.SSLCertVerificationError):
        return "the certificate is not trusted"
    if isinstance(error, ssl.SSLError):
        return "TLS could not be set up"
    if isinstance(error, socket.gaierror):
        return "the host name cannot be resolved"
    if isinstance(error, ConnectionRefusedError):
        return "the connection was refused"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return "the connection broke" if isinstance(error, ConnectionError) else None


def _from_text(text: str) -> str:
    if curl := _CURL_CODE.search(text):
        return _BY_CURL.get(curl["code"], "the connection broke")
    if aws := _AWS_ERROR.search(text):
        return aws["kind"].replace("_", " ").lower()
    first = " ".join(text.split("\n")[0].split())
    return "the connection broke" if "ConnectionPool" in first else first[:_MAX_CHARACTERS] or "no message"
