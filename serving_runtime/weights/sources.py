"""Where an artifact's files lie, as addresses of HTTP that answer ranges.

`mlflow-artifacts:/…` is MLflow's artifact proxy. It may fetch a whole file from its own store for each range that it is
asked for, so a file of its is one stretch. Pure: nothing here asks anybody.
"""

from dataclasses import dataclass
from typing import Protocol
from urllib.parse import quote

from .published import WeightsError

__all__ = ["Source", "source_of"]

_WHOLE = 1 << 62


class Source(Protocol):
    """A folder of files."""

    longest: int
    """The bytes of a file that are asked for at once."""

    def asked(self, name: str) -> tuple[str, dict[str, str]]:
        """Return the address of a file, and what to say in the request's headers."""


@dataclass(frozen=True)
class _Mlflow:
    url: str
    longest: int = _WHOLE

    def asked(self, name: str) -> tuple[str, dict[str, str]]:
        return f"{self.url}/{quote(name)}", {}


def source_of(uri: str, tracking_uri: str) -> Source:
    """Return where an artifact's files are read from; raise WeightsError for what nothing is read from."""
    if uri.startswith("mlflow-artifacts:/"):
        path = uri.removeprefix("mlflow-artifacts:/").strip("/")
        return _Mlflow(f"{tracking_uri}/api/2.0/mlflow-artifacts/artifacts/{quote(path)}")
    raise WeightsError(f"{uri} is nothing that is downloaded")
