"""lm-evaluation-harness on tasks that lie in a folder: a YAML file per task, its data beside it."""

from pathlib import Path
from typing import Any

from training_runtime.errors import PlanError
from training_runtime.plan import SuitePlan

__all__ = ["run_tasks"]

_BATCH_ROWS = 16


def run_tasks(suite: SuitePlan, model: Path, *, most: int, seed: int, trust: bool) -> dict[str, float]:
    """Return `TASK.METRIC` for every task of the suite; raise PlanError where a task is not there."""
    import torch
    from lm_eval import simple_evaluate
    from lm_eval.tasks import TaskManager

    if not suite.path or not suite.tasks:
        raise PlanError("the harness suite needs `path`, a folder of task files, and `tasks`, their names")
    manager = TaskManager(include_path=suite.path, include_defaults=False)
    missing = sorted(set(suite.tasks) - set(manager.all_tasks))
    if missing:
        raise PlanError(f"{suite.path} has no task {', '.join(missing)}: there are {', '.join(manager.all_tasks)}")
    found: dict[str, Any] = simple_evaluate(
        model="hf",
        model_args={"pretrained": str(model), "trust_remote_code": trust},
        tasks=list(suite.tasks),
        task_manager=manager,
        device="cuda" if torch.cuda.is_available() else "cpu",
        batch_size=_BATCH_ROWS,
        limit=most,
        bootstrap_iters=0,
        random_seed=seed,
        numpy_random_seed=seed,
        torch_random_seed=seed,
        fewshot_random_seed=seed,
    )
    return {
        f"{task}.{name.partition(',')[0]}": float(value)
        for task, values in found["results"].items()
        for name, value in values.items()
        if isinstance(value, (int, float)) and "stderr" not in name and name not in ("alias", "sample_len")
    }
