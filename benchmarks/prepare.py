"""Measure preparation, beside datasketch and presidio: `.envs/trainer/bin/python -m benchmarks.prepare`.

200 MB of chats in Korean and English, as an assistant's set looks, go through everything that preparation does. Then
repetitions and personal data alone, each beside its peer on the same rows, in turns, on one processor.
"""

import contextlib
import itertools
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil

from training_runtime.plan import Entity

__all__ = ["main"]

_CHECKOUT = Path(__file__).resolve().parents[1]
_MEGABYTES = 200
_ROUNDS = 3
_PEER_ROWS = 3000
_SHARED: list[Entity] = [
    "ResidentNumber",
    "AlienNumber",
    "Phone",
    "Email",
    "Card",
    "Passport",
    "DriverLicense",
    "BusinessNumber",
]
"""The kinds that presidio finds by regular expressions in Korean text, too."""
_CONFIG = {
    "model_type": "qwen3",
    "architectures": ["Qwen3ForCausalLM"],
    "vocab_size": 32000,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "tie_word_embeddings": True,
}


def main() -> int:
    """Measure, and print the table."""
    with tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_FOLDER")) as name:
        folder = Path(name)
        os.sched_setaffinity(0, set(range(min(2, os.cpu_count() or 1))))
        base = _base(folder)
        large = _write(folder / "large.jsonl", megabytes=_MEGABYTES)
        figures = [_prepared(folder, large, base, str(number)) for number in range(_ROUNDS)]
        few, many = (
            _write(folder / "few.jsonl", rows=200_000, short=True),
            _write(folder / "many.jsonl", rows=1_000_000, short=True),
        )
        _, few_peak = _prepared(folder, few, base, "few")
        seconds, many_peak = _prepared(folder, many, base, "many")
        print("| what | goal | median | least | greatest |\n| --- | --- | --- | --- | --- |")
        _row(f"{_MEGABYTES} MB of JSONL through all of it", "<= 30 s", [second for second, _ in figures], "s")
        _row("its peak RSS, all processes", "<= 2 GiB", [peak for _, peak in figures], "GiB")
        _row("peak RSS at 1,000,000 rows / at 200,000", "<= 1.3", [many_peak / few_peak], "")
        _row("1,000,000 short rows", "", [seconds], "s")
        texts = [
            message["content"]
            for line in itertools.islice(large.open(), _PEER_ROWS)
            for message in json.loads(line)["messages"]
        ]
        _row(
            "repetitions: documents/s / datasketch's",
            ">= 10",
            _ratios(_ours_duplicates(texts, folder), _datasketch(texts)),
            "",
        )
        presidio = _presidio(texts)
        _row(
            "personal data: MB/s / presidio's, the same kinds",
            ">= 10",
            _ratios(_ours_pii(texts, _SHARED), presidio),
            "",
        )
        _row("all kinds, with names and addresses / the same", "", _ratios(_ours_pii(texts, []), presidio), "")
    return 0


def _row(what: str, goal: str, figures: list[float], unit: str) -> None:
    values = (statistics.median(figures), min(figures), max(figures))
    print(f"| {what} | {goal} | " + " | ".join(f"{value:.2f} {unit}".strip() for value in values) + " |", flush=True)


def _chats(*, short: bool) -> Iterator[dict[str, Any]]:
    """Words by Zipf's law; a tenth of the rows repeat an earlier one, a fifth hold personal data."""
    rng = random.Random(1)  # noqa: S311 - reproducible on purpose
    syllables = [chr(0xAC00 + rng.randrange(11172)) for _ in range(600)]
    words = ["".join(rng.choices(syllables, k=rng.choice([2, 2, 3, 4]))) for _ in range(20000)]
    words += ["".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=rng.randint(2, 9))) for _ in range(10000)]
    rng.shuffle(words)
    weights = list(itertools.accumulate(1 / (i + 1) for i in range(len(words))))
    lengths = ((5, 15), (5, 15)) if short else ((20, 80), (30, 120))
    earlier = "처음"
    for number in itertools.count():
        question, answer = (" ".join(rng.choices(words, cum_weights=weights, k=rng.randint(*span))) for span in lengths)
        if number % 10 == 0:
            question = earlier
        if number % 7 == 0:
            question += f" 연락처는 010-{rng.randrange(1000, 9999)}-{rng.randrange(1000, 9999)}입니다."
        if number % 11 == 0:
            question = f"홍길동의 주민등록번호는 900101-1{rng.randrange(10**6):06d}입니다. {question}"
        if rng.random() < 0.05:
            earlier = question
        system = {"role": "system", "content": "너는 고속도로 회사의 도우미다. 짧고 정확하게 답하라."}
        chat = [system, {"role": "user", "content": question}, {"role": "assistant", "content": answer}]
        yield {"messages": chat, "metadata": {"source": "faq", "category": rng.choice("abc"), "quality_score": 0.9}}


def _write(path: Path, *, megabytes: int = 0, rows: int = 0, short: bool = False) -> Path:
    size = 0
    with path.open("w", encoding="utf-8") as file:
        for number, chat in enumerate(_chats(short=short)):
            if (rows and number >= rows) or (megabytes and size >= megabytes * 1_000_000):
                break
            line = json.dumps(chat, ensure_ascii=False) + "\n"
            file.write(line)
            size += len(line.encode())
    return path


def _plan(workspace: Path, source: Path, model: dict[str, str]) -> dict[str, Any]:
    split = {"validation": 0.05, "test": 0.05, "stratify_by": "metadata.category", "seed": 42}
    training = {"epochs": 1, "max_steps": None, "learning_rate": 1e-4, "per_device_batch_size": 1}
    training |= {
        "max_sequence_length": 1024,
        "save_every_steps": 1,
        "keep_checkpoints": 1,
        "log_every_steps": 1,
        "seed": 1,
    }
    return {
        "job": {"name": "bench", "namespace": "bench", "uid": "bench"},
        "workspace": str(workspace),
        "base": model,
        "dataset": {"sources": [{"uri": str(source)}], "split": split},
        "lora": None,
        "training": training,
        "evaluation": {"suites": [], "max_rows": 1, "max_new_tokens": 1},
        "tracking": {"uri": "", "experiment": ""},
        "model_name": "bench",
    }


def _base(folder: Path) -> Path:
    """A pretrained base: tokenizer of 32,000 and (for preparation never reads them) hardly any weights."""
    config = folder / "config"
    config.mkdir()
    (config / "config.json").write_text(json.dumps(_CONFIG))
    small = _write(folder / "small.jsonl", megabytes=20)
    _run(folder / "first", _plan(folder / "first", small, {"initialize": "Random", "uri": str(config)}))
    base = folder / "first/base"
    (base / "manifest.json").unlink()
    (base / "model.safetensors").touch()
    return base


def _prepared(folder: Path, source: Path, base: Path, name: str) -> tuple[float, float]:
    """Seconds, and the greatest RSS of all processes together in GiB."""
    workspace = folder / f"workspace-{name}"
    return _run(workspace, _plan(workspace, source, {"initialize": "Pretrained", "uri": str(base)}))


def _run(workspace: Path, plan: dict[str, Any]) -> tuple[float, float]:
    path = workspace.with_suffix(".json")
    path.write_text(json.dumps(plan))
    began, peak = time.monotonic(), 0
    command: list[str | Path] = [sys.executable, "-m", "training_runtime", "prepare", "--plan", path]
    process = subprocess.Popen(command, cwd=_CHECKOUT, stdout=subprocess.DEVNULL)
    watched = psutil.Process(process.pid)
    while process.poll() is None:
        with contextlib.suppress(psutil.Error):  # it ended in between
            peak = max(peak, sum(one.memory_info().rss for one in [watched, *watched.children(recursive=True)]))
        time.sleep(0.05)
    if process.returncode:
        raise RuntimeError(f"preparation ended with {process.returncode}")
    return time.monotonic() - began, peak / 2**30


def _ratios(ours: Callable[[], None], theirs: Callable[[], None]) -> list[float]:
    """How many times as fast ours is, one round after the other."""
    found = []
    for work in (ours, theirs):
        work()  # imports
    for _ in range(_ROUNDS):
        times = []
        for work in (ours, theirs):
            began = time.process_time()
            work()
            times.append(time.process_time() - began)
        found.append(times[1] / times[0])
    return found


def _ours_duplicates(texts: list[str], folder: Path) -> Callable[[], None]:
    from training_runtime.prepare.duplicates import first_of_cluster, sketches

    def work() -> None:
        (folder / "sketches").write_bytes(sketches(texts).tobytes())
        first_of_cluster(folder / "sketches", 0.85)

    return work


def _datasketch(texts: list[str]) -> Callable[[], None]:
    from datasketch import MinHash, MinHashLSH

    def work() -> None:
        index = MinHashLSH(threshold=0.85, num_perm=128)
        for number, text in enumerate(texts):
            plain = " ".join(text.casefold().split())
            sketch = MinHash(num_perm=128)
            sketch.update_batch([plain[i : i + 4].encode() for i in range(max(1, len(plain) - 3))])
            if not index.query(sketch):
                index.insert(number, sketch)

    return work


def _ours_pii(texts: list[str], kinds: list[Entity]) -> Callable[[], None]:
    from training_runtime.prepare.pii import Finder

    finder = Finder.of(kinds)

    def work() -> None:
        for text in texts:
            finder.mask(text)

    return work


def _presidio(texts: list[str]) -> Callable[[], None]:
    from presidio_analyzer.predefined_recognizers import (
        CreditCardRecognizer,
        EmailRecognizer,
        KrBrnRecognizer,
        KrDriverLicenseRecognizer,
        KrFrnRecognizer,
        KrPassportRecognizer,
        KrRrnRecognizer,
        PhoneRecognizer,
    )

    made = [CreditCardRecognizer(), EmailRecognizer(), PhoneRecognizer(supported_regions=("KR",))]
    korean = (KrRrnRecognizer, KrFrnRecognizer, KrBrnRecognizer, KrDriverLicenseRecognizer, KrPassportRecognizer)
    made += [kind() for kind in korean]

    def work() -> None:
        for text in texts:
            for recognizer in made:
                recognizer.analyze(text, recognizer.supported_entities, None)

    return work


if __name__ == "__main__":
    sys.exit(main())
