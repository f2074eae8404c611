"""The nginx that plays the engines, and those that the router is held against."""

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tools.nginx import installed

from .processes import Running, await_answers, free_port, started

__all__ = ["Upstream", "least_lua", "nginx_command", "plain", "upstream"]

_FILES = Path(__file__).parent / "nginx"


@dataclass(frozen=True)
class Upstream:
    """Two engines, played by one process; `core` is for those who ask them."""

    running: Running
    first: int
    second: int
    core: int


@contextmanager
def upstream(folder: Path, core: int, core_of_systems: int) -> Iterator[Upstream]:
    """Play the engines."""
    first, second = free_port(), free_port()
    with _nginx(folder, "upstream", core, {"FIRST": first, "SECOND": second}, first) as process:
        yield Upstream(Running(first, [process]), first, second, core_of_systems)


@contextmanager
def plain(before: Upstream, folder: Path) -> Iterator[Running]:
    """Pass on, no more."""
    with _reference(before, folder, "bare") as running:
        yield running


@contextmanager
def least_lua(before: Upstream, folder: Path) -> Iterator[Running]:
    """Pick the engine in Lua by the user's bucket."""
    with _reference(before, folder, "least_lua") as running:
        yield running


@contextmanager
def _reference(before: Upstream, folder: Path, name: str) -> Iterator[Running]:
    ports = {"FIRST": before.first, "SECOND": before.second, "PORT": free_port()}
    with _nginx(folder, name, before.core, ports, ports["PORT"]) as process:
        yield Running(ports["PORT"], [process])


@contextmanager
def _nginx(
    folder: Path, name: str, core: int, ports: Mapping[str, int], port: int
) -> Iterator[subprocess.Popen[bytes]]:
    shutil.copytree(_FILES, folder, dirs_exist_ok=True)
    text = (_FILES / f"{name}.conf").read_text().replace("@MODULES@", str(installed().modules))
    for word, value in ports.items():
        text = text.replace(f"@{word}@", str(value))
    (folder / "nginx.conf").write_text(text)
    log = folder / "log"
    with started(nginx_command(folder, "nginx.conf"), core, log, installed().environment) as process:
        await_answers(process, port, log)
        yield process


def nginx_command(folder: Path, configuration: str) -> list[str]:
    """Return how nginx is called: one worker, in the foreground."""
    user = "user root; " if os.geteuid() == 0 else ""
    settings = f"daemon off; {user}worker_processes 1;"
    return [*installed().command(), "-e", "stderr", "-p", f"{folder}/", "-c", configuration, "-g", settings]
