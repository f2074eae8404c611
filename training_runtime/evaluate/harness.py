"""lm-evaluation-harness on tasks that lie in a folder: a YAML file per task, its data beside it."""

import gc
from pathlib import Path
from typing import TYPE_CHECKING, Any

from training_runtime.errors import PlanError
from training_runtime.plan import SuitePlan

from .sample import chosen, drawn_key
from .scores import Aggregate, Measured, Scores
from .suites import Judgement

if TYPE_CHECKING:
    from lm_eval.api.task import Task

__all__ = ["run_tasks"]

_BATCH_ROWS = 16
_ROUNDING = 1e-9


def run_tasks(suite: SuitePlan, model: Path, *, most: int, seed: int, trust: bool) -> Judgement:
    """Judge by `TASK.METRIC` for every task of the suite; raise PlanError where a task is not there."""
    import torch
    from lm_eval import simple_evaluate
    from lm_eval.tasks import TaskManager

    if not suite.path or not suite.tasks:
        raise PlanError("the harness suite needs `path`, a folder of task files, and `tasks`, their names")
    manager = TaskManager(include_path=suite.path, include_defaults=False)
    missing = sorted(set(suite.tasks) - set(manager.all_tasks))
    if missing:
        raise PlanError(f"{suite.path} has no task {', '.join(missing)}: there are {', '.join(manager.all_tasks)}")
    gc.collect()  # the model that was asked before may hold its memory still
    tasks: dict[str, Task] = manager.load(list(suite.tasks))["tasks"]
    found: dict[str, Any] = simple_evaluate(
        model="hf",
        model_args={"pretrained": str(model), "trust_remote_code": trust},
        tasks=list(suite.tasks),
        task_manager=manager,
        device="cuda" if torch.cuda.is_available() else "cpu",
        batch_size=_BATCH_ROWS,
        samples=_samples(tasks, most, seed),
        bootstrap_iters=0,
        random_seed=seed,
        numpy_random_seed=seed,
        torch_random_seed=seed,
        fewshot_random_seed=seed,
    )
    return _judgement(found, tasks)


def _samples(tasks: dict[str, "Task"], most: int, seed: int) -> dict[str, list[int]]:
    """Which rows of the larger tasks are asked: the harness would take the first."""
    counts = {name: len(task.eval_docs) for name, task in tasks.items()}
    return {
        name: sorted(chosen([""] * count, [drawn_key(seed, str(number)) for number in range(count)], most))
        for name, count in counts.items()
        if count > most
    }


def _judgement(found: dict[str, Any], tasks: dict[str, "Task"]) -> Judgement:
    judgement = Judgement()
    for name, values in found["results"].items():
        for key, value in values.items():
            metric, _, kind = key.partition(",")
            if not isinstance(value, (int, float)) or "stderr" in metric or metric in ("alias", "sample_len"):
                continue
            rows = [row[metric] for row in found["samples"].get(name, ()) if row["filter"] == kind and metric in row]
            if rows:
                judgement.scores[f"{name}.{metric}"] = _measured(tasks[name], metric, rows, float(value))
            else:  # a group's, which is made of its tasks'
                judgement.metrics[f"{name}.{metric}"] = float(value)
    return judgement


def _measured(task: "Task", metric: str, rows: list[Any], value: float) -> Measured:
    """The metric by its rows: a mean of theirs, or what the task's own function makes of them."""
    if all(isinstance(row, (int, float)) for row in rows) and abs(sum(rows) / len(rows) - value) < _ROUNDING:
        return Scores.of([float(row) for row in rows], (0.0, 1.0) if set(rows) <= {0, 1} else None)
    return Aggregate(rows, task.aggregation()[metric])
