"""Anneal's router from its real files, with an experiment of two arms and its records on: alone here is it known."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from serving_runtime.plan import (
    ADMIN_KEY_VARIABLE,
    BUCKETS,
    ENGINE_KEY_VARIABLE,
    TASKS_KEY_VARIABLE,
    USER_KEY_VARIABLE,
    ExperimentRoute,
    KeyRoute,
    ModelRoute,
    RouteTable,
    Target,
    VariantRoute,
)
from toolbox.commands import CommandError
from tools.nginx import installed

from .processes import Running, await_answers, free_port, started
from .references import Upstream, nginx_command

__all__ = ["KEY", "anneal_router", "followed_router", "two_arms"]

_CHECKOUT = Path(__file__).resolve().parents[2]
_ROUTER = _CHECKOUT / "serving_runtime/router"
KEY = "bench"
"""What such a router demands of the operator, and all else that it demands."""
_KEYS = dict.fromkeys((ENGINE_KEY_VARIABLE, ADMIN_KEY_VARIABLE, USER_KEY_VARIABLE, TASKS_KEY_VARIABLE), KEY)
_ATTEND = """
import sys
from pathlib import Path
from serving_runtime.router.__main__ import attend
sys.exit(attend(sys.argv[2:], Path(sys.argv[1])))
"""
_FOLLOW = """
import asyncio, sys
from pathlib import Path
from serving_runtime.router.agent import follow_all
from serving_runtime.router.api_server import ApiServer
api = ApiServer("127.0.0.1", int(sys.argv[1]))
asyncio.run(follow_all(api, "bench", "routes", "routes.json", Path(sys.argv[2])))
"""
"""The agent as its pod runs it, but for the service account: here the API server is played, and asks for no token."""


@contextmanager
def anneal_router(before: Upstream, folder: Path) -> Iterator[Running]:
    """Start nginx and the agent, as one pod's two containers do."""
    port, records = free_port(), folder / "records"
    with _router(
        folder, two_arms(before.first, before.second), {"8080": port, "8082": free_port()}, before.first, before.core
    ) as both:
        await_answers(both[0], port, folder / "log")
        yield Running(port, both)
    _check(records)  # at its end it has written all


@contextmanager
def followed_router(folder: Path, table: RouteTable, api_port: int) -> Iterator[int]:
    """Start one that follows the API server at this port, on any core; yield the port where the operator asks."""
    ports = {"8080": free_port(), "8082": free_port()}
    with _router(folder, table, ports, api_port, None):
        yield ports["8082"]


@contextmanager
def _router(
    folder: Path, table: RouteTable, ports: dict[str, int], api_port: int, core: int | None
) -> Iterator[list[subprocess.Popen[bytes]]]:
    routes = folder / "routes.json"
    routes.write_text(json.dumps(table.document(table.stamped("2026-03-01T12:00:00Z", 1))))
    _configure(folder, ports)
    environment = {"PYTHONPATH": str(_CHECKOUT), **_KEYS, **installed().environment}
    attended = [sys.executable, "-c", _ATTEND, str(folder / "records"), *nginx_command(folder, "router.conf")]
    followed = [sys.executable, "-c", _FOLLOW, str(api_port), str(routes)]
    with (
        started(attended, core, folder / "log", environment) as router,
        started(followed, core, folder / "agent.log", environment) as agent,
    ):
        yield [router, agent]


def two_arms(first: int, second: int, up_to: int = BUCKETS // 2) -> RouteTable:
    """One model with an engine at either port; users from the bucket `up_to` on get the other version, usually half."""
    targets = {
        name: Target(host="127.0.0.1", port=port, model=name, public="bench")
        for name, port in (("bench-1", first), ("bench-2", second))
    }
    arms = [
        VariantRoute(name="control", target="bench-1", up_to=up_to),
        VariantRoute(name="candidate", target="bench-2", up_to=BUCKETS),
    ]
    experiment = ExperimentRoute(
        name="bench",
        uid="bench",
        salt="bench",
        keys=[KeyRoute(kind="header", name="x-user-id")],
        control="control",
        variants=arms,
    )
    route = ModelRoute(default="bench-1", named={"1": "bench-1", "2": "bench-2"}, experiments=[experiment])
    return RouteTable(targets=targets, models={"bench": route})


def _configure(folder: Path, ports: dict[str, int]) -> None:
    """Copy the router's files, with other ports and places in router.conf."""
    for script in _ROUTER.glob("*.lua"):
        shutil.copy(script, folder)
    changes = {f"listen {own};": f"listen 127.0.0.1:{port};" for own, port in ports.items()}
    changes |= {"/shared/": f"{folder}/", "/tmp/": f"{folder}/"}  # noqa: S108 - what the file says
    changes["/usr/lib/nginx/modules/"] = f"{installed().modules}/"
    text = (_ROUTER / "router.conf").read_text()
    if missing := [old for old in changes if old not in text]:
        raise CommandError(f"router.conf no longer says {missing}: benchmarks/router/anneal.py must follow it")
    places = re.compile("|".join(map(re.escape, changes)))
    (folder / "router.conf").write_text(places.sub(lambda found: changes[found.group()], text))


def _check(records: Path) -> None:
    """A router that wrote nothing down, or knew no experiment, would not be what is measured."""
    seen: set[str] = set()
    for file in records.glob("*.jsonl"):
        with file.open() as lines:
            seen |= {json.loads(line)["variant"] for line, _ in zip(lines, range(2000), strict=False)}
    if seen != {"control", "candidate"}:
        raise CommandError(f"the router recorded answers of {sorted(map(str, seen))}, not of both arms")
