"""The job's run in MLflow, reached through a spool: a tracker that is slow or away never holds up a training step.

Everything is a line in `workspace/tracking/spool.jsonl` first: the parameters when training begins, metrics as they
come, and how the training goes (it is at work, it failed, it was asked to end). A thread sends what is new; `sent` says
how far it came. What could not be sent is replayed by whoever opens the spool next. A line may be sent twice when a
kill falls between sending and noting it: a point carries its own time, and MLflow keeps one of two equal ones.
"""

import json
import os
import threading
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from .log import log_event
from .plan import FAILURE_TAG, INSTALLATION_TAG, JOB_TAG, JOB_UID_TAG, Plan
from .unreachable import why
from .workspace import tracking_folder

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

__all__ = ["RunStatus", "Spool", "job_run"]

RunStatus = Literal["RUNNING", "FAILED", "KILLED"]
"""MLflow's words; a run is KILLED while its training was asked to end, and RUNNING when that goes on."""
_BATCH_LINES = 500
_MAX_PARAMETER_CHARACTERS = 6000
"""Characters that MLflow takes for one parameter."""
_PAUSE_SECONDS = 2.0


def job_run(client: "MlflowClient", plan: Plan) -> "Run":
    """Find the job's run by its uid, or make it: however often a stage is killed, there is one."""
    experiment = client.get_experiment_by_name(plan.tracking.experiment)
    identifier = experiment.experiment_id if experiment else client.create_experiment(plan.tracking.experiment)
    found = client.search_runs([identifier], f"tags.`{JOB_UID_TAG}` = '{plan.job.uid}'", max_results=1)
    if found:
        return found[0]
    job = {JOB_UID_TAG: plan.job.uid, JOB_TAG: f"{plan.job.namespace}/{plan.job.name}"}
    job |= {INSTALLATION_TAG: plan.tracking.installation} if plan.tracking.installation else {}
    return client.create_run(identifier, run_name=plan.job.name, tags={**plan.tracking.tags, **job})


class Spool:
    """Metrics on their way to MLflow. One process writes; after `start` a thread sends."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        folder = tracking_folder(plan)
        folder.mkdir(parents=True, exist_ok=True)
        self._file, self._sent = folder / "spool.jsonl", folder / "sent"
        self._drop_half_line()
        self._written = self._noted()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def add(self, step: int, metrics: Mapping[str, float]) -> None:
        """Note metrics of a step; those that an earlier attempt noted for the same step stay as they are."""
        self._note({"step": step, "time": int(time.time() * 1000)}, "metrics", step, metrics)

    def add_parameters(self, parameters: Mapping[str, object]) -> None:
        """Note what the run is made of; MLflow lets no parameter change, so what was noted stays as it is."""
        told = {name: str(value) for name, value in parameters.items() if value is not None}
        self._note({}, "parameters", None, {name: text[:_MAX_PARAMETER_CHARACTERS] for name, text in told.items()})

    def add_status(self, status: RunStatus) -> None:
        """Note how the training goes."""
        self._write({"status": status})

    def _note(self, line: dict[str, Any], kind: str, step: int | None, values: Mapping[str, Any]) -> None:
        new = {name: value for name, value in values.items() if (step, name) not in self._written}
        if new:
            self._written |= {(step, name) for name in new}
            self._write({**line, kind: new})

    def _write(self, line: dict[str, Any]) -> None:
        with self._file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def start(self) -> None:
        """Send from now on, in a thread that ends with the process."""
        self._thread = threading.Thread(target=self._send_all, name="mlflow", daemon=True)
        self._thread.start()

    def close(self, seconds: float) -> None:
        """Give the thread so long to send the rest; what is left waits on the volume."""
        self._stop.set()
        if self._thread:
            self._thread.join(seconds)

    def replay(self, client: "MlflowClient", run_id: str) -> None:
        """Send what has not been sent; raise MlflowException where MLflow does not take it."""
        while True:
            offset = int(self._sent.read_text()) if self._sent.exists() else 0
            lines, offset = self._read(offset)
            if not lines:
                return
            _send(client, run_id, lines)
            draft = self._sent.with_suffix(".draft")
            draft.write_text(str(offset))
            draft.rename(self._sent)

    def _read(self, offset: int) -> tuple[list[dict[str, Any]], int]:
        if not self._file.exists():
            return [], offset
        with self._file.open("rb") as file:
            file.seek(offset)
            lines: list[dict[str, Any]] = []
            while len(lines) < _BATCH_LINES and (line := file.readline()).endswith(b"\n"):
                lines.append(json.loads(line))
                offset += len(line)
        return lines, offset

    def _drop_half_line(self) -> None:
        if self._file.exists():
            content = self._file.read_bytes()
            self._file.write_bytes(content[: content.rfind(b"\n") + 1])

    def _noted(self) -> set[tuple[int | None, str]]:
        if not self._file.exists():
            return set()
        lines = map(json.loads, self._file.read_text(encoding="utf-8").splitlines())
        kinds = ("metrics", "parameters")
        return {(line.get("step"), name) for line in lines for kind in kinds for name in line.get(kind, ())}

    def _send_all(self) -> None:
        """Send until stopped, and once more; MLflow's own long retries are turned off, for this one never gives up."""
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
        from mlflow import MlflowClient

        run_id = ""
        while True:
            last = self._stop.is_set()
            try:
                client = MlflowClient(self._plan.tracking.uri)
                run_id = run_id or job_run(client, self._plan).info.run_id
                self.replay(client, run_id)
            except Exception as error:  # noqa: BLE001 - whatever it is must not end the training, and is tried again
                log_event("tracking", error=f"MLflow does not take the metrics yet: {why(error)}")
            if last:
                return
            self._stop.wait(_PAUSE_SECONDS)


def _send(client: "MlflowClient", run_id: str, lines: list[dict[str, Any]]) -> None:
    """Send what these lines say; of how the training goes the last word alone."""
    from mlflow.entities import Metric, Param

    points = [
        Metric(name, value, line["time"], line["step"])
        for line in lines
        for name, value in line.get("metrics", {}).items()
    ]
    parameters = [Param(name, value) for line in lines for name, value in line.get("parameters", {}).items()]
    if points or parameters:
        client.log_batch(run_id, metrics=points, params=parameters, synchronous=True)
    told = [line for line in lines if "status" in line]
    if told:
        _set_status(client, run_id, told[-1]["status"])


def _set_status(client: "MlflowClient", run_id: str, status: RunStatus) -> None:
    """What kind of failure it was, the operator tells once it is the job's."""
    run = client.get_run(run_id)
    if status != "FAILED" and FAILURE_TAG in run.data.tags:
        client.delete_tag(run_id, FAILURE_TAG)
    if status == "RUNNING" and run.info.status != status:
        client.update_run(run_id, status)
    elif status != "RUNNING":
        client.set_terminated(run_id, status)
