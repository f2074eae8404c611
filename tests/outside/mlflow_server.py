"""MLflow's model registry over REST, in memory: what mlflow 3.17's own client asks of it, and no more."""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from json import dumps, loads
from typing import Any
from urllib.parse import parse_qsl, urlsplit
from uuid import uuid4

from typing_extensions import override

from tests.support.http_server import serving

__all__ = ["MlflowServer", "mlflow_server"]

_PREFIX = "/api/2.0/mlflow/"
_SEARCHES = {"runs/search", "experiments/search"}
_ARTIFACTS = "/api/2.0/mlflow-artifacts/artifacts/"
_WRITES = {"POST", "PUT", "PATCH", "DELETE"}


class _RefusalError(Exception):
    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass
class MlflowServer:
    """Models, versions, aliases and runs; `url` is where they are served."""

    url: str = ""
    models: set[str] = field(default_factory=set)
    versions: list[dict[str, Any]] = field(default_factory=list)
    aliases: dict[tuple[str, str], str] = field(default_factory=dict)
    model_tags: dict[str, dict[str, str]] = field(default_factory=dict)
    metrics: dict[str, dict[str, float]] = field(default_factory=dict)
    """By run."""
    experiments: dict[str, str] = field(default_factory=dict)
    """The identifiers, by name."""
    page: int = 1000
    """How many runs are told at once."""
    runs: list[dict[str, Any]] = field(default_factory=list)
    """Each with the experiment's identifier, its own, status and tags."""
    artifacts: dict[str, str] = field(default_factory=dict)
    """By their paths."""
    writes: list[str] = field(default_factory=list)
    dies_after: int | None = None
    """Writes that are still carried out; every later request finds nobody."""
    answers_with: tuple[int, str] | None = None
    """Instead of all else: a status and a page."""
    denies: str = ""
    """The path that the operator may not use."""
    artifact_roots: dict[str, str] | None = None
    """By run: where a version's weights must lie, as MLflow demands; None spares the tests of all else their runs."""
    meets: threading.Barrier | None = None
    """Where those who have read a model wait for each other, so that none writes before the others have read."""
    before_create: list[dict[str, Any]] = field(default_factory=list)
    """Versions that somebody else makes just before the next one is made."""

    def add(self, name: str, *, run_id: str = "", tags: dict[str, str] | None = None, source: str = "s") -> str:
        """Make a version; return its number."""
        self.models.add(name)
        number = str(max([int(v["version"]) for v in self.versions if v["name"] == name], default=0) + 1)
        made = {"name": name, "version": number, "source": source, "run_id": run_id, "status": "READY"}
        self.versions.append({**made, "tags": dict(tags or {})})
        return number

    def tags(self, name: str, version: str) -> dict[str, str]:
        """The tags of a version."""
        found: dict[str, str] = self._find(name, version)["tags"]
        return found

    def is_gone(self, method: str) -> bool:
        """Whether this request finds nobody; counts it otherwise."""
        return self.dies_after is not None and (
            len(self.writes) > self.dies_after or (method in _WRITES and len(self.writes) == self.dies_after)
        )

    def answer(self, method: str, path: str, asked: dict[str, Any]) -> dict[str, Any]:
        """Carry out one request."""
        if path == self.denies:
            raise _RefusalError("PERMISSION_DENIED", "no")
        if method not in _WRITES or path in _SEARCHES:
            return self._read(path, asked)
        self.writes.append(f"{method} {path}")
        if method == "PUT":
            self.artifacts[path.removeprefix(_ARTIFACTS)] = asked["content"]
            return {}
        return self._write(method, path, asked)

    def _read(self, path: str, asked: dict[str, Any]) -> dict[str, Any]:
        match path:
            case "registered-models/get":
                shown = self._shown_model(asked["name"])
                self._wait_for_others()
                return {"registered_model": shown}
            case "registered-models/alias":
                return {"model_version": self._shown(self._at(asked["name"], asked["alias"]))}
            case "model-versions/get":
                return {"model_version": self._shown(self._find(asked["name"], asked["version"]))}
            case "model-versions/search":
                found = [self._shown(v) for v in reversed(self.versions) if _matches(v, asked["filter"])]
                return {"model_versions": found[: int(asked.get("max_results", 1000))]}
            case "experiments/get-by-name":
                return {"experiment": self._shown_experiment(asked["experiment_name"])}
            case "experiments/search" | "runs/search":
                return self._found(path, asked)
            case "runs/get":
                metrics = self.metrics.get(asked["run_id"], {}).items()
                found = [{"key": key, "value": value} for key, value in metrics]
                infos = [_shown_run(run)["info"] for run in self.runs if run["run_id"] == asked["run_id"]]
                info = infos[0] if infos else {"run_id": asked["run_id"]}
                return {"run": {"info": info, "data": {"metrics": found}}}
            case _:
                raise _RefusalError("ENDPOINT_NOT_FOUND", path)

    def _wait_for_others(self) -> None:
        if self.meets:
            with suppress(threading.BrokenBarrierError):  # nobody else came: then nobody waits any more
                self.meets.wait()

    def _found(self, path: str, asked: dict[str, Any]) -> dict[str, Any]:
        if path == "experiments/search":
            return _page("experiments", [self._shown_experiment(name) for name in self.experiments], asked, 1)
        return _page("runs", [_shown_run(run) for run in self.runs if _is_asked_for(run, asked)], asked, self.page)

    def _write(self, method: str, path: str, asked: dict[str, Any]) -> dict[str, Any]:
        match method, path:
            case "POST", "registered-models/create":
                return self._create_model(asked["name"])
            case "POST", "experiments/create" | "runs/create" | "runs/set-tag" | "runs/update":
                return self._make_run(path, asked) if path.endswith("create") else self._write_run(asked)
            case "POST", "registered-models/alias":
                self._find(asked["name"], asked["version"])
                self.aliases[asked["name"], asked["alias"]] = asked["version"]
            case "POST", "registered-models/set-tag":
                self.model_tags.setdefault(asked["name"], {})[asked["key"]] = asked["value"]
            case "POST", "model-versions/create":
                return self._create_version(asked)
            case "POST", "model-versions/set-tag":
                self._find(asked["name"], asked["version"])["tags"][asked["key"]] = asked["value"]
            case "DELETE", "model-versions/delete":
                self.versions.remove(self._find(asked["name"], asked["version"]))
            case _:
                raise _RefusalError("ENDPOINT_NOT_FOUND", f"{method} {path}")
        return {}

    def _make_run(self, path: str, asked: dict[str, Any]) -> dict[str, Any]:
        """Or an experiment. MLflow's client remembers by a run's name where its artifacts are, so none comes twice."""
        if path == "experiments/create":
            self.experiments[asked["name"]] = str(len(self.experiments) + 1)
            return {"experiment_id": self.experiments[asked["name"]]}
        tags = {tag["key"]: tag["value"] for tag in asked.get("tags", ())}
        self.runs.append(
            {"experiment_id": asked["experiment_id"], "run_id": uuid4().hex, "status": "RUNNING", "tags": tags}
        )
        return {"run": _shown_run(self.runs[-1])}

    def _write_run(self, asked: dict[str, Any]) -> dict[str, Any]:
        run = self._run(asked["run_id"])
        if "key" in asked:
            run["tags"][asked["key"]] = asked["value"]
            return {}
        run["status"] = asked["status"]
        return {"run_info": _shown_run(run)["info"]}

    def _create_model(self, name: str) -> dict[str, Any]:
        if name in self.models:
            raise _RefusalError("RESOURCE_ALREADY_EXISTS", f"Registered Model (name={name}) already exists.")
        self.models.add(name)
        return {"registered_model": {"name": name}}

    def _create_version(self, asked: dict[str, Any]) -> dict[str, Any]:
        if asked["source"].startswith(("http://", "https://")):
            raise _RefusalError(
                "INVALID_PARAMETER_VALUE",
                "'source' cannot use the 'http' scheme: the 'http' scheme addresses a host other than the tracking "
                "server's configured artifact storage",
            )
        root = (self.artifact_roots or {}).get(asked.get("run_id", ""))
        if self.artifact_roots is not None and (root is None or not asked["source"].startswith(f"{root}/")):
            raise _RefusalError(
                "INVALID_PARAMETER_VALUE",
                f"Invalid model version source: '{asked['source']}'. The run_id request parameter must identify the "
                "resource that contains the source.",
            )
        while self.before_create:
            self.add(**self.before_create.pop())
        tags = {tag["key"]: tag["value"] for tag in asked.get("tags", ())}
        self.add(asked["name"], run_id=asked.get("run_id", ""), tags=tags, source=asked["source"])
        return {"model_version": self._shown(self.versions[-1])}

    def _find(self, name: str, version: str) -> dict[str, Any]:
        for found in self.versions:
            if (found["name"], found["version"]) == (name, version):
                return found
        raise _RefusalError("RESOURCE_DOES_NOT_EXIST", f"Model Version (name={name}, version={version}) not found")

    def _run(self, run_id: str) -> dict[str, Any]:
        return next(run for run in self.runs if run["run_id"] == run_id)

    def _shown_experiment(self, name: str) -> dict[str, Any]:
        if name not in self.experiments:
            raise _RefusalError("RESOURCE_DOES_NOT_EXIST", f"Could not find experiment with name '{name}'")
        return {"experiment_id": self.experiments[name], "name": name, "lifecycle_stage": "active"}

    def _at(self, name: str, alias: str) -> dict[str, Any]:
        if name not in self.models:
            raise _RefusalError("RESOURCE_DOES_NOT_EXIST", f"Registered Model with name={name} not found")
        if (name, alias) not in self.aliases:
            raise _RefusalError("INVALID_PARAMETER_VALUE", f"Registered model alias {alias} not found.")
        return self._find(name, self.aliases[name, alias])

    def _shown_model(self, name: str) -> dict[str, Any]:
        if name not in self.models:
            raise _RefusalError("RESOURCE_DOES_NOT_EXIST", f"Registered Model with name={name} not found")
        aliases = [{"alias": alias, "version": number} for (of, alias), number in self.aliases.items() if of == name]
        tags = [{"key": key, "value": value} for key, value in self.model_tags.get(name, {}).items()]
        return {"name": name, "aliases": aliases, "tags": tags}

    def _shown(self, version: dict[str, Any]) -> dict[str, Any]:
        held = (version["name"], version["version"])
        aliases = [alias for (name, alias), number in self.aliases.items() if (name, number) == held]
        tags = [{"key": key, "value": value} for key, value in version["tags"].items()]
        return {**version, "tags": tags, "aliases": aliases}


def _matches(version: dict[str, Any], text: str) -> bool:
    """Whether a version fits `name = 'a' and run_id = 'b' and tags.`c` = 'd'`."""
    return all(
        (version["tags"].get(key.strip("`")) if where else version[key]) == value
        for where, key, value in re.findall(r"(tags\.)?(`[^`]+`|\w+) = '([^']*)'", text)
    )


def _page(name: str, found: list[dict[str, Any]], asked: dict[str, Any], most: int) -> dict[str, Any]:
    start = int(asked.get("page_token") or 0)
    more = {"next_page_token": str(start + most)} if len(found) > start + most else {}
    return {name: found[start : start + most], **more}


def _is_asked_for(run: dict[str, Any], asked: dict[str, Any]) -> bool:
    wanted = re.findall(r"tags\.`([^`]+)` = '([^']*)'", asked["filter"])
    statuses = re.findall(r"attributes\.status = '(\w+)'", asked["filter"])
    return (
        run["experiment_id"] in asked["experiment_ids"]
        and all(run["status"] == status for status in statuses)
        and all(run["tags"].get(key) == value for key, value in wanted)
    )


def _shown_run(run: dict[str, Any]) -> dict[str, Any]:
    tags = [{"key": key, "value": value} for key, value in run["tags"].items()]
    info = {name: run[name] for name in ("run_id", "experiment_id", "status")} | {"lifecycle_stage": "active"}
    info["artifact_uri"] = f"mlflow-artifacts:/{run['experiment_id']}/{run['run_id']}/artifacts"
    return {"info": info, "data": {"tags": tags}}


@contextmanager
def mlflow_server() -> Iterator[MlflowServer]:
    """Serve an empty registry."""
    state = MlflowServer()

    class Handler(BaseHTTPRequestHandler):
        def _handle(self) -> None:
            url = urlsplit(self.path)
            content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            body = {"content": content.decode()} if self.command == "PUT" else loads(content or "{}")
            if state.answers_with:
                self._send(*state.answers_with)
            elif not state.is_gone(self.command):
                try:
                    answer = state.answer(
                        self.command, url.path.removeprefix(_PREFIX), {**dict(parse_qsl(url.query)), **body}
                    )
                except _RefusalError as refusal:
                    self._send(400, dumps({"error_code": refusal.code, "message": str(refusal)}))
                else:
                    self._send(200, dumps(answer))

        def _send(self, status: int, page: str) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(page.encode())))
            self.end_headers()
            self.wfile.write(page.encode())

        do_GET = do_POST = do_PUT = do_DELETE = _handle  # noqa: N815 - names that the base class asks for

        @override
        def log_message(self, format: str, *args: Any) -> None:
            pass

    with serving(Handler, 0.01) as server:
        state.url = f"http://127.0.0.1:{server.server_port}"
        yield state
