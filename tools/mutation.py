"""Mutation testing of the operator: `python -m tools.mutation [FILE …]`, without files all of `decide/` and a sample.

Every mistake of `mutants` is planted alone, and the tests of its room must fail. Nothing is written: the mistake
is put in while its module is imported, in a process forked from one that has the libraries loaded, from a copy of
the checkout that no edit can reach. Tests that start further processes would not see it, so they do not count.

mutmut and cosmic-ray do not fit: the one takes a module's name from its path (`operator.anneal_operator`), the other
edits the files it tests, and both start pytest anew for each mistake, three seconds where a fork takes a third of one.
"""

import argparse
import importlib.util
import multiprocessing
import os
import random
import shutil
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.machinery import ModuleSpec, SourceFileLoader
from multiprocessing.connection import wait
from multiprocessing.context import ForkProcess
from pathlib import Path
from types import CodeType, ModuleType

from typing_extensions import override

from .mutants import Mutant, mutants, planted

__all__ = ["Case", "Tally", "cases", "main", "outcome"]

_CHECKOUT = Path(__file__).resolve().parents[1]
_PACKAGE = Path("operator/anneal_operator")
_EQUIVALENT = _CHECKOUT / "tests/equivalent_mutants.toml"
_LIBRARIES = (
    "aiohttp",
    "cryptography.x509",
    "kopf",
    "kubernetes.aio.client",
    "prometheus_client",
    "pydantic_settings",
    "pytest",
    "scipy.stats",
    "yaml",
)
_TESTS = {"api": ("tests/api", "tests/crdgen")}  # where it is not the folder of the room's name
_SAMPLE = 400
_SEED = 14
_NEEDED_PERCENT = 90
_GRACE_SECONDS = 20.0
_PASSED, _NO_TESTS = 0, 5


@dataclass(frozen=True)
class Case:
    """One mistake in one file, told from all others by its name."""

    file: Path
    mutant: Mutant

    @property
    def name(self) -> str:
        """As in the list of equivalents: it survives that lines move."""
        return f"{self.file.relative_to(_PACKAGE)}: {self.mutant}"

    @property
    def nearest(self) -> str:
        """The tests that mirror its file, where there are any: most mistakes are seen there, so they go first."""
        place = self.file.relative_to(_PACKAGE)
        return str(Path("tests") / place.parent / f"test_{place.name}")

    @property
    def tests(self) -> tuple[str, ...]:
        """The tests of its room."""
        room = self.file.relative_to(_PACKAGE).parts[0]
        return (f"tests/test_{room}",) if room.endswith(".py") else _TESTS.get(room, (f"tests/{room}",))


@dataclass(frozen=True)
class Tally:
    """How many mistakes the tests saw, of those that change anything."""

    survivors: tuple[Case, ...]
    judged: int

    @property
    def percent(self) -> float:
        """Of those judged, how many were seen."""
        return 100.0 * (1 - len(self.survivors) / self.judged) if self.judged else 100.0


def cases(root: Path, files: Sequence[Path]) -> list[Case]:
    """Return every mistake that can be planted in the files, in their order."""
    return [Case(file, mutant) for file in files for mutant in mutants((root / file).read_text())]


def outcome(root: Path, chosen: Sequence[Case]) -> Tally:
    """Try each case; the survivors are those that no test saw and nobody has shown to be equivalent."""
    listed = {entry["mutant"] for entry in tomllib.loads(_EQUIVALENT.read_text()).get("equivalent", ())}
    judged = [case for case in chosen if case.name not in listed]
    survivors = tuple(case for case in _survivors(root, judged))
    return Tally(tuple(sorted(survivors, key=lambda case: (case.file, case.mutant.line))), len(judged))


def _survivors(root: Path, judged: Sequence[Case]) -> Iterator[Case]:
    limits = {tests: _baseline(root, tests) for tests in {case.tests for case in judged}}
    fork = multiprocessing.get_context("fork")
    running: dict[int, tuple[ForkProcess, Case, float]] = {}
    waiting = list(reversed(judged))
    while waiting or running:
        while waiting and len(running) < (os.cpu_count() or 1):
            case = waiting.pop()
            process = fork.Process(target=_tested, args=(root, case.tests, case))
            process.start()
            running[process.sentinel] = process, case, time.monotonic() + limits[case.tests]
        wait(list(running), timeout=1.0)
        for sentinel, (process, case, deadline) in list(running.items()):
            if process.is_alive() and time.monotonic() > deadline:
                process.kill()  # a loop without an end: seen, in a way
            if not process.is_alive():
                process.join()
                del running[sentinel]
                if process.exitcode in {_PASSED, _NO_TESTS}:
                    yield case


def _baseline(root: Path, tests: tuple[str, ...]) -> float:
    """Return how long a room's tests may take with a mistake in; raise RuntimeError where they fail without one."""
    started = time.monotonic()
    process = multiprocessing.get_context("fork").Process(target=_tested, args=(root, tests, None))
    process.start()
    process.join()
    if process.exitcode not in {_PASSED, _NO_TESTS}:
        raise RuntimeError(f"{' '.join(tests)} fail before anything is changed: run pytest on them")
    return _GRACE_SECONDS + 5 * (time.monotonic() - started)


def _tested(root: Path, tests: tuple[str, ...], case: Case | None) -> None:
    """In a process of its own: run the tests with the mistake in, and end with pytest's exit status."""
    import pytest

    os.chdir(root)
    sys.path[:] = [entry for entry in sys.path if Path(entry).resolve() != _CHECKOUT]
    if case:
        sys.meta_path.insert(0, _Planting(root, case))
    with Path(os.devnull).open("w") as nowhere:
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)
    options = ["-x", "-q", "-p", "no:cacheprovider", "-c", "pyproject.toml", "--rootdir", str(root), "-m", "not soak"]
    for chosen in ([case.nearest] if case else [], tests):
        there = [test for test in chosen if (root / test).exists()]
        status = int(pytest.main([*options, *there])) if there else _NO_TESTS
        if status not in {_PASSED, _NO_TESTS}:
            break
    os._exit(status)


class _Planting:
    """Finds the one module with the mistake in it; all others are found as ever."""

    def __init__(self, root: Path, case: Case) -> None:
        self._case, self._file = case, root / case.file
        parts = case.file.relative_to(_PACKAGE.parent).with_suffix("").parts
        self._is_package = parts[-1] == "__init__"
        self._name = ".".join(parts[:-1] if self._is_package else parts)

    def find_spec(self, name: str, path: object = None, target: ModuleType | None = None) -> ModuleSpec | None:  # noqa: ARG002 - the import system's signature
        if name != self._name:
            return None
        places = [str(self._file.parent)] if self._is_package else None
        loader = _Loader(name, self._file, self._case.mutant)
        return importlib.util.spec_from_file_location(
            name, self._file, loader=loader, submodule_search_locations=places
        )


class _Loader(SourceFileLoader):
    def __init__(self, name: str, file: Path, mutant: Mutant) -> None:
        super().__init__(name, str(file))
        self._mutant = mutant

    @override
    def get_code(self, fullname: str) -> CodeType:
        code: CodeType = compile(planted(Path(self.path).read_text(), self._mutant), self.path, "exec")
        return code


def main(arguments: list[str] | None = None) -> int:
    """Judge the tests; return 1 where too many mistakes went unseen."""
    parser = argparse.ArgumentParser(prog="python -m tools.mutation", description="Mutation testing of the operator.")
    parser.add_argument("files", nargs="*", type=Path, help=f"files to plant every mistake in (of {_PACKAGE})")
    options = parser.parse_args(arguments)
    for library in _LIBRARIES:
        importlib.import_module(library)
    with tempfile.TemporaryDirectory(prefix="mutation-") as folder:
        root = Path(folder)
        for room in (path for path in _CHECKOUT.iterdir() if path.is_dir() and not path.name.startswith(".")):
            shutil.copytree(room, root / room.name, ignore=shutil.ignore_patterns("__pycache__", "go"))
        shutil.copy(_CHECKOUT / "pyproject.toml", root)
        tallies = [_told(root, name, chosen) for name, chosen in _chosen(root, options.files).items()]
    return int(any(tally.percent < _NEEDED_PERCENT for tally in tallies))


def _chosen(root: Path, files: Sequence[Path]) -> dict[str, list[Case]]:
    if files:
        return {"chosen files": cases(root, [file.resolve().relative_to(_CHECKOUT) for file in files])}
    every = sorted(file.relative_to(root) for file in (root / _PACKAGE).rglob("*.py"))
    judging = [file for file in every if file.is_relative_to(_PACKAGE / "decide")]
    others = cases(root, [file for file in every if file not in judging])
    sample = random.Random(_SEED).sample(others, min(_SAMPLE, len(others)))  # noqa: S311 - drawn again alike
    return {"decide": cases(root, judging), f"a sample of {len(sample)} elsewhere": sample}


def _told(root: Path, name: str, chosen: Sequence[Case]) -> Tally:
    started = time.monotonic()
    tally = outcome(root, chosen)
    for case in tally.survivors:
        print(f"{case.file}:{case.mutant.line}: {case.mutant}")
    killed = tally.judged - len(tally.survivors)
    print(
        f"{name}: {killed} of {tally.judged} seen, {tally.percent:.1f} % ({_NEEDED_PERCENT} % needed), "
        f"{len(chosen) - tally.judged} known to be equivalent, {time.monotonic() - started:.0f} s",
        flush=True,
    )
    return tally


if __name__ == "__main__":
    sys.exit(main())
