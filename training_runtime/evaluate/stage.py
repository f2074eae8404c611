"""The evaluate stage: base and tuned model are asked the same rows, and each suite judges both.

What it leaves in `workspace/evaluation`: `metrics.json`, `answers.jsonl` with both models' answers, `report.html`, and
`canary.json` with three of the questions, which goes with the weights.
A new (Random) base knows nothing, so it is not asked. Transformers answers here; where vLLM does, two steps before this
one, `ask` and `answer`, have left its answers on the volume.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from prompts.canary import CANARY_FILE
from training_runtime.committed import committing, verified_digest
from training_runtime.errors import DataError, GpuMemoryError
from training_runtime.plan import (
    Engine,
    Evaluated,
    MetricInterval,
    Plan,
    PromptPlan,
    ResponseDictionaryPlan,
    SuitePlan,
)
from training_runtime.rows.dictionary import dictionary_of, outside
from training_runtime.workspace import (
    ANSWERS,
    METRICS,
    REPORT,
    evaluation_folder,
    model_folder,
)

from .answering import answered
from .answers import load
from .asked import Asked, loss_rows
from .canary import canary
from .handover import handed_over
from .harness import run_tasks
from .judge import judged
from .losses import losses
from .questions import RowSet, asked_models, asked_rows
from .report import render_report
from .scores import Scores, difference
from .suites import Judgement, is_object, judge_answers

__all__ = ["evaluate"]


def evaluate(plan: Plan, engine: Engine | None = None) -> Evaluated:
    """Evaluate, or hand back what an earlier run measured; `engine` is for a plan that leaves it open."""
    target = evaluation_folder(plan)
    if not verified_digest(target):
        if not verified_digest(model_folder(plan)):
            raise DataError("there is no finished model on the volume: run the train stage first")
        _evaluate_within_memory(plan, target, engine or plan.evaluation.engine)
    found = json.loads((target / METRICS).read_bytes())
    intervals = {name: MetricInterval.model_validate(one) for name, one in found["intervals"].items()}
    told = handed_over(found["metrics"], intervals, plan.evaluation.gated)
    return told.model_copy(update={"engine": found.get("engine", "Transformers")})


def _evaluate_within_memory(plan: Plan, target: Path, engine: Engine) -> None:
    """The GPU's memory is as full the next time: running out of it is no reason to try again."""
    import torch

    try:
        _evaluate(plan, target, engine)
    except torch.OutOfMemoryError as error:
        raise GpuMemoryError(
            "the GPU's memory does not hold the evaluation: lower evaluation.maxNewTokens, or have the stage run on a "
            f"larger GPU (stages.evaluate.resources) ({' '.join(str(error).split())[:200]})"
        ) from error


def _evaluate(plan: Plan, target: Path, engine: Engine) -> None:
    models = asked_models(plan)
    asked, answered_by = answered(plan, models, engine)
    judgements: dict[str, list[Judgement]] = {name: [] for name in models}
    for suite in plan.evaluation.suites:
        for name, folder in models.items():
            judgements[name].append(_judge(plan, suite, asked, name, folder).named(suite.name))
    kept = canary(plan, asked.values(), models["tuned"])
    with committing(target) as draft:
        _write(plan, draft, asked, judgements, answered_by)
        if kept:
            (draft / CANARY_FILE).write_text(kept.model_dump_json(indent=1), encoding="utf-8")


def _judge(plan: Plan, suite: SuitePlan, answered: Mapping[RowSet, Asked], name: str, folder: Path) -> Judgement:
    settings, trust = plan.evaluation, plan.base.trust_remote_code
    if suite.type == "Harness":
        return run_tasks(suite, folder, most=settings.max_rows, seed=settings.seed, trust=trust)
    if suite.type == "Perplexity":
        return Judgement({"perplexity": _perplexity(plan, folder)})
    asked = answered[asked_rows(suite)]
    if not asked.conversations:
        raise DataError(f"suite {suite.name} has no rows with an answer to ask for")
    if suite.type == "Judge":
        return Judgement({"judge_score": judged(suite, asked.questions, asked.answers[name], asked.expected)})
    judgement = judge_answers(suite, asked.answers[name], asked.expected, plan.dataset.response_schema)
    if suite.type == "JSON" and (rule := plan.dataset.response_dictionary):
        judgement.scores["in_dictionary"] = _in_dictionary(rule, plan.dataset.prompt, asked, name)
    return judgement


def _in_dictionary(rule: ResponseDictionaryPlan, prompt: PromptPlan, asked: Asked, name: str) -> Scores:
    """An answer that is no JSON object keeps to nothing."""
    pairs = zip(asked.answers[name], asked.conversations, strict=True)
    return Scores.of(
        [
            float(is_object(answer) and not outside(rule, answer, dictionary_of(rule, prompt, messages)))
            for answer, messages in pairs
        ]
    )


def _perplexity(plan: Plan, folder: Path) -> Scores:
    rows = loss_rows(plan)
    if not rows:
        raise DataError("the test part has no rows to measure the perplexity of: give more rows, or a larger share")
    found = list(losses(load(folder, trust_remote_code=plan.base.trust_remote_code), rows))
    return Scores([loss for loss, _ in found], [tokens for _, tokens in found], "exponential")


def _write(
    plan: Plan,
    draft: Path,
    asked: Mapping[RowSet, Asked],
    judgements: dict[str, list[Judgement]],
    answered_by: Engine,
) -> None:
    seed, tuned, base = plan.evaluation.seed, judgements["tuned"], judgements.get("base", [])
    content = {
        "engine": answered_by,
        "metrics": _metrics(tuned),
        "intervals": _intervals(tuned, seed),
        "base": _metrics(base),
        "base_intervals": _intervals(base, seed),
        "differences": _differences(tuned, base, seed),
        "classes": {label: values for one in tuned for label, values in one.classes.items()},
    }
    (draft / METRICS).write_text(json.dumps(content, indent=1, ensure_ascii=False), encoding="utf-8")
    with (draft / ANSWERS).open("w", encoding="utf-8") as file:
        for rows, one in asked.items():
            file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in one.lines(rows))
    report = render_report(f"Evaluation of {plan.job.name}", content, tuned, next(iter(asked.values())))
    (draft / REPORT).write_text(report, encoding="utf-8")


def _metrics(found: Sequence[Judgement]) -> dict[str, float]:
    return {name: value for one in found for name, value in one.all_metrics().items()}


def _intervals(found: Sequence[Judgement], seed: int) -> dict[str, dict[str, Any]]:
    return {
        name: {**asdict(scores.interval(seed)), "rows": scores.count}
        for one in found
        for name, scores in one.scores.items()
    }


def _differences(tuned: Sequence[Judgement], base: Sequence[Judgement], seed: int) -> dict[str, dict[str, float]]:
    return {
        name: asdict(difference(scores, other.scores[name], seed))
        for one, other in zip(tuned, base, strict=False)
        for name, scores in one.scores.items()
    }
