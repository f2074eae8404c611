"""The evaluate stage: the finished model answers the test rows greedily, and each suite judges the answers."""

import json
from pathlib import Path
from typing import Any

from training_runtime.committed import committing, verified_digest
from training_runtime.errors import DataError
from training_runtime.plan import Evaluated, Plan
from training_runtime.prepare.base import load_tokenizer
from training_runtime.prepare.stage import data_folder
from training_runtime.train.stage import model_folder

from .suites import judge

__all__ = ["evaluate", "evaluation_folder"]

_BATCH = 64


def evaluation_folder(plan: Plan) -> Path:
    """Where the metrics and answers lie on the volume."""
    return plan.workspace / "evaluation"


def evaluate(plan: Plan) -> Evaluated:
    """Evaluate, or hand back what an earlier run measured."""
    target = evaluation_folder(plan)
    if not verified_digest(target):
        if not verified_digest(model_folder(plan)):
            raise DataError("there is no finished model on the volume: run the train stage first")
        lines = (data_folder(plan) / "test.jsonl").read_text(encoding="utf-8").splitlines()
        rows = [json.loads(line) for line in lines[: plan.evaluation.max_rows]]
        answers = _answers(plan, [row["prompt"] for row in rows])
        expected = [row["completion"][0]["content"] for row in rows]
        metrics = {name: value for suite in plan.evaluation.suites for name, value in judge(suite, answers, expected)}
        with committing(target) as draft:
            (draft / "metrics.json").write_text(Evaluated(metrics=metrics).model_dump_json())
            _write_answers(draft / "answers.jsonl", rows, answers)
    return Evaluated.model_validate_json((target / "metrics.json").read_bytes())


def _write_answers(path: Path, rows: list[dict[str, Any]], answers: list[str]) -> None:
    pairs = zip(rows, answers, strict=True)
    path.write_text("".join(json.dumps({**row, "answer": answer}, ensure_ascii=False) + "\n" for row, answer in pairs))


def _answers(plan: Plan, prompts: list[list[dict[str, str]]]) -> list[str]:
    """Generate one greedy answer per prompt, in batches padded on the left."""
    import torch
    from transformers import AutoModelForCausalLM

    tokenizer = load_tokenizer(model_folder(plan))
    tokenizer.padding_side = "left"
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = AutoModelForCausalLM.from_pretrained(model_folder(plan)).to(device).eval()
    answers: list[str] = []
    for start in range(0, len(prompts), _BATCH):
        batch = tokenizer.apply_chat_template(
            prompts[start : start + _BATCH],
            add_generation_prompt=True,
            padding=True,
            return_dict=True,
            return_tensors="pt",
        ).to(device)
        with torch.inference_mode():
            output = model.generate(**batch, max_new_tokens=plan.evaluation.max_new_tokens, do_sample=False)
        answers += tokenizer.batch_decode(output[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)
        print(f"{len(answers)} of {len(prompts)} answered", flush=True)
    return answers
