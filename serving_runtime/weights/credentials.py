"""What a source is read with, as a mounted Secret has it. No value of it is ever shown: what is wrong is named."""

import re
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import unquote, urlsplit

from .published import WeightsError

__all__ = ["address_in", "read_credentials"]

_NAMES = (
    "HF_TOKEN",
    "HF_ENDPOINT",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_ENDPOINT_URL",
    "AWS_REGION",
)
_VALUE = re.compile(rb"[\x21-\x7e]+")


def read_credentials(folder: Path) -> dict[str, str]:
    """Return those that a source may be read with; whatever else a Secret has is left alone."""
    kept = {path.name for path in folder.glob("*") if path.is_file()}
    if not kept:
        raise WeightsError("there are no credentials: is there a Secret as artifact.secretRef says?")
    found = {name: (folder / name).read_bytes().strip() for name in _NAMES if name in kept}
    for name, value in found.items():
        if value and not _VALUE.fullmatch(value):
            raise WeightsError(
                f"{name} of artifact.secretRef has white space or other characters within it that no such value has: "
                "write it into the Secret anew"
            )
    known = {name: value.decode() for name, value in found.items() if value}
    if not known:
        raise WeightsError(f"the Secret of artifact.secretRef has none of {', '.join(_NAMES)}")
    return known


def address_in(credentials: Mapping[str, str], name: str, default: str) -> str:
    """Return a server's address, which is told to people and so may hold no password."""
    given = credentials.get(name, default).rstrip("/")
    try:
        parts = urlsplit(given)
        is_address = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_address = False
    leads_elsewhere = is_address and {".", ".."} & set(re.split(r"[/\\]", unquote(parts.path)))
    if not is_address or leads_elsewhere or "@" in parts.netloc or parts.query or parts.fragment:
        raise WeightsError(
            f"{name} of artifact.secretRef is no address: write https://HOST, with :PORT and /PATH where they are "
            "needed, and without a user or password, `.` or `..`"
        )
    return _as_it_is_sent(given)


def _as_it_is_sent(address: str) -> str:
    """As a client names the host in its request, which a signature is about."""
    parts = urlsplit(address)
    usual = {"http": ":80", "https": ":443"}[parts.scheme]
    return f"{parts.scheme}://{parts.netloc.lower().removesuffix(usual)}{parts.path}"
