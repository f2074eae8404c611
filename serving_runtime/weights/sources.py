"""Where an artifact's files lie, as addresses of HTTP that answer ranges: MLflow's artifact proxy, a hub, or S3.

Credentials are what a Secret has: `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`,
`AWS_ENDPOINT_URL`, `AWS_REGION` for S3, which is asked unsigned where the first are missing; `HF_TOKEN` and
`HF_ENDPOINT` for a hub. Nothing here asks anybody.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from urllib.parse import quote

from serving_runtime.plan import ANY_ENDPOINT

from .credentials import address_in
from .published import WeightsError
from .signing import presigned

__all__ = ["Source", "source_of"]

_STRETCH, _STREAMS, _ANSWERS_WITHIN_SECONDS = 64 << 20, 8, 60.0
_MLFLOW_STRETCH, _MLFLOW_STREAMS, _MLFLOW_ANSWERS_WITHIN_SECONDS = 1 << 62, 2, 900.0
"""MLflow may fetch a whole file from its own store, before the first byte, for each range that it is asked for."""
_HUB = re.compile(r"hf://(?P<name>[^/@]+/[^/@]+)(?:@(?P<revision>[^/@]+))?(?:/(?P<path>.+))?")
_REGION = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9]*[A-Za-z0-9])?")
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


def source_of(
    uri: str,
    tracking_uri: str,
    credentials: Mapping[str, str],
    now: Callable[[], datetime],
    endpoints: Sequence[str] = ANY_ENDPOINT,
) -> Source:
    """Return where an artifact's files are read from; raise WeightsError for what nothing is read from.

    `endpoints` are how the address of a hub or of S3 may begin.
    """
    if uri.startswith("mlflow-artifacts:/"):
        path = uri.removeprefix("mlflow-artifacts:/").strip("/")
        url = f"{tracking_uri}/api/2.0/mlflow-artifacts/artifacts/{quote(path)}"
        return _Folder(url, _MLFLOW_STRETCH, {}, _MLFLOW_STREAMS, _MLFLOW_ANSWERS_WITHIN_SECONDS)
    if found := _HUB.fullmatch(uri):
        return _hub(found, credentials, endpoints)
    if found := _S3.fullmatch(uri):
        return _s3(found, credentials, now, endpoints)
    raise WeightsError(f"{uri} is nothing that is downloaded")


def _endpoint(credentials: Mapping[str, str], name: str, usual: str, allowed: Sequence[str]) -> str:
    endpoint = address_in(credentials, name, usual)
    if any(f"{endpoint}/".startswith(beginning) for beginning in allowed):
        return endpoint
    taken = f"what begins with {' or '.join(allowed)}" if allowed else "no endpoint"
    said = f"{name} of artifact.secretRef is {endpoint}" if name in credentials else f"without {name} it is {endpoint}"
    raise WeightsError(
        f"{said}, and this installation reads from {taken}: name such a one in {name} of artifact.secretRef, or have "
        "the chart's `server.endpoints` allow this one"
    )


def _hub(found: re.Match[str], credentials: Mapping[str, str], allowed: Sequence[str]) -> Source:
    endpoint = _endpoint(credentials, "HF_ENDPOINT", "https://huggingface.co", allowed)
    url = f"{endpoint}/{quote(found['name'])}/resolve/{quote(found['revision'] or 'main', safe='')}"
    token = credentials.get("HF_TOKEN")
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    path = (found["path"] or "").strip("/")
    return _Folder(f"{url}/{quote(path)}" if path else url, _STRETCH, headers)


def _s3(
    found: re.Match[str], credentials: Mapping[str, str], now: Callable[[], datetime], allowed: Sequence[str]
) -> Source:
    region = credentials.get("AWS_REGION", "us-east-1")
    if not _REGION.fullmatch(region):
        raise WeightsError("AWS_REGION of artifact.secretRef is no region: write one such as eu-central-1")
    endpoint = _endpoint(credentials, "AWS_ENDPOINT_URL", f"https://s3.{region}.amazonaws.com", allowed)
    url = f"{endpoint}/{found['bucket']}/{quote(found['prefix'].strip('/'))}"
    key_id, secret = credentials.get("AWS_ACCESS_KEY_ID"), credentials.get("AWS_SECRET_ACCESS_KEY")
    if not key_id or not secret:
        return _Folder(url, _STRETCH, {})
    return _Signed(url, region, key_id, secret, credentials.get("AWS_SESSION_TOKEN", ""), now)
