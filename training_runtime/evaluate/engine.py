"""The answer step: each model answers what the ask step wrote, by vLLM, one after the other.

It runs in the server's image, which has vLLM and our wheel: nothing that it imports may need the trainer's libraries.
"""

import json
import os
import re
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from threading import Thread

from training_runtime.committed import committing, file_digest, verified_digest
from training_runtime.errors import DataError, GpuMemoryError, PlanError, PreemptedError, StageError
from training_runtime.log import log_event, pass_on
from training_runtime.plan import Answers, ExitCode, Plan
from training_runtime.workspace import answers_folder, model_folder, questions_folder

from .generation import REFUSED
from .questions import (
    ANSWERS_FILE,
    QUESTIONS_FILE,
    answers_are_there,
    asked_models,
    declined,
    row_sets,
    set_answers_facts,
)

__all__ = ["Output", "answer", "failure"]

_MEMORY = re.compile(
    r"OutOfMemoryError|CUDA out of memory|No available memory for the cache blocks|larger than the available KV cache"
    r"|Free memory on device"
)
_ERROR = re.compile(r"\b\w+(?:Error|Exception): ")
_ROOT_CAUSE_ABOVE = re.compile(
    r"Engine core initialization failed|EngineDeadError|See (?:the )?(?:root cause|stack trace)"
)
_LINES = 200
_SHOWN_CHARACTERS = 400


class Output:
    """What the engine says, passed on to the log; of it the lines that tell why it failed."""

    def __init__(self) -> None:
        self._last: deque[str] = deque(maxlen=_LINES)
        self.memory = ""
        """The first line that says that memory is wanting."""

    def read(self, lines: Iterable[str]) -> None:
        """Read until the engine has said all."""
        for line in lines:
            pass_on([line])
            self._last.append(line.strip())
            if not self.memory and _MEMORY.search(line):
                self.memory = line.strip()

    @property
    def refused(self) -> str:
        """What the engine was asked for and cannot do."""
        found = (line.removeprefix(REFUSED) for line in self._last if line.startswith(REFUSED))
        return next(found, "what is asked is beyond vLLM")

    @property
    def cause(self) -> str:
        """The last error that does not point at another one."""
        found = [(line, _ERROR.search(line)) for line in self._last if not _ROOT_CAUSE_ABOVE.search(line)]
        errors = [line[error.start() :] for line, error in found if error]
        return (errors or list(self._last) or ["it said nothing"])[-1][:_SHOWN_CHARACTERS]


def answer(plan: Plan) -> Answers:
    """Have every model answer, but for what an earlier run has had answered."""
    questions = questions_folder(plan)
    if not verified_digest(questions):
        raise DataError("there are no questions on the volume: run the ask step first")
    digest = file_digest(questions / QUESTIONS_FILE)
    for name, model in asked_models(plan).items():
        if not answers_are_there(plan, name, digest):
            _have_answered(plan, name, model, digest)
    count = sum(len(one["ids"]) for one in json.loads((questions / QUESTIONS_FILE).read_bytes())["sets"])
    return Answers(answers={name: 0 if declined(plan, name) else count for name in asked_models(plan)})


def _have_answered(plan: Plan, name: str, model: Path, digest: str) -> None:
    """Where nobody asked for vLLM by name, what it cannot do is left to transformers."""
    is_needed = plan.evaluation.engine != "Auto" or any(one.constrained for one in row_sets(plan))
    with committing(answers_folder(plan, name)) as draft:
        try:
            _generate(plan, model, draft / ANSWERS_FILE)
        except PreemptedError:
            raise
        except StageError as error:
            if is_needed:
                raise
            log_event("warning", message=f"vLLM does not answer for the {name} model, transformers will: {error}")
            set_answers_facts(draft, digest, model, str(error))
        else:
            set_answers_facts(draft, digest, model)
            log_event("answered", model=name, engine="VLLM")


def _generate(plan: Plan, model: Path, answers: Path) -> None:
    questions = questions_folder(plan) / QUESTIONS_FILE
    command = [sys.executable, "-m", "training_runtime.evaluate.generation", "--model", str(model)]
    # The trained model's tokenizer has the prompt's end mark, by which a constrained answer may end.
    command += ["--tokenizer", str(model_folder(plan)), "--questions", str(questions), "--answers", str(answers)]
    command += ["--trust-remote-code"] if plan.base.trust_remote_code else []
    output = Output()
    code = _run(command, output)
    if code != ExitCode.DONE:
        raise failure(code, output)


def _run(command: list[str], output: Output) -> int:
    """Run it in a group of its own, of which nothing is left when this returns or is interrupted."""
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", start_new_session=True
    )
    reader = Thread(target=output.read, args=(process.stdout,), name="engine", daemon=True)
    try:
        reader.start()
        return process.wait()
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if reader.ident:
            reader.join()


def failure(code: int, output: Output) -> StageError:
    """Return why the engine failed, as what it is: the GPU's memory, what was asked, or anything else."""
    if output.memory:
        return GpuMemoryError(
            "the memory does not hold the model and its cache: have the stage run on larger GPUs, or more of them "
            f"(stages.evaluate.resources), or lower evaluation.maxNewTokens ({output.memory[-_SHOWN_CHARACTERS:]})"
        )
    if code == ExitCode.BAD_PLAN:
        return PlanError(output.refused)
    if code == -signal.SIGKILL:
        return StageError(
            "vLLM was killed, most likely for want of memory: raise stages.evaluate.resources.requests.memory"
        )
    return StageError(f"vLLM ended with exit code {code}: {output.cause}")
