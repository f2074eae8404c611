"""A large artifact over a slow line, its pod killed twice: it is brought once, and within what it was given.

The soak takes ten minutes and 4 GB of disk; the other does the same with few bytes.
"""

import os
import signal
import socket
import subprocess
import time
import urllib.request
from pathlib import Path

import pytest

from anneal_operator.api.artifact import Artifact
from anneal_operator.api.quantities import seconds
from anneal_operator.api.serving import Serving
from anneal_operator.decide.downloading import slowest_download
from anneal_operator.decide.startup import startup_seconds
from serving_runtime.plan import DOWNLOAD_PATH, Downloaded, weights_folder
from serving_runtime.weights.describe import describe
from serving_runtime.weights.published import verify
from tests.support.http_server import playing
from toolbox.polling import poll

from .published import URI, Files, FileServer, started

FILES, STREAMS = 4, 2
"""So many files of one size, of which MLflow is asked for so many at once."""
PIECE = 1 << 20
BEGIN_SECONDS = 60
"""What a process may take to begin, on a machine that has other things to do."""


def _publish(folder: Path, size: int) -> str:
    """Random bytes, as weights are to whoever would compress them; return the digest."""
    folder.mkdir()
    for number in range(FILES):
        with (folder / f"model-{number}.safetensors").open("wb") as file:
            for begin in range(0, size // FILES, PIECE):
                file.write(os.urandom(min(PIECE, size // FILES - begin)))
    digest, described = describe(folder)
    assert described == size
    return digest


def _remaining(port: int, running: "subprocess.Popen[str]", after: int) -> int:
    """How long the rest is said to take, once so many bytes came: the first ones come at once."""
    found: list[Downloaded] = []

    def is_measured() -> bool:
        assert running.poll() is None
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{DOWNLOAD_PATH}", timeout=10) as answer:
                told = Downloaded.model_validate_json(answer.read())
        except OSError:
            return False
        found.extend([told] if told.total_bytes else [])
        return bool(found) and told.bytes >= found[0].bytes + after

    assert poll(is_measured, 2 * BEGIN_SECONDS)
    download = slowest_download(found[-1:])
    assert download is not None
    assert download.remaining is not None
    return seconds(download.remaining)


def _free_port() -> int:
    with socket.create_server(("", 0)) as taken:
        return int(taken.getsockname()[1])


@pytest.mark.parametrize(
    ("size", "takes"),
    [
        (8_000_000, 2),
        pytest.param(2_000_000_000, 600, marks=[pytest.mark.soak, pytest.mark.timeout(1800)]),
    ],
)
def test_a_slow_download_that_is_killed_twice_is_whole_within_its_deadline(
    tmp_path: Path, size: int, takes: int
) -> None:
    digest = _publish(tmp_path / "www", size)
    artifact = Artifact(uri=URI, format="Full", digest=digest, bytes=size)
    began = time.monotonic()
    with playing(Files(tmp_path / "www", bytes_per_second=size / takes / STREAMS), FileServer) as files:
        for part in (1 / 4, 1 / 2):
            killed = started(files, tmp_path / "cache", digest)
            assert poll(lambda least=size * part: files.sent > least, takes + BEGIN_SECONDS)  # type: ignore[misc] # a loop's own
            os.kill(killed.pid, signal.SIGKILL)
            assert (killed.wait(), killed.communicate()[0]) == (-signal.SIGKILL, "")
        port = _free_port()
        last = started(files, tmp_path / "cache", digest, "--port", str(port))
        rest, asked = _remaining(port, last, size // 20), time.monotonic()
        out, err = last.communicate(timeout=takes + BEGIN_SECONDS)
        waited = time.monotonic() - asked
    assert (last.returncode, err) == (0, "")
    assert out == f"downloaded and verified {FILES} files of {URI}\n"
    assert verify(tmp_path / "cache" / weights_folder(digest), URI, digest) == FILES
    assert files.sent < size * 1.02 + 2 * STREAMS * PIECE, "what was on its way at a kill, and no more, was sent twice"
    assert waited < 1.5 * rest + BEGIN_SECONDS, "what was said of the rest holds"
    assert time.monotonic() - began < startup_seconds(Serving(), artifact)
