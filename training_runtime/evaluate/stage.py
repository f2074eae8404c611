"""The evaluate stage: base and tuned model are asked the same rows, and each suite judges both.

What it leaves in `workspace/evaluation`: `metrics.json`, `answers.jsonl` with both models' answers, `report.html`.
A new (Random) base knows nothing, so it is not asked.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import Any

from training_runtime.committed import committing, verified_digest
from training_runtime.errors import DataError
from training_runtime.page import page, preformatted, table
from training_runtime.plan import Evaluated, Plan, SuitePlan
from training_runtime.prepared import part_files, verified_dataset
from training_runtime.rows.blocks import rows_of
from training_runtime.rows.conversations import Rejected
from training_runtime.rows.formats import blocks, data_files
from training_runtime.rows.templates import Renderer, detected_template
from training_runtime.workspace import ANSWERS, METRICS, REPORT, base_folder, evaluation_folder, model_folder

from .answers import answers, load, losses
from .asking import Asking
from .harness import run_tasks
from .judge import judged
from .scores import Difference, Scores, difference
from .suites import Judgement, judge_answers

__all__ = ["evaluate"]

_SHOWN_ROWS = 20
_MAX_METRICS_BYTES = 3800
"""What a pod's termination message has room for; all metrics are in metrics.json."""


@dataclass
class _Asked:
    """Rows that were asked, and each model's answers to them."""

    conversations: list[list[dict[str, str]]]
    answers: dict[str, list[str]] = field(default_factory=dict)

    @property
    def expected(self) -> list[str]:
        return [messages[-1]["content"] for messages in self.conversations]

    @property
    def questions(self) -> list[str]:
        return ["\n".join(message["content"] for message in messages[:-1]) for messages in self.conversations]


def evaluate(plan: Plan) -> Evaluated:
    """Evaluate, or hand back what an earlier run measured."""
    target = evaluation_folder(plan)
    if not verified_digest(target):
        if not verified_digest(model_folder(plan)):
            raise DataError("there is no finished model on the volume: run the train stage first")
        _evaluate(plan, target)
    found = json.loads((target / METRICS).read_bytes())
    return Evaluated(metrics=_handed_back(found["metrics"]))


def _handed_back(metrics: dict[str, float]) -> dict[str, float]:
    sizes = accumulate(len(json.dumps({name: value})) for name, value in metrics.items())
    return {name: metrics[name] for name, size in zip(metrics, sizes, strict=True) if size <= _MAX_METRICS_BYTES}


def _models(plan: Plan) -> dict[str, Path]:
    models = {"tuned": model_folder(plan)}
    if plan.evaluation.compare_base and plan.base.initialize == "Pretrained":
        models["base"] = base_folder(plan)
    return models


def _evaluate(plan: Plan, target: Path) -> None:
    verified_dataset(plan)
    models = _models(plan)
    asked: dict[str, _Asked] = {"": _ask(plan, models, _test_rows(plan))}
    judgements: dict[str, list[Judgement]] = {name: [] for name in models}
    for suite in plan.evaluation.suites:
        key = "" if suite.type == "Harness" else suite.path or ""
        if key not in asked:
            asked[key] = _ask(plan, models, _own_rows(plan, Path(key)))
        for name, folder in models.items():
            judgements[name].append(_judge(plan, suite, asked[key], name, folder).named(suite.name))
    with committing(target) as draft:
        _write(plan, draft, asked, judgements)


def _ask(plan: Plan, models: dict[str, Path], conversations: list[list[dict[str, str]]]) -> _Asked:
    asked, asking, settings = _Asked(conversations), Asking(plan), plan.evaluation
    questions = [asking.question(messages[:-1]) for messages in conversations]
    for name, folder in models.items():
        found = answers(
            folder,
            questions,
            asking.ends,
            settings.max_new_tokens,
            seed=settings.seed,
            trust=plan.base.trust_remote_code,
        )
        asked.answers[name] = [asking.answer(*pair) for pair in zip(questions, found, strict=True)]
    return asked


def _test_rows(plan: Plan) -> list[list[dict[str, str]]]:
    """The first test rows; rows of plain text have no question, so only their loss is measured."""
    found = [json.loads(text) for text in _column(plan, "messages")]
    return [messages for messages in found if messages[-1]["role"] == "assistant"]


def _column(plan: Plan, name: str) -> list[Any]:
    from pyarrow.parquet import read_table

    found: list[Any] = []
    for path in part_files(plan, "test"):
        found += read_table(path, columns=[name])[name].to_pylist()
        if len(found) >= plan.evaluation.max_rows:
            break
    return found[: plan.evaluation.max_rows]


def _own_rows(plan: Plan, path: Path) -> list[list[dict[str, str]]]:
    """Rows of the user's own, read by the data's template; raise DataError for a row that does not fit."""
    if not path.exists():
        raise DataError(f"the evaluation file {path} is not there: check the suite's path")
    found: list[list[dict[str, str]]] = []
    render: Renderer | None = None
    for file in data_files(path):
        for block in blocks(file, "Auto"):
            for line, _, row in rows_of(block):
                wanted = plan.dataset.template
                render = render or Renderer(
                    plan.dataset, wanted if wanted != "Auto" else detected_template(row, plan.dataset.columns)
                )
                try:
                    found.append(render(row).messages)
                except Rejected as reason:
                    raise DataError(f"{file.name} line {line}: {reason}") from reason
    return found[: plan.evaluation.max_rows]


def _judge(plan: Plan, suite: SuitePlan, asked: _Asked, name: str, folder: Path) -> Judgement:
    settings, trust = plan.evaluation, plan.base.trust_remote_code
    if suite.type == "Harness":
        return Judgement(metrics=run_tasks(suite, folder, most=settings.max_rows, seed=settings.seed, trust=trust))
    if suite.type == "Perplexity":
        return Judgement({"perplexity": _perplexity(plan, folder)})
    if not asked.conversations:
        raise DataError(f"suite {suite.name} has no rows with an answer to ask for")
    if suite.type == "Judge":
        return Judgement({"judge_score": judged(suite, asked.questions, asked.answers[name], asked.expected)})
    return judge_answers(suite, asked.answers[name], asked.expected, plan.dataset.response_schema)


def _perplexity(plan: Plan, folder: Path) -> Scores:
    rows = list(zip(_column(plan, "input_ids"), _column(plan, "labels"), strict=True))
    model = load(folder, trust_remote_code=plan.base.trust_remote_code)
    found = list(losses(model, rows))
    return Scores([loss for loss, _ in found], [tokens for _, tokens in found], "exponential")


def _write(plan: Plan, draft: Path, asked: dict[str, _Asked], judgements: dict[str, list[Judgement]]) -> None:
    metrics = {name: _merged(found) for name, found in judgements.items()}
    differences = _differences(judgements, plan.evaluation.seed)
    classes = {label: values for one in judgements["tuned"] for label, values in one.classes.items()}
    content = {
        "metrics": metrics["tuned"],
        "base": metrics.get("base", {}),
        "differences": {name: asdict(found) for name, found in differences.items()},
        "classes": classes,
    }
    (draft / METRICS).write_text(json.dumps(content, indent=1, ensure_ascii=False), encoding="utf-8")
    with (draft / ANSWERS).open("w", encoding="utf-8") as file:
        for key, one in asked.items():
            file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in _lines(key, one))
    report = _report(plan, content, differences, judgements["tuned"], asked[""])
    (draft / REPORT).write_text(report, encoding="utf-8")


def _merged(found: Sequence[Judgement]) -> dict[str, float]:
    return {name: value for one in found for name, value in one.all_metrics().items()}


def _differences(judgements: dict[str, list[Judgement]], seed: int) -> dict[str, Difference]:
    return {
        name: difference(scores, base.scores[name], seed)
        for tuned, base in zip(judgements["tuned"], judgements.get("base", []), strict=False)
        for name, scores in tuned.scores.items()
    }


def _lines(key: str, asked: _Asked) -> list[dict[str, Any]]:
    return [
        {
            "file": key or "test",
            "messages": messages,
            **{f"{name}_answer": found[i] for name, found in asked.answers.items()},
        }
        for i, messages in enumerate(asked.conversations)
    ]


def _report(
    plan: Plan, content: dict[str, Any], differences: dict[str, Difference], found: list[Judgement], asked: _Asked
) -> str:
    def row(name: str, value: float) -> tuple[str, ...]:
        base, gap = content["base"].get(name), differences.get(name)
        told = f"{gap.value:+.4f} ({gap.low:+.4f} to {gap.high:+.4f})" if gap else ""
        return (name, f"{value:.4f}", "" if base is None else f"{base:.4f}", told)

    head = ("metric", "tuned", "base", "difference (95 % interval)")
    classes = [
        (label, *(f"{value:.4f}" if name != "support" else str(int(value)) for name, value in values.items()))
        for label, values in content["classes"].items()
    ]
    shown = [
        (question, expected, *(one[i] for one in asked.answers.values()))
        for i, (question, expected) in enumerate(zip(asked.questions, asked.expected, strict=True))
    ][:_SHOWN_ROWS]
    sections = [
        ("Metrics", table(head, [row(name, value) for name, value in content["metrics"].items()])),
        ("Labels", table(("label", "precision", "recall", "f1", "rows"), classes)),
        *(picture for one in found for picture in one.pictures),
        ("Answers", preformatted(("question", "expected", *asked.answers), shown)),
    ]
    return page(f"Evaluation of {plan.job.name}", sections)
