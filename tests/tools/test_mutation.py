"""Which mistakes are planted, and that a run tells those that tests see from those that they do not."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tools.mutants import mutants
from tools.mutation import cases

CHECKOUT = Path(__file__).parents[2]
PLANTED = [
    ("a < b", ["a < b -> a <= b"]),
    ("a is None", ["a is None -> a is not None"]),
    ("0 < a < b", ["0 < a < b -> 0 <= a < b", "0 < a < b -> 0 < a <= b", "0 -> 1"]),
    ("a and b", ["a and b -> a or b"]),
    ("not a", ["not a -> a"]),
    ("b if a else c", ["b if a else c -> b if not a else c"]),
    ("a + b", ["a + b -> a - b"]),
    ("[a for a in b if a]", ["for a in b if a -> for a in b"]),
    ("True", ["True -> False"]),
    ("{a, b}", ["a -> left out", "b -> left out"]),
    ("(a,)", ["a -> left out"]),
    ("{'a': b, **c}", ["'a': b -> left out", "c -> left out"]),
    ("a[b, 1]", ["1 -> 2"]),
    ("[a for a, b in c]", []),
    ("'text'", []),
]


@pytest.mark.parametrize(("expression", "expected"), PLANTED, ids=[expression for expression, _ in PLANTED])
def test_an_expression_is_mistaken_in_these_ways(expression: str, expected: list[str]) -> None:
    found = [str(mutant).removeprefix("module: ").strip() for mutant in mutants(f"x = {expression}")]
    assert [" ".join(one.split()) for one in found] == expected


STATEMENTS = '''
"""Told."""
__all__ = ["one" if 1 < 2 else ""]
if TYPE_CHECKING:
    import one
class Kept:
    size: Literal[3]
    @cached(3)
    def judge(self, a: int = 3) -> int:
        """Told."""
        self.a = a
        if a:
            raise ValueError(a)
        print(a)
        return a
'''


def test_statements_are_left_out_and_declarations_left_alone() -> None:
    assert [str(mutant) for mutant in mutants(STATEMENTS)] == [
        "Kept.judge: 3 -> 4",
        "Kept.judge: self.a = a -> pass",
        "Kept.judge: if a: -> if not a:",
        "Kept.judge: raise ValueError(a) -> pass",
        "Kept.judge: print(a) -> pass",
        "Kept.judge: return a -> return None",
    ]


RUN = """
from pathlib import Path
from tools.mutation import cases, outcome
root = Path.cwd()
for case in outcome(root, cases(root, [Path("operator/anneal_operator/decide/size.py")])).survivors:
    print(case.file.name, case.mutant.line, case.mutant)
"""


def test_a_run_names_what_the_tests_of_the_room_do_not_see(tmp_path: Path) -> None:
    room, tests = tmp_path / "operator/anneal_operator/decide", tmp_path / "tests/decide"
    room.mkdir(parents=True)
    tests.mkdir(parents=True)
    (tmp_path / "pyproject.toml").write_text('[tool.pytest.ini_options]\npythonpath = ["operator"]\n')
    (room / "size.py").write_text("def is_large(size: int) -> bool:\n    return size > 2\n")
    test = "from anneal_operator.decide.size import is_large\n\n\ndef test_large() -> None:\n    assert is_large(9)\n"
    (tests / "test_size.py").write_text(test + "    assert not is_large(2)\n")
    command = [sys.executable, "-c", RUN]
    path = {"PYTHONPATH": str(CHECKOUT)}
    done = subprocess.run(command, cwd=tmp_path, env=path, capture_output=True, text=True, check=True)
    assert done.stdout == "size.py 2 is_large: 2 -> 3\n", done.stderr


def test_what_is_known_to_be_equivalent_can_still_be_planted() -> None:
    known = tomllib.loads((CHECKOUT / "tests/equivalent_mutants.toml").read_text()).get("equivalent", [])
    package = Path("operator/anneal_operator")
    files = sorted({package / entry["mutant"].partition(": ")[0] for entry in known})
    names = {case.name for case in cases(CHECKOUT, files)}
    assert [entry for entry in known if entry["mutant"] not in names or not entry["reason"]] == []
