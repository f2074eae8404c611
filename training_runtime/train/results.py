"""What a person compares runs by: the settings, the numbers and the machine of a finished training."""

import json
import resource
import time
from typing import TYPE_CHECKING, Any

from training_runtime.plan import Plan
from training_runtime.prepared import dataset_facts
from training_runtime.workspace import history_file, results_file

from .arguments import precision
from .device import device_metrics
from .model import parameter_counts
from .strategy import Strategy

if TYPE_CHECKING:
    from trl import SFTTrainer

__all__ = ["run_parameters", "run_settings", "write_results"]

_KIB_PER_GIB = 2**20


def write_results(plan: Plan, strategy: Strategy, trainer: "SFTTrainer", best: int, seconds: float) -> None:
    """Write every logged number by its step, and the results; `best` is the step whose weights were kept."""
    log = trainer.state.log_history
    history_file(plan).write_text(json.dumps(log))
    results = {**run_settings(plan, strategy, trainer), **_outcome(trainer, log, best, seconds)}
    results_file(plan).write_text(json.dumps(results, indent=1, ensure_ascii=False))


def run_settings(plan: Plan, strategy: Strategy, trainer: "SFTTrainer") -> dict[str, Any]:
    """Return what is known when the training begins; `weights` is the precision of the finished model."""
    import torch

    trained, parameters = parameter_counts(trainer.accelerator.unwrap_model(trainer.model))
    return {
        "job": plan.job.name,
        "model": plan.base.uri,
        "method": _method(plan),
        "strategy": strategy,
        "processes": trainer.accelerator.num_processes,
        "precision": precision(plan),
        "weights": precision(plan),
        "parameters": parameters,
        "trained_parameters": trained,
        "dataset": dataset_facts(plan)["numbers"]["digest"],
        "settings": plan.training.model_dump(mode="json"),
        "torch": torch.__version__,
    }


def run_parameters(plan: Plan, strategy: Strategy, trainer: "SFTTrainer") -> dict[str, object]:
    """Return the same, flat, as MLflow shows runs beside each other."""
    settings = run_settings(plan, strategy, trainer)
    told = ("method", "strategy", "processes", "precision", "weights", "parameters", "trained_parameters")
    return {
        **settings["settings"],
        **(plan.lora.model_dump(mode="json") if plan.lora else {}),
        **{name: settings[name] for name in told},
        "base": plan.base.uri,
        "base_digest": plan.base.digest,
        "dataset_digest": settings["dataset"],
    }


def _outcome(trainer: "SFTTrainer", log: list[dict[str, Any]], best: int, seconds: float) -> dict[str, Any]:
    def last(name: str) -> Any:  # noqa: ANN401 - whatever the log holds
        return next((entry[name] for entry in reversed(log) if name in entry), None)

    return {
        "steps": trainer.state.global_step,
        "epochs": trainer.state.epoch,
        "best_step": best,
        "loss": last("loss"),
        "eval_loss": last("eval_loss"),
        "eval_perplexity": last("eval_perplexity"),
        "tokens": last("num_tokens"),
        "tokens_per_second": last("tokens_per_second"),
        "seconds_of_this_attempt": round(seconds, 1),
        "peak_memory_gib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / _KIB_PER_GIB, 2),
        **device_metrics(),
        "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def _method(plan: Plan) -> str:
    if plan.quantization:
        return f"QLoRA-{plan.quantization.bits}bit"
    return "LoRA" if plan.lora else "Full"
