"""The recorder as it runs in its pod, over HTTP, and what a router writes for it."""

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from serving_runtime.plan import ADMIN_KEY_VARIABLE
from serving_runtime.recorder.__main__ import guarded
from serving_runtime.recorder.app import create_app
from serving_runtime.records import POSITION, RECORDS_PATH, SOURCE

from .asgi import served

__all__ = ["KEY", "at", "counted", "erase", "line", "recorder", "send", "shipping"]

KEY = "the-admin-key-of-the-tests"
_OURS = {"Authorization": f"Bearer {KEY}"}


@contextmanager
def recorder(folder: Path, port: int = 0) -> Iterator[str]:
    """Serve it; gives its host and port."""
    with served(guarded(create_app(folder), KEY), port) as address:
        yield address


@contextmanager
def shipping(folder: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """Send it what a router writes there; the file `address` says where it is."""
    command = [sys.executable, "-m", "serving_runtime.router.shipper", "--records", str(folder / "records")]
    command += ["--recorder", str(folder / "address"), "--end-within", "0"]
    with subprocess.Popen(command, env={**os.environ, ADMIN_KEY_VARIABLE: KEY}) as process:
        try:
            yield process
        finally:
            process.kill()  # asked to end, it would wait for nginx's last line


def line(number: int, user: str = "u", variant: str = "a", experiment: str = "e") -> str:
    """One answer of an experiment."""
    exposure = {"exposure": f"{number:032x}", "experiment": experiment, "variant": variant, "user": user}
    return json.dumps(exposure | {"at": 1.0, "status": 200, "outcome": "complete"}) + "\n"


def send(address: str, lines: bytes, **headers: str) -> tuple[int, Any]:
    """Hand lines over; return the status and what is answered."""
    named = _OURS | {name: value for name, value in headers.items() if value}
    request = urllib.request.Request(f"http://{address}{RECORDS_PATH}", lines, named, method="POST")
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def counted(address: str, experiment: str = "e") -> dict[str, tuple[int, int]]:
    """How many users and requests of each variant it knows."""
    url = f"http://{address}/experiments/{experiment}/statistics?metric=rating"
    with urllib.request.urlopen(urllib.request.Request(url, headers=_OURS), timeout=20) as answer:
        variants = json.load(answer)["variants"]
    return {name: (told["users"], told["requests"]) for name, told in variants.items()}


def erase(address: str, user: str) -> int:
    """Erase one user; return how many rows that were."""
    url = f"http://{address}/users/{quote(user, safe='')}"
    request = urllib.request.Request(url, headers=_OURS, method="DELETE")
    with urllib.request.urlopen(request, timeout=20) as answer:
        return int(json.load(answer)["rows"])


def at(position: int, source: str = "pod/20260301T1000-0123456789abcdef-01234567") -> dict[str, str]:
    """The headers that say where lines begin."""
    return {SOURCE: source, POSITION: str(position)}
