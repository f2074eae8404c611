"""Measure the recorder: `python -m benchmarks.recorder --already 10000000 --answers 300000`.

A recorder of its own process is filled through what fills it in a pod: answers in batches, as a router's lines come,
and feedback to one in ten of them, as clients' posts come together. Meanwhile, from another thread, and afterwards an
experiment is looked at; then a single client posts feedback, one after the other. Users ask ten times each. So many
answers are in its file `already`, written there before by recorder_file.py, as to record ten million takes
longer than to see how it goes on from there.
"""

import argparse
import json
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from serving_runtime.recorder.database import Database
from serving_runtime.recorder.feedback import Said
from serving_runtime.recorder.line import Exposure
from serving_runtime.recorder.sums import scaled

from .recorder_file import EXPERIMENT, METRIC, fill, user_name, variant_of

__all__ = ["main"]

_BATCH = 2000
_LOOKS = 200
_SINGLE = 500
_PAUSE = 0.05


def main() -> int:
    """Measure in a process of its own, so that its memory is the recorder's alone, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.recorder", description=__doc__)
    parser.add_argument("--answers", type=int, default=1_000_000, help="so many are recorded, and measured")
    parser.add_argument("--already", type=int, default=0, help="so many are there before")
    parser.add_argument("--inside", type=Path, help="measure in this process, with this file, and print JSON")
    options = parser.parse_args()
    if options.inside:
        print(json.dumps(_measure(options.inside, options.already, options.answers)))
        return 0
    with tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_FOLDER")) as folder:
        file = Path(folder) / "recorder.sqlite"
        if options.already:
            fill(file, options.already, _users(options.already), time.time())
        command = [sys.executable, "-m", "benchmarks.recorder", "--inside", str(file)]
        command += ["--already", str(options.already), "--answers", str(options.answers)]
        found = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    print(f"| {options.answers:,} answers after {options.already:,} | found |\n| --- | --- |")
    for name, value in found.items():
        print(f"| {name} | {value} |")
    return 0


def _users(answers: int) -> int:
    return max(answers // 10, 1)


def _measure(path: Path, already: int, answers: int) -> dict[str, str]:
    database = Database(path)
    looks: list[float] = []
    filled = threading.Event()
    looking = threading.Thread(target=_look_on, args=(database, looks, filled), daemon=True)
    looking.start()
    took = {"answers": 0.0, "feedback": 0.0}
    rng = random.Random(1)  # noqa: S311 - reproducible
    for number, batch in enumerate(_batches(rng, answers, _users(already + answers))):
        start = time.perf_counter()
        database.record_exposures("router", number, batch)
        middle = time.perf_counter()
        database.record_feedback([_said(answer, rng) for answer in batch[::10]])
        took["answers"] += middle - start
        took["feedback"] += time.perf_counter() - middle
    filled.set()
    looking.join()
    began = time.thread_time()
    quiet = [_look(database) for _ in range(_LOOKS)]
    spent = (time.thread_time() - began) * 1000 / _LOOKS
    single = _single(database, batch)
    told = database.statistics(EXPERIMENT, METRIC)
    if sum(arm["requests"] for arm in told["variants"].values()) != already + answers:
        raise RuntimeError(f"{already + answers} answers were recorded, and these counted: {told}")
    return {
        "a look at the end, median / 99 % / greatest (ms)": _spread(quiet),
        "processor time of a look, mean (ms)": f"{spent:.2f}",
        "a look while it is filled, median / 99 % / greatest (ms)": _spread(looks),
        "answers recorded per second": f"{answers / took['answers']:,.0f}",
        "feedback recorded per second, 200 together": f"{answers / 10 / took['feedback']:,.0f}",
        "one feedback by itself, on disk, median (ms)": f"{statistics.median(single):.2f}",
        "peak RSS (MiB)": f"{_peak_mib():.0f}",
        "file, bytes per answer": f"{path.stat().st_size / (already + answers):.0f}",
    }


def _batches(rng: random.Random, answers: int, users: int) -> Iterator[list[dict[str, Any]]]:
    for start in range(0, answers, _BATCH):
        yield [_answer(rng, number, users) for number in range(start, min(start + _BATCH, answers))]


def _answer(rng: random.Random, number: int, users: int) -> dict[str, Any]:
    user = rng.randrange(users)
    line = {
        "exposure": f"{rng.getrandbits(128):032x}",
        "model": "spam-filter",
        "experiment": EXPERIMENT,
        "variant": variant_of(user),
        "user": user_name(user),
        "at": 1_800_000_000.0 + number / 200,
        "status": 200 if rng.random() < 0.99 else 503,
        "outcome": "complete",
        "first": 0.2,
        "last": round(rng.lognormvariate(0, 0.6), 3),
        "promptTokens": 200,
        "completionTokens": 60,
    }
    return Exposure.model_validate(line).model_dump()


def _said(answer: dict[str, Any], rng: random.Random) -> Said:
    return Said(METRIC, scaled(float(rng.randint(1, 5))), answer["exposure"], event=f"{rng.getrandbits(64):x}")


def _single(database: Database, answers: list[dict[str, Any]]) -> list[float]:
    rng, took = random.Random(2), []  # noqa: S311 - reproducible
    for number in range(_SINGLE):
        said = _said(answers[number % len(answers)], rng)
        start = time.perf_counter()
        database.record_feedback([said])
        took.append((time.perf_counter() - start) * 1000)
    return took


def _look_on(database: Database, looks: list[float], filled: threading.Event) -> None:
    while not filled.wait(_PAUSE):
        looks.append(_look(database))


def _peak_mib() -> float:
    """Of this process alone: what `getrusage` tells may be that of the one that began it."""
    (kilobytes,) = re.findall(r"^VmHWM:\s+(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE)
    return int(kilobytes) / 1024


def _spread(looks: list[float]) -> str:
    ordered = sorted(looks)
    return f"{statistics.median(looks):.2f} / {ordered[len(looks) * 99 // 100]:.2f} / {ordered[-1]:.2f}"


def _look(database: Database) -> float:
    start = time.perf_counter()
    database.statistics(EXPERIMENT, METRIC)
    return (time.perf_counter() - start) * 1000


if __name__ == "__main__":
    sys.exit(main())
