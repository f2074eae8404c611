"""The prepare stage: from sources to tokens, in two passes over blocks of rows, with a report of what was found.

First pass: read, render, clean, judge, mask, sketch, onto a spool. Then repetitions are looked for and rows held out.
Second pass: tokens and labels, into shards. Both passes use every processor and keep few blocks in memory.

What it leaves in `workspace/data/KEY`: train, validation and test as Parquet shards (`input_ids`, `labels`, `messages`,
`label`, `group`), the chat template that wrote them, `rejects.jsonl` with every row that was left out and why,
`report.html`, and the manifest with the numbers, written last. KEY depends on the input and the rules alone, so the
same work is not done twice; the bytes of the shards depend on nothing else either. `workspace/data/current` names the
KEY that the plan asked for. Evaluation's own cases lie in `workspace/cases`.
"""

import hashlib
import json
import math
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from prompts import TEMPLATE_FILE
from training_runtime.committed import MANIFEST, committing, facts_of, file_digest, verified_digest
from training_runtime.deepspeed_settings import check_deepspeed
from training_runtime.errors import DataError
from training_runtime.log import log_event
from training_runtime.plan import DataFormat, Plan, Prepared
from training_runtime.prepared import Current, PreparedPrompt, current_dataset, set_current_dataset
from training_runtime.rows.blocks import Block, rows_of
from training_runtime.rows.formats import blocks, data_files
from training_runtime.rows.templates import detected_template
from training_runtime.sources import fetch, is_local
from training_runtime.workspace import PARTS, REJECTS, REPORT, base_folder, copies_folder, dataset_folder

from .asked import check_answers, check_suites
from .base import fetch_base, new_base
from .cases import prepare_cases
from .first_pass import FirstPass
from .fit import check_base, check_tokens
from .prompt import made_prompt
from .report import render_report
from .resume import take_checkpoint
from .second_pass import UNWRITABLE, SecondPass, Sharded, texts
from .spool import BAD, Spool, hold_out
from .workers import Pool, processors, workers

__all__ = ["prepare"]

_FORMAT_VERSION = 3
"""Raised when the same input and rules would give other bytes."""
_SINGLE_PROCESS_BYTES = 4 << 20
_SHOWN_ROWS = 10
"""Bad rows that are shown."""


class _File(NamedTuple):
    """A file of rows, and how to read it."""

    path: Path
    format: DataFormat


def prepare(plan: Plan) -> Prepared:
    """Prepare the data, or hand back what was prepared before; raise DataError where it cannot be used."""
    check_deepspeed(plan)
    prepared = _dataset(plan)
    prepare_cases(plan)
    check_answers(plan)
    return prepared


def _dataset(plan: Plan) -> Prepared:
    rules = _digest(plan.model_dump_json(include={"base", "dataset", "training", "workspace"}))
    current = current_dataset(plan)
    if current and current.rules == rules and verified_digest(base_folder(plan)):
        folder = dataset_folder(plan, current.key)
        if verified_digest(folder):
            return _prepared(plan, folder, check_base(plan))
    with _gathered(plan) as files:
        warnings: list[str] = []
        if plan.base.initialize == "Pretrained":
            fetch_base(plan)
            warnings = check_base(plan)
        key = _key(plan, files)
        folder = dataset_folder(plan, key)
        if not (verified_digest(folder) and verified_digest(base_folder(plan))):
            _prepare(plan, files, folder)
    set_current_dataset(plan, Current(key, rules))
    return _prepared(plan, folder, warnings)


def _prepared(plan: Plan, folder: Path, warnings: list[str]) -> Prepared:
    take_checkpoint(plan)
    return Prepared.model_validate({**facts_of(folder)["numbers"], "warnings": warnings})


@contextmanager
def _gathered(plan: Plan) -> Iterator[list[_File]]:
    """The data's files, in order; copies of what is far away are removed again, for they hold what is masked later."""
    copies = copies_folder(plan)
    shutil.rmtree(copies, ignore_errors=True)
    found: list[_File] = []
    for number, source in enumerate(plan.dataset.sources):
        if is_local(source.uri):
            path = Path(source.uri.removeprefix("file://"))
            if not path.exists():
                raise DataError(f"{source.uri} is not there: check dataset.sources")
        else:
            path = copies / str(number)
            fetch(source.uri, path, source.credentials)
        files = data_files(path)
        if not files:
            raise DataError(f"{source.uri} holds no files: check dataset.sources")
        found += [_File(file, source.format) for file in files]
    try:
        yield found
    finally:
        shutil.rmtree(copies, ignore_errors=True)


def _key(plan: Plan, files: Sequence[_File]) -> str:
    """The content address of the work: the input's bytes, the rules, the tokenizer."""
    new = plan.base.initialize == "Random"
    told = {
        "version": _FORMAT_VERSION,
        "files": [(file.path.name, file_digest(file.path), file.format) for file in files],
        "dataset": plan.dataset.model_dump(mode="json", exclude={"sources"}),
        "limit": plan.training.max_sequence_length,
        "answers_only": plan.training.assistant_only_loss,
        "base": file_digest(Path(plan.base.uri) / "config.json") if new else verified_digest(base_folder(plan)),
    }
    return _digest(json.dumps(told, sort_keys=True, ensure_ascii=False))[:32]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _prepare(plan: Plan, files: Sequence[_File], folder: Path) -> None:
    large = sum(file.path.stat().st_size for file in files) > _SINGLE_PROCESS_BYTES
    with committing(folder) as draft, workers(processors() if large else 1) as pool:
        files_of_spool = draft / ".spool"
        files_of_spool.mkdir()
        spool = _first_pass(plan, files, files_of_spool, pool)
        every = len(spool.strata) + len(spool.removed)
        hold_out(spool, plan.dataset, files_of_spool / "sketches")
        if plan.base.initialize == "Random":
            new_base(plan, texts(one.path for one in spool.blocks))
            check_base(plan)
        prompt = made_prompt(plan)
        sharded = list(pool.map(SecondPass(plan, draft, prompt.template), spool.portions()))
        spool.removed += [row for one in sharded for row in one.removed]
        lengths = [length for one in sharded for length in one.lengths]
        _check_rejected(plan, spool, every, [UNWRITABLE])
        _check_lengths(plan, spool, sharded, lengths)
        check_tokens(plan, max(one.highest for one in sharded))
        shutil.rmtree(files_of_spool)
        if prompt.template:
            (draft / TEMPLATE_FILE).write_text(prompt.template, encoding="utf-8")
        _write(plan, draft, _numbers(plan, draft, spool, sharded, sorted(lengths)), spool, lengths, prompt)


def _first_pass(plan: Plan, files: Sequence[_File], folder: Path, pool: Pool) -> Spool:
    stream = chain.from_iterable(blocks(file.path, file.format) for file in files)
    first = next(stream, Block("", 1))
    if (template := plan.dataset.template) == "Auto":
        template = detected_template(_any_row(first), plan.dataset.columns)
        log_event("template", detected=template)
    check_suites(plan, template)
    work = FirstPass(plan.dataset, template, folder, sketch=plan.dataset.duplicate_threshold is not None)
    spool = Spool()
    with (folder / "sketches").open("wb") as file:
        for one in pool.map(work, enumerate(chain([first], stream))):
            if one.sketches is not None:
                file.write(one.sketches.tobytes())
            spool.take(one)
    _check_rejected(plan, spool, len(spool.strata) + len(spool.removed), BAD)
    return spool


def _any_row(block: Block) -> dict[str, Any]:
    row = next((row for _, _, row in rows_of(block) if isinstance(row, dict)), None)
    if row is None:
        raise DataError("the data's first block holds no row that can be read: check dataset.sources[].format")
    return row


def _check_rejected(plan: Plan, spool: Spool, every: int, new: Sequence[str]) -> None:
    """Tell some of the bad rows of the new kinds; raise DataError where too many of all rows are bad."""
    bad = spool.removed_as(*BAD)
    for row in spool.removed_as(*new)[:_SHOWN_ROWS]:
        log_event("rejected", **asdict(row))
    first = "; ".join(f"{row.file} line {row.line}: {row.reason}" for row in (bad or spool.removed)[:_SHOWN_ROWS])
    allowed = plan.dataset.max_rejected_percent
    if not spool.strata:
        if not first:
            raise DataError("no row can be used: the data holds none")
        raise DataError(f"no row can be used, mend them, or name in dataset.columns what they have: {first}")
    percent = 100 * len(bad) / every
    if percent > allowed:
        raise DataError(
            f"{len(bad)} rows cannot be used, {percent:.1f} % where {allowed:g} % are allowed: mend them, or raise "
            f"dataset.maxRejectedPercent: {first}"
        )


def _check_lengths(plan: Plan, spool: Spool, sharded: Sequence[Sharded], lengths: Sequence[int]) -> None:
    limit, allowed = plan.training.max_sequence_length, plan.dataset.max_truncated_percent
    if not any(one.rows.get("train") for one in sharded):
        raise DataError(
            f"all rows are too long: none has an answer within {limit} tokens; raise training.maxSequenceLength, or "
            "shorten the rows"
        )
    too_long = len(spool.removed_as("too-long"))
    cut = sum(length > limit for length in lengths) + too_long
    percent = 100 * cut / (len(lengths) + too_long)
    if percent > allowed:
        raise DataError(
            f"{percent:.1f} % of the rows are longer than maxSequenceLength ({limit} tokens) and would be cut, where "
            f"{allowed:g} % are allowed: raise training.maxSequenceLength or dataset.maxTruncatedPercent, or shorten "
            "the rows"
        )


def _truncated(lengths: Sequence[int], limit: int) -> float:
    return round(100 * sum(length > limit for length in lengths) / max(1, len(lengths)), 2)


def _numbers(plan: Plan, draft: Path, spool: Spool, sharded: Sequence[Sharded], ordered: Sequence[int]) -> Prepared:
    kinds = Counter(row.kind for row in spool.removed)
    shards = [(str(path.relative_to(draft)), file_digest(path)) for path in sorted(draft.glob("*/*.parquet"))]
    return Prepared(
        rows=len(ordered),
        rejected=sum(kinds[kind] for kind in BAD),
        duplicates_removed=kinds["repetition"],
        pii_found=spool.pii.total(),
        pii=dict(spool.pii),
        removed=dict(kinds),
        tokens=sum(ordered),
        p50_tokens=_quantile(ordered, 0.5),
        p95_tokens=_quantile(ordered, 0.95),
        p99_tokens=_quantile(ordered, 0.99),
        truncated_percent=_truncated(ordered, plan.training.max_sequence_length),
        **{part: sum(one.rows.get(part, 0) for one in sharded) for part in PARTS},
        digest=f"sha256:{_digest(json.dumps(shards))}",
    )


def _quantile(ordered: Sequence[int], share: float) -> int:
    """The smallest length that this share of the rows does not exceed."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def _write(
    plan: Plan, draft: Path, numbers: Prepared, spool: Spool, lengths: Sequence[int], prompt: PreparedPrompt
) -> None:
    with (draft / REJECTS).open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(asdict(row), ensure_ascii=False) + "\n" for row in spool.removed)
    title, limit = f"Data of {plan.job.name}", plan.training.max_sequence_length
    (draft / REPORT).write_text(render_report(title, numbers, spool, lengths, limit), encoding="utf-8")
    answers: dict[str, dict[str, int]] = {}
    for (name, kind), count in sorted(spool.answers.items()):
        answers.setdefault(name, {})[kind] = count
    facts = {
        "numbers": numbers.model_dump(exclude={"warnings"}),
        "answers": answers,
        "labels": dict(sorted(spool.labels.items())),
        "prompt": {"source": prompt.source, "end": prompt.end},
    }
    (draft / MANIFEST).write_text(json.dumps(facts, ensure_ascii=False), encoding="utf-8")
