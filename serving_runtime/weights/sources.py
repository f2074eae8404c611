"""Where an artifact's files lie, as addresses of HTTP that answer ranges: MLflow's artifact proxy, a hub, or S3.

Credentials are what a Secret has: `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`,
`AWS_ENDPOINT_URL`, `AWS_REGION` for S3, which is asked unsigned where the first are missing; `HF_TOKEN` and
`HF_ENDPOINT` for a hub. Nothing here asks anybody.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from urllib.parse import quote

from .credentials import address_in
from .published import WeightsError
from .signing import presigned

__all__ = ["Source", "source_of"]

_STRETCH, _STREAMS, _ANSWERS_WITHIN_SECONDS = 64 << 20, 8, 60.0
_MLFLOW_STRETCH, _MLFLOW_STREAMS, _MLFLOW_ANSWERS_WITHIN_SECONDS = 1 << 62, 2, 900.0
"""MLflow may fetch a whole file from its own store, before the first byte, for each range that it is asked for."""
_HUB = re.compile(r"hf://(?P<name>[^/@]+/[^/@]+)(?:@(?P<revision>[^/@]+))?(?:/(?P<path>.+))?")
_S3 = re.compile(r"s3://(?P<bucket>[^/]+)/(?P<prefix>.+)")


class Source(Protocol):
    """A folder of files."""

    @property
    def longest(self) -> int:
        """The most bytes of a file that are asked for at once."""

    @property
    def streams(self) -> int:
        """How many stretches come at once."""

    @property
    def answers_within(self) -> float:
        """In how many seconds an answer begins."""

    def asked(self, name: str) -> tuple[str, dict[str, str]]:
        """Return the address of a file, and what to say in the request's headers."""


@dataclass(frozen=True)
class _Folder:
    """At an address, below which its files lie."""

    url: str
    longest: int
    headers: Mapping[str, str]
    streams: int = _STREAMS
    answers_within: float = _ANSWERS_WITHIN_SECONDS

    def asked(self, name: str) -> tuple[str, dict[str, str]]:
        return f"{self.url}/{quote(name)}", dict(self.headers)


@dataclass(frozen=True)
class _Signed:
    """In S3, for those who have a key."""

    url: str
    region: str
    key_id: str
    secret: str
    token: str
    now: Callable[[], datetime]
    longest: int = _STRETCH
    streams: int = _STREAMS
    answers_within: float = _ANSWERS_WITHIN_SECONDS

    def asked(self, name: str) -> tuple[str, dict[str, str]]:
        url = f"{self.url}/{quote(name)}"
        return presigned(url, self.key_id, self.secret, self.region, self.now(), token=self.token), {}


def source_of(uri: str, tracking_uri: str, credentials: Mapping[str, str], now: Callable[[], datetime]) -> Source:
    """Return where an artifact's files are read from; raise WeightsError for what nothing is read from."""
    if uri.startswith("mlflow-artifacts:/"):
        path = uri.removeprefix("mlflow-artifacts:/").strip("/")
        url = f"{tracking_uri}/api/2.0/mlflow-artifacts/artifacts/{quote(path)}"
        return _Folder(url, _MLFLOW_STRETCH, {}, _MLFLOW_STREAMS, _MLFLOW_ANSWERS_WITHIN_SECONDS)
    if found := _HUB.fullmatch(uri):
        return _hub(found, credentials)
    if found := _S3.fullmatch(uri):
        return _s3(found, credentials, now)
    raise WeightsError(f"{uri} is nothing that is downloaded")


def _hub(found: re.Match[str], credentials: Mapping[str, str]) -> Source:
    endpoint = address_in(credentials, "HF_ENDPOINT", "https://huggingface.co")
    url = f"{endpoint}/{quote(found['name'])}/resolve/{quote(found['revision'] or 'main', safe='')}"
    token = credentials.get("HF_TOKEN")
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    path = (found["path"] or "").strip("/")
    return _Folder(f"{url}/{quote(path)}" if path else url, _STRETCH, headers)


def _s3(found: re.Match[str], credentials: Mapping[str, str], now: Callable[[], datetime]) -> Source:
    region = credentials.get("AWS_REGION", "us-east-1")
    endpoint = address_in(credentials, "AWS_ENDPOINT_URL", f"https://s3.{region}.amazonaws.com")
    url = f"{endpoint}/{found['bucket']}/{quote(found['prefix'].strip('/'))}"
    key_id, secret = credentials.get("AWS_ACCESS_KEY_ID"), credentials.get("AWS_SECRET_ACCESS_KEY")
    if not key_id or not secret:
        return _Folder(url, _STRETCH, {})
    return _Signed(url, region, key_id, secret, credentials.get("AWS_SESSION_TOKEN", ""), now)
