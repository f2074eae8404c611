"""The model card: what the model is made from and how well it does, in the form that model hubs read."""

import json
from typing import Any

from training_runtime.plan import Plan

__all__ = ["model_card"]


def model_card(plan: Plan, data: dict[str, Any], results: dict[str, Any], evaluation: dict[str, Any]) -> str:
    """Return the card as Markdown with a YAML head; the arguments are what the stages left on the volume."""
    numbers = data["numbers"]
    head = {
        "license": plan.output.license or "other",
        "base_model": plan.base.uri,
        "library_name": "peft" if plan.lora else "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["anneal", results["method"]],
    }
    lines = ["---", *(f"{name}: {json.dumps(value, ensure_ascii=False)}" for name, value in head.items()), "---"]
    lines += [f"# {plan.model_name}", f"Made by the FineTuneJob {plan.job.namespace}/{plan.job.name}."]
    lines += _section("Base", {"source": plan.base.uri, "digest": plan.base.digest or "not given"})
    lines += _section(
        "Data",
        {
            name: numbers[name]
            for name in ("digest", "rows", "train", "validation", "test", "tokens", "duplicates_removed", "pii_found")
        },
    )
    course = ("steps", "loss", "eval_loss", "parameters", "trained_parameters")
    wanted = ("method", "strategy", "precision", "weights", *course)
    lines += _section("Training", {name: results[name] for name in wanted})
    lines += _section("Evaluation on held-out rows", _measured(evaluation, "metrics", "intervals"))
    if evaluation["base"]:
        lines += _section("The base on the same rows", _measured(evaluation, "base", "base_intervals"))
    return "\n".join(lines) + "\n"


def _measured(evaluation: dict[str, Any], metrics: str, intervals: str) -> dict[str, str]:
    found = evaluation[intervals]
    return {
        name: _told(value)
        + (f" ({_told(of['low'])} to {_told(of['high'])}, {of['rows']} rows)" if (of := found.get(name)) else "")
        for name, value in evaluation[metrics].items()
    }


def _section(title: str, facts: dict[str, Any]) -> list[str]:
    return [
        f"\n## {title}\n",
        "| | |",
        "| --- | --- |",
        *(f"| {name} | {_told(value)} |" for name, value in facts.items()),
    ]


def _told(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
