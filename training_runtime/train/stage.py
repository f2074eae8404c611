"""The train stage: in this process where the plan asks for one, else in as many as it asks for, by torchrun.

On several nodes each runs this stage; `JOB_COMPLETION_INDEX` tells a node which one it is, `MASTER_ADDR` and
`MASTER_PORT` where the first one listens.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil

from training_runtime import errors
from training_runtime.committed import verified_digest
from training_runtime.log import pass_on
from training_runtime.plan import RENDEZVOUS_PORT, Failed, Plan, Trained
from training_runtime.prepared import verified_dataset
from training_runtime.workspace import checkpoints_folder, history_file, model_folder

from .checkpoints import last_commit
from .worker import train_here

__all__ = ["train"]

_LAST_WORDS_SECONDS = 10.0
"""For what the processes said last; one that outlives the agent would keep the pipe open."""


def train(plan: Plan, *, profile: bool = False) -> Trained:
    """Train, or hand back what an earlier run trained; raise a StageError of what went wrong in any process."""
    if not verified_digest(model_folder(plan)):
        verified_dataset(plan)
        if plan.distributed.nodes * plan.distributed.processes_per_node == 1:
            train_here(plan, profile=profile)
        else:
            _by_torchrun(plan, profile=profile)
    history: list[dict[str, float]] = json.loads(history_file(plan).read_bytes())
    return Trained(
        step=int(history[-1]["step"]) if history else 0,
        loss=_last(history, "loss"),
        eval_loss=_last(history, "eval_loss"),
        committed_at=_committed_at(plan),
    )


def _committed_at(plan: Plan) -> str | None:
    committed = last_commit(checkpoints_folder(plan))
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(committed[1])) if committed else None


def _last(history: list[dict[str, float]], name: str) -> float | None:
    return next((entry[name] for entry in reversed(history) if name in entry), None)


def _by_torchrun(plan: Plan, *, profile: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path, failures = Path(folder) / "plan.json", Path(folder) / "failures"
        failures.mkdir()
        path.write_text(plan.model_dump_json())
        command = [*_torchrun(plan), "--plan", str(path), "--failures", str(failures), *(["--profile"] * profile)]
        environment = {"OMP_NUM_THREADS": str(_threads(plan)), **os.environ}
        agent = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
        )
        reader = threading.Thread(target=pass_on, args=(agent.stdout,), name="output", daemon=True)
        reader.start()
        asked = threading.Event()
        before = signal.signal(signal.SIGTERM, lambda *_: _ask_to_stop(agent, asked))
        try:
            code = agent.wait()
        finally:
            signal.signal(signal.SIGTERM, before)
        reader.join(_LAST_WORDS_SECONDS)
        if code:
            raise _first_failure(failures, asked_to_stop=asked.is_set())


def _threads(plan: Plan) -> int:
    """A process's share of the processors, where nothing says otherwise: an optimizer that is kept in the machine's
    memory needs them, and torchrun would give each process one.
    """
    return max(1, len(os.sched_getaffinity(0)) // plan.distributed.processes_per_node)


def _torchrun(plan: Plan) -> list[str]:
    """One try: what is tried again, and when, is Kubernetes' part."""
    nodes = plan.distributed.nodes
    place = ["--standalone"]
    if nodes > 1:
        address, port = os.environ.get("MASTER_ADDR", ""), os.environ.get("MASTER_PORT", str(RENDEZVOUS_PORT))
        if not address:
            raise errors.PlanError("several nodes need MASTER_ADDR, the address of the first one")
        place = [
            "--master-addr",
            address,
            "--master-port",
            port,
            "--node-rank",
            os.environ.get("JOB_COMPLETION_INDEX", "0"),
        ]
    each = ["--nproc-per-node", str(plan.distributed.processes_per_node), "--max-restarts", "0"]
    module = ["--module", "training_runtime.train.worker"]
    return [sys.executable, "-m", "torch.distributed.run", "--nnodes", str(nodes), *place, *each, *module]


def _ask_to_stop(agent: subprocess.Popen[str], asked: threading.Event) -> None:
    """Pass the request to the training processes; the agent must not hear it while it has some: it would end them."""
    asked.set()
    processes = psutil.Process(agent.pid).children()
    for process in processes:
        process.send_signal(signal.SIGUSR1)
    if not processes:  # it waits for the other nodes
        agent.terminate()


def _first_failure(folder: Path, *, asked_to_stop: bool) -> Exception:
    """The failure that came first: the others are its consequences."""
    found = sorted(folder.glob("*.json"), key=lambda path: path.stat().st_mtime_ns)
    if not found and asked_to_stop:
        return errors.PreemptedError("asked to end before its first step: the next run resumes from where it began")
    if not found:
        return RuntimeError("a training process ended without a word: its own log, above, has the reason")
    failed = Failed.model_validate_json(found[0].read_bytes())
    kind: type[errors.StageError] = getattr(errors, failed.error)
    return kind(failed.message)
