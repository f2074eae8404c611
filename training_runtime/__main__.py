"""The command line: `python -m training_runtime prepare|train|evaluate|publish --plan plan.json`.

Where vLLM answers evaluation's questions, the steps `ask` and, in the server's image, `answer` go before `evaluate`.
A stage that finds its own finished result on the volume hands that back, so it may be run again after any kill.
The result, or the reason of a failure, goes to stdout and to the pod's termination message, which outlives the pod's
log and needs no permission to write.
"""

import argparse
import errno
import json
import os
import signal
import sys
import traceback
from pathlib import Path
from types import FrameType
from typing import Literal, get_args

from pydantic import BaseModel, ValidationError

from .errors import PlanError, PreemptedError, StageError
from .log import begin_stage, log_event, take_over_output
from .plan import ANSWERING_STEPS, AnsweringStep, Engine, ExitCode, Failed, Plan, Stage
from .usage import usage_told

__all__ = ["main"]

_TERMINATION_LOG = Path("/dev/termination-log")
_MAX_MESSAGE_CHARACTERS = 1200


def main(arguments: list[str] | None = None) -> int:
    """Run one stage; return the exit code that tells how it ended."""
    parser = argparse.ArgumentParser(prog="python -m training_runtime", description="One stage of a FineTuneJob.")
    parser.add_argument("stage", choices=(*get_args(Stage), *ANSWERING_STEPS))
    parser.add_argument("--plan", type=Path, required=True, help="the plan, a JSON file")
    parser.add_argument("--profile", action="store_true", help="train: write a trace to WORKSPACE/profile")
    parser.add_argument("--engine", choices=get_args(Engine), help="evaluate: who answers, where the plan says Auto")
    options = parser.parse_args(arguments)
    begin_stage(options.stage)
    try:
        with usage_told():
            result = _run(options, _read(options.plan))
    except StageError as error:
        _hand_back(Failed(error=type(error).__name__, message=str(error)[:_MAX_MESSAGE_CHARACTERS]))
        return error.exit_code
    except Exception as error:  # noqa: BLE001 - whatever it is, the operator must hear of it
        log_event("traceback", text=traceback.format_exc())
        _hand_back(Failed(error=type(error).__name__[:64], message=_told(error)[:_MAX_MESSAGE_CHARACTERS]))
        return ExitCode.INTERNAL
    _hand_back(result)
    return ExitCode.DONE


def _told(error: Exception) -> str:
    """The libraries write through Rust and C++, so a full volume has no one type: it is known by the system's words."""
    if os.strerror(errno.ENOSPC) in str(error):
        return f"the volume is full: raise storage.template.size, or lower training.keepCheckpoints ({error})"
    return str(error) or "no message"


def _read(path: Path) -> Plan:
    try:
        return Plan.model_validate_json(path.read_bytes())
    except OSError as error:
        raise PlanError(f"the plan {path} cannot be read: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"]))
        raise PlanError(f"the plan's field {field} is wrong: {first['msg']}") from error


def _run(options: argparse.Namespace, plan: Plan) -> BaseModel:
    """Import what the stage needs, which takes seconds, and nothing else."""
    plan.workspace.mkdir(parents=True, exist_ok=True)
    stage: Stage | AnsweringStep = options.stage
    if stage == "prepare":
        from .prepare.stage import prepare

        return prepare(plan)
    if stage == "train":
        from .train.stage import train

        return train(plan, profile=options.profile)
    if stage == "publish":
        from .publish.stage import publish

        return publish(plan)
    return _evaluated(stage, plan, options.engine)


def _evaluated(step: Literal["evaluate", "ask", "answer"], plan: Plan, engine: Engine | None) -> BaseModel:
    if step == "answer":
        from .evaluate.engine import answer

        return answer(plan)
    if step == "ask":
        from .evaluate.answering import ask

        return ask(plan)
    from .evaluate.stage import evaluate

    return evaluate(plan, engine)


def _hand_back(result: BaseModel) -> None:
    content = result.model_dump(mode="json")
    log_event("failed" if isinstance(result, Failed) else "done", **content)
    if _TERMINATION_LOG.exists():
        _TERMINATION_LOG.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")


def _end(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - the signature of a handler
    """The first process of a container has no handler of its own, so SIGTERM would do nothing."""
    raise PreemptedError("asked to end: what is committed stays, running again does the rest")


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _end)
    take_over_output()
    sys.exit(main())
