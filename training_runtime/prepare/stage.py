"""The prepare stage: read, render, mask, drop repetitions, split, count, report.

What it leaves in `workspace/data`: train, validation and test rows as JSON Lines (`prompt`, `completion`, both chat),
`prepared.json` with the numbers, `report.html`, and the manifest, written last. The digest of the rows depends only
on the input and the rules.
"""

import hashlib
import json
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from training_runtime.committed import committing, verified_digest
from training_runtime.errors import DataError
from training_runtime.plan import Plan, Prepared

from .base import base_folder, fetch_base, load_tokenizer, new_base
from .duplicates import without_duplicates
from .pii import find_and_mask
from .report import Found, render_report
from .rows import Example, Rejected, read_rows, render
from .split import Parts, split_rows

__all__ = ["data_folder", "prepare"]


def data_folder(plan: Plan) -> Path:
    """Where the prepared data lies on the volume."""
    return plan.workspace / "data"


def prepare(plan: Plan) -> Prepared:
    """Prepare the data, or hand back what an earlier run prepared; raise DataError where it cannot be used."""
    target = data_folder(plan)
    if verified_digest(target) and verified_digest(base_folder(plan)):
        return Prepared.model_validate_json((target / "prepared.json").read_bytes())
    examples, rejected = _read(plan)
    examples, pii = _masked(examples, plan.dataset.pii)
    kept = without_duplicates([example.text for example in examples], plan.dataset.duplicate_threshold)
    duplicates = len(examples) - len(kept)
    examples = [examples[position] for position in kept]
    if plan.model.initialize == "Random":
        new_base(plan, (example.text for example in examples))
    else:
        fetch_base(plan)
    lengths = _lengths(plan, examples)
    parts = split_rows([example.stratum for example in examples], plan.dataset.split)
    numbers = Prepared(
        rows=len(examples),
        rejected=len(rejected),
        duplicates_removed=duplicates,
        pii_found=pii.total(),
        tokens=sum(lengths),
        p99_tokens=sorted(lengths)[math.ceil(0.99 * len(lengths)) - 1],
        truncated_percent=_truncated(lengths, plan.training.max_sequence_length),
        **{name: len(positions) for name, positions in parts.items()},
        digest=_digest(examples, parts),
    )
    with committing(target) as draft:
        _write(draft, examples, parts)
        (draft / "prepared.json").write_text(numbers.model_dump_json())
        page = render_report(f"Data of {plan.job.name}", numbers, Found(examples, rejected, pii, lengths))
        (draft / "report.html").write_text(page, encoding="utf-8")
    return numbers


def _read(plan: Plan) -> tuple[list[Example], list[Rejected]]:
    examples: list[Example] = []
    rejected: list[Rejected] = []
    for row in read_rows(plan.dataset.path):
        outcome = (
            row if isinstance(row, Rejected) else render(row, plan.dataset.template, plan.dataset.split.stratify_by)
        )
        (rejected if isinstance(outcome, Rejected) else examples).append(outcome)  # type: ignore[arg-type]
    if not examples:
        reasons = "; ".join(f"line {row.line}: {row.reason}" for row in rejected[:10]) or "the file is empty"
        raise DataError(f"no row of {plan.dataset.path.name} can be used as {plan.dataset.template}: {reasons}")
    for row in rejected[:10]:
        print(f"rejected line {row.line}: {row.reason}")
    return examples, rejected


def _masked(examples: Iterable[Example], action: str) -> tuple[list[Example], Counter[str]]:
    total: Counter[str] = Counter()
    result = []
    for example in examples:
        if action == "Off":
            result.append(example)
            continue
        prompt = []
        for message in example.prompt:
            content, found = find_and_mask(message["content"])
            prompt.append({**message, "content": content})
            total += found
        completion, found = find_and_mask(example.completion)
        total += found
        result.append(replace(example, prompt=prompt, completion=completion) if action == "Mask" else example)
    return result, total


def _lengths(plan: Plan, examples: Iterable[Example]) -> list[int]:
    tokenizer = load_tokenizer(base_folder(plan))
    chats = [[*example.prompt, {"role": "assistant", "content": example.completion}] for example in examples]
    rendered = tokenizer.apply_chat_template(chats, tokenize=False)
    return [len(ids) for ids in tokenizer(rendered, add_special_tokens=False)["input_ids"]]


def _truncated(lengths: Sequence[int], limit: int) -> float:
    return round(100 * sum(length > limit for length in lengths) / len(lengths), 2)


def _lines(examples: Sequence[Example], positions: Iterable[int]) -> str:
    rows = (
        {"prompt": examples[i].prompt, "completion": [{"role": "assistant", "content": examples[i].completion}]}
        for i in positions
    )
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def _digest(examples: Sequence[Example], parts: Parts) -> str:
    content = json.dumps({name: _lines(examples, positions) for name, positions in sorted(parts.items())})
    return f"sha256:{hashlib.sha256(content.encode()).hexdigest()}"


def _write(draft: Path, examples: Sequence[Example], parts: Parts) -> None:
    for name, positions in parts.items():
        (draft / f"{name}.jsonl").write_text(_lines(examples, positions), encoding="utf-8")
