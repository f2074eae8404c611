"""The container that brings weights, beside curl at the same stretches of the same files, from the same nginx.

What ours ends with is whole files that were verified and are on the disk, so curl is followed by sha256sum and sync;
and timed without these, too. Who goes first changes, as a machine does not stay as it was.
"""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.router.processes import free_port, started
from benchmarks.router.references import nginx_command
from serving_runtime.plan import ServingPlan
from serving_runtime.weights.describe import describe
from toolbox.commands import CommandError, run
from toolbox.polling import poll
from tools.nginx import installed

from .figures import Figure

__all__ = ["Round", "download_rounds", "measure_download"]

_CHECKOUT = Path(__file__).resolve().parents[2]
_FILES, _STRETCH, _STREAMS = 4, 64 << 20, 8
"""As weights lie on a hub, and as ours asks a hub for them."""
_REPOSITORY = "bench/model"
_PLACE = f"{_REPOSITORY}/resolve/main"
_PIECE = 1 << 20
_SECONDS = 3600.0
_ROUNDS = 3
_NGINX = """pid nginx.pid;
events {{ worker_connections 256; }}
http {{
  access_log off;
  client_body_temp_path body;
  proxy_temp_path proxy;
  fastcgi_temp_path fastcgi;
  uwsgi_temp_path uwsgi;
  scgi_temp_path scgi;
  sendfile on;
  limit_rate {rate};
  server {{ listen 127.0.0.1:{port}; location / {{ root {root}; }} }}
}}
"""


@dataclass(frozen=True)
class Round:
    """Seconds that each took."""

    ours: float
    same: float
    """Of curl, until the files were verified and on the disk."""
    bare: float
    """Of curl alone."""


def measure_download(folder: Path, size: int, line: int) -> list[Figure]:
    """Download so many random bytes, over a line of so many bytes per second (0: any)."""
    rounds = download_rounds(folder, size, _ROUNDS, line)
    verified, bare = [one.same / one.ours for one in rounds], [one.bare / one.ours for one in rounds]
    return [
        Figure("bytes per second / curl's in parallel, verified and on the disk", verified, at_least=0.8),
        Figure("bytes per second / curl's in parallel, which verifies nothing", bare, at_least=0.8),
        Figure("a download, with start and verification", [size / 1e6 / one.ours for one in rounds], "MB/s"),
    ]


def download_rounds(folder: Path, size: int, rounds: int, line: int) -> list[Round]:
    """Download so many random bytes again and again, over a line of so many bytes per second (0: any)."""
    root = folder / "www"
    digest = _publish(root / _PLACE, size)
    with _serving(folder / "nginx", root, line // _STREAMS) as port:
        return [_round(folder, root / _PLACE, digest, port, ours_first=number % 2 == 0) for number in range(rounds)]


def _publish(folder: Path, size: int) -> str:
    folder.mkdir(parents=True)
    for number in range(_FILES):
        with (folder / f"model-{number}.safetensors").open("wb") as file:
            for begin in range(0, size // _FILES, _PIECE):
                file.write(os.urandom(min(_PIECE, size // _FILES - begin)))
    digest, _ = describe(folder)
    return digest


@contextmanager
def _serving(folder: Path, root: Path, rate: int) -> Iterator[int]:
    folder.mkdir()
    port, log = free_port(), folder / "log"
    (folder / "nginx.conf").write_text(_NGINX.format(port=port, root=root, rate=rate))
    with started(nginx_command(folder, "nginx.conf"), None, log, installed().environment) as process:
        asked = ["curl", "--silent", "--fail", "--output", "/dev/null", f"{_url(port)}/manifest.json"]
        if not poll(lambda: subprocess.run(asked, check=False).returncode == 0, 30) or process.poll() is not None:
            raise CommandError(f"nginx does not answer:\n{log.read_text()}")
        yield port


def _url(port: int) -> str:
    return f"http://127.0.0.1:{port}/{_PLACE}"


def _round(folder: Path, published: Path, digest: str, port: int, *, ours_first: bool) -> Round:
    found = {}
    for which in ("ours", "curl") if ours_first else ("curl", "ours"):
        found[which] = _ours(folder, digest, port) if which == "ours" else _curl(folder, published, port)
    (ours,), (bare, same) = found["ours"], found["curl"]
    return Round(ours, same, bare)


def _ours(folder: Path, digest: str, port: int) -> Sequence[float]:
    uri, secret = f"hf://{_REPOSITORY}", folder / "secret"
    secret.mkdir(exist_ok=True)
    (secret / "HF_ENDPOINT").write_text(f"http://127.0.0.1:{port}")
    plan = ServingPlan(
        tracking_uri="", uri=uri, digest=digest, served_name="m", dtype="Auto", max_model_length=64, engine_args=[]
    )
    command = [sys.executable, "-m", "serving_runtime.weights", "--port", "0", "--plan", plan.model_dump_json()]
    command += ["--folder", str(folder / "ours"), "--credentials", str(secret)]
    return _timed(
        folder / "ours", lambda: subprocess.run(command, cwd=_CHECKOUT, check=True, stdout=subprocess.DEVNULL)
    )


def _curl(folder: Path, published: Path, port: int) -> Sequence[float]:
    target, listed = folder / "curl", folder / "curl.conf"
    parts = {path: _parts(target, path) for path in sorted(published.iterdir())}
    listed.write_text("\nnext\n".join(_asked(port, path, part) for path, found in parts.items() for part in found))
    every = ["--parallel", "--parallel-immediate", "--silent", "--fail", "--no-progress-meter"]
    fetch = ["curl", *every, "--parallel-max", str(_STREAMS), "--config", str(listed)]

    def check() -> None:
        whole = [f"cat {' '.join(str(part) for part, _, _ in found)} | sha256sum" for found in parts.values()]
        together = f"{' & '.join(whole)} & wait; sync --file-system {target}"
        run(["bash", "-c", together], timeout=_SECONDS)

    return _timed(target, lambda: run(fetch, timeout=_SECONDS), check)


def _parts(target: Path, path: Path) -> list[tuple[Path, int, int]]:
    """A file's stretches, each with the place that it goes to, its begin and its end."""
    size = path.stat().st_size
    return [
        (target / f"{path.name}.{begin:012}", begin, min(begin + _STRETCH, size)) for begin in range(0, size, _STRETCH)
    ]


def _asked(port: int, path: Path, part: tuple[Path, int, int]) -> str:
    place, begin, end = part
    return f'url = "{_url(port)}/{path.name}"\nrange = {begin}-{end - 1}\noutput = "{place}"'


def _timed(target: Path, *steps: Callable[[], object]) -> list[float]:
    """Return after how long each step was done; what went before leaves neither files nor unwritten pages."""
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    os.sync()
    began, ends = time.perf_counter(), []
    for step in steps:
        step()
        ends.append(time.perf_counter() - began)
    return ends
