"""The router's real nginx, configuration and Lua, before a model's server that is played: nothing else is there."""

import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from serving_runtime.plan import (
    ADMIN_KEY_VARIABLE,
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
from serving_runtime.router.authorities import with_backends
from serving_runtime.router.endpoints import FORMAT
from serving_runtime.router.files import replace_file
from toolbox.polling import poll
from tools.nginx import installed

from .engine import Engine, engine

__all__ = [
    "KEYS",
    "LINEAGE",
    "ROUTER",
    "SALT",
    "UNHURRIED",
    "Answer",
    "Stand",
    "document",
    "endpoints",
    "standing",
    "table",
]

SALT = "s"
LINEAGE = "2026-03-01T12:00:00Z"
KEYS = {
    ENGINE_KEY_VARIABLE: "engine-key",
    ADMIN_KEY_VARIABLE: "admin-key",
    USER_KEY_VARIABLE: "user-key\n",
    TASKS_KEY_VARIABLE: "tasks-key",
}
"""As from a Secret that was made of files."""
TRIES = 3
_INIT = "init_by_lua_block {"
_HURRY = f"""{_INIT}
    local every = ngx.timer.every
    ngx.timer.every = function(period, act) return every(period / 10, act) end"""
UNHURRIED = {_INIT: _INIT}
"""What workers do again and again (look at a file, write lines, add up counts) they do ten times as often as they
would; changes with this one leave them alone, for tests of how long something takes."""
_CHAT = "/v1/chat/completions"
ROUTER = Path(__file__).parents[2] / "serving_runtime/router"


@dataclass(frozen=True)
class Answer:
    """What a client gets."""

    status: int
    headers: Mapping[str, str]
    content: bytes
    is_whole: bool = True

    @property
    def json(self) -> Any:
        return json.loads(self.content)

    @property
    def echoed(self) -> str:
        """The body as the model's server got it."""
        return str(self.json["body"])

    @property
    def error(self) -> str:
        """The message, of an error in OpenAI's shape."""
        error = self.json["error"]
        assert set(error) == {"message", "type", "param", "code"}
        assert error["code"] == self.status
        assert self.headers["content-type"] == "application/json"
        return str(error["message"])


@dataclass
class Stand:
    """`engine` is the model's server that its routes lead to."""

    folder: Path
    engine: Engine
    process: subprocess.Popen[bytes]
    port: int
    admin_port: int
    worker_count: int
    generation: int = 1
    """Of the table that was written last."""
    is_ending: bool = field(default=False, init=False)
    start: Callable[[], subprocess.Popen[bytes]] = field(init=False)
    """Begin it again at the same ports."""

    def ask(self, path: str = _CHAT, body: Any = None, *, method: str = "", **headers: str) -> Answer:
        """Send one request; a body that is no text or bytes is sent as JSON. What is the operator's is asked as it."""
        content = body.encode() if isinstance(body, str) else body
        content = content if content is None or isinstance(content, bytes) else json.dumps(content).encode()
        port = self.admin_port if path.startswith(("/-/", "/metrics")) else self.port
        url = f"http://127.0.0.1:{port}{path}"
        known = {"Authorization": f"Bearer {KEYS[ADMIN_KEY_VARIABLE]}"} if path.startswith("/-/") else {}
        named = known | {name.replace("_", "-"): value for name, value in headers.items()}
        request = urllib.request.Request(url, content, named, method=method or ("GET" if body is None else "POST"))
        try:
            answered = urllib.request.urlopen(request, timeout=30)
        except urllib.error.HTTPError as error:
            answered = error
        with answered as response:
            lower = {name.lower(): value for name, value in response.headers.items()}
            try:
                return Answer(response.status, lower, response.read())
            except http.client.IncompleteRead as error:
                return Answer(response.status, lower, error.partial, is_whole=False)

    def chat(self, model: str = "plain", scenario: str = "echo", path: str = _CHAT, **headers: str) -> Answer:
        """Ask a model; `scenario` says what the model's server does."""
        body = json.dumps({"model": model, "scenario": scenario}, separators=(",", ":"))
        return self.ask(path, body, **headers)

    def connect(self) -> socket.socket:
        """A client's connection."""
        made = socket.create_connection(("127.0.0.1", self.port), timeout=30)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return made

    def raw(self, content: bytes) -> bytes:
        """Send bytes, and take what comes until the router closes."""
        with self.connect() as connection:
            connection.sendall(content)
            return b"".join(iter(lambda: connection.recv(65536), b""))

    def records(self) -> list[dict[str, Any]]:
        """All lines that were written."""
        files = (self.folder / "records").glob("*.jsonl")
        whole = (file.read_text().rpartition("\n")[0] for file in files)  # what follows is being written
        return [json.loads(line) for text in whole for line in text.splitlines() if line]

    def record_of(self, exposure: str) -> dict[str, Any]:
        """The one line of an answer, once it is written."""
        found: list[dict[str, Any]] = []

        def is_written() -> bool:
            found[:] = [line for line in self.records() if line["exposure"] == exposure]
            return bool(found)

        assert poll(is_written, 5, every=0.02), (self.folder / "log").read_text()
        assert len(found) == 1
        return found[0]

    def workers(self) -> list[int]:
        """The processes that answer."""
        (master,) = _children(self.process.pid)
        return _children(master)

    def is_settled(self) -> bool:
        """Whether it has all its workers, which it has once it holds its ports, or never will."""
        if self.has_lost_a_port():
            return True
        masters = [] if self.process.poll() is not None else _children(self.process.pid)
        has_workers = any(len(_children(master)) == self.worker_count for master in masters)
        return self.process.poll() is not None or (has_workers and _listens(self.port))

    def has_lost_a_port(self) -> bool:
        """Whether another process took one meanwhile."""
        return "Address already in use" in (self.folder / "log").read_text()

    def listens(self) -> bool:
        """Whether it takes new connections."""
        return _listens(self.port)

    def reload(self) -> None:
        """Have nginx read its configuration again: other workers answer, and the old ones finish what they began."""
        before = self.workers()
        (master,) = _children(self.process.pid)
        os.kill(master, signal.SIGHUP)
        assert poll(lambda: len(set(self.workers()) - set(before)) == self.worker_count, 10, every=0.01)
        assert poll(lambda: all(map(_is_leaving, before)), 10, every=0.01)

    def kill(self) -> None:
        """End all of nginx at once, and begin it again, as the kubelet does."""
        (master,) = _children(self.process.pid)
        for pid in (master, *_children(master)):
            os.kill(pid, signal.SIGKILL)
        self.process.wait()
        assert poll(lambda: not self.listens() and not _listens(self.admin_port), 10, every=0.005)
        self.process = self.start()
        assert poll(self.is_settled, 20, every=0.01)
        assert self.process.poll() is None, (self.folder / "log").read_text()

    def end(self) -> None:
        """Ask it to end, as Kubernetes does; it goes on with what it answers."""
        self.is_ending = True
        self.process.send_signal(signal.SIGTERM)

    def write(self, routes: RouteTable | str) -> None:
        """Replace the route table by the next generation, as the agent does."""
        self.generation += 1
        text = routes if isinstance(routes, str) else document(routes, self.generation)
        replace_file(self.folder / "routes.json", text)

    def write_endpoints(self, ports: Mapping[str, Sequence[int]] | str) -> None:
        """Replace the file of endpoints, as the agent does; pods are called by their ports."""
        replace_file(self.folder / "endpoints.json", ports if isinstance(ports, str) else endpoints(ports))


def table(engine_port: int, closed_port: int) -> RouteTable:
    """`alike` is a model that its server knows by the same name, `down` one whose server is not there.

    `known` is one whose server knows its name, too.
    """
    arms = [
        VariantRoute(name="stable", target="one", up_to=5000),
        VariantRoute(name="tuned", target="two", up_to=10000),
    ]
    experiment = ExperimentRoute(
        name="x",
        uid="uid",
        salt=SALT,
        keys=[KeyRoute(kind="header", name="x-user-id"), KeyRoute(kind="header", name="x-session")],
        control="stable",
        variants=arms,
    )
    targets = {name: Target(host="127.0.0.1", port=engine_port, model=f"engine-{name}") for name in ("one", "two")}
    targets["alike"] = Target(host="127.0.0.1", port=engine_port, model="alike")
    targets["known"] = Target(host="127.0.0.1", port=engine_port, model="engine-known", public="known")
    targets["gone"] = Target(host="127.0.0.1", port=closed_port, model="engine-gone")
    gone = experiment.model_copy(
        update={"uid": "uid-gone", "variants": [VariantRoute(name="stable", target="gone", up_to=10000)]}
    )
    return RouteTable(
        targets=targets,
        models={
            "plain": ModelRoute(default="one", named={"1": "one", "production": "one", "2": "two"}),
            "alike": ModelRoute(default="alike", named={}),
            "known": ModelRoute(default="known", named={"1": "known"}),
            "split": ModelRoute(default="one", named={}, experiments=[experiment]),
            "split-down": ModelRoute(default="gone", named={}, experiments=[gone]),
            "unborn": ModelRoute(default=None, named={"1": "one"}),
            "down": ModelRoute(default="gone", named={}),
        },
    )


def endpoints(ports: Mapping[str, Sequence[int]]) -> str:
    """The file that says which pods answer for a version."""
    pods = {
        version: [{"address": "127.0.0.1", "port": port, "pod": f"pod-{port}", "uid": f"uid-{port}"} for port in own]
        for version, own in ports.items()
    }
    return json.dumps({"format": FORMAT, "targets": pods})


def document(routes: RouteTable, generation: int = 1, lineage: str = LINEAGE) -> str:
    """What the agent writes."""
    return json.dumps(routes.document(routes.stamped(lineage, generation)))


def _free_ports(count: int) -> list[int]:
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(listener.getsockname()[1]) for listener in held]
    for listener in held:
        listener.close()
    return ports


def _configured(folder: Path, changes: Mapping[str, str], files: Mapping[str, str]) -> None:
    """The files of the router, with other ports and places."""
    for script in ROUTER.glob("*.lua"):
        shutil.copy(script, folder)
    shutil.copytree(ROUTER / "ui", folder / "ui", dirs_exist_ok=True)
    text = with_backends((ROUTER / "router.conf").read_text(), files)
    assert [old for old in changes if old not in text] == []
    places = re.compile("|".join(map(re.escape, changes)))
    (folder / "router.conf").write_text(places.sub(lambda found: changes[found.group()], text))


@contextmanager
def standing(
    folder: Path,
    changes: Mapping[str, str] | None = None,
    workers: int = 1,
    routes: RouteTable | None = None,
    files: Mapping[str, str] | None = None,
) -> Iterator[Stand]:
    """Start all of it, with these routes or `table`'s; `changes` are made in router.conf, and backends have `files`.

    It ends well, or the test fails.
    """
    closed = socket.socket()  # nobody listens there, and nobody else can: servers that are gone
    closed.bind(("127.0.0.1", 0))
    closed_port = int(closed.getsockname()[1])
    (folder / "records").mkdir()
    with engine() as played, (folder / "log").open("ab") as log, closed:
        (folder / "routes.json").write_text(document(routes or table(played.port, closed_port)))
        (folder / "address").write_text(f"127.0.0.1:{closed_port}")
        own = {"/shared/": f"{folder}/", "/tmp/": f"{folder}/", "/etc/anneal/recorder/": f"{folder}/"}  # noqa: S108
        own[_INIT] = _HURRY
        for _ in range(TRIES):
            ports = _free_ports(2)
            start = partial(_start, folder, {**own, **(changes or {})}, files or {}, ports, workers, log)
            process = start()
            stand = Stand(folder, played, process, ports[0], ports[1], workers)
            stand.start = start
            if poll(stand.is_settled, 20, every=0.02) and not stand.has_lost_a_port():
                break
            for master in _children(process.pid):  # it would try for seconds
                os.kill(master, signal.SIGKILL)
            process.kill()
            process.wait()
            log.truncate(0)
        try:
            assert process.poll() is None, (folder / "log").read_text()
            yield stand
        finally:
            if not stand.is_ending:  # asked twice, Python may be killed by the second while it exits
                stand.process.send_signal(signal.SIGTERM)
            stand.process.wait(timeout=30)
    assert stand.process.returncode == 0, (folder / "log").read_text()


def _start(
    folder: Path, changes: Mapping[str, str], files: Mapping[str, str], ports: list[int], workers: int, log: BinaryIO
) -> subprocess.Popen[bytes]:
    nginx = installed()
    listening = {f"listen {own};": f"listen 127.0.0.1:{port};" for own, port in zip((8080, 8082), ports, strict=True)}
    _configured(folder, {"/usr/lib/nginx/modules/": f"{nginx.modules}/", **listening, **changes}, files)
    user = "user root; " if os.geteuid() == 0 else ""
    settings = f"daemon off; {user}worker_processes {workers};"
    attended = "import sys; from serving_runtime.router.__main__ import attend; from pathlib import Path;"
    attended += "sys.exit(attend(sys.argv[2:], Path(sys.argv[1])))"
    started = [*nginx.command(), "-e", "stderr", "-p", f"{folder}/", "-c", "router.conf", "-g", settings]
    command = [sys.executable, "-c", attended, f"{folder}/records", *started]
    return subprocess.Popen(command, env={**os.environ, **nginx.environment, **KEYS}, stdout=log, stderr=log)


def _children(pid: int) -> list[int]:
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):  # it has ended
        return []


def _is_leaving(pid: int) -> bool:
    """Whether a worker takes no new connections."""
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):  # it has ended
        return True
    return b"shutting down" in command or not command


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
