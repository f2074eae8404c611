"""The suite's plan adds up, names every end-to-end module, and is compared with what JUnit files tell."""

from pathlib import Path

from tools.budgets import comparison, declared, measured, planned

CHECKOUT = Path(__file__).parents[2]
UNIT = """<testsuites><testsuite name="pytest" timestamp="2026-01-01T00:00:00+00:00" time="12.5">
  <testcase classname="tests.api.test_schema" time="1"/>"""
E2E = """<testsuites><testsuite name="pytest" timestamp="2026-01-01T00:01:00+00:00" time="99">
  <testcase classname="tests.e2e.test_api" name="one" time="2.25"/>
  <testcase classname="tests.e2e.test_api.TestGroup" name="two" time="1.5"/>
  <testcase classname="tests.e2e.test_demo" name="three" time="40"/>
  <testcase time="11"/>
</testsuite></testsuites>"""


def test_the_rooms_add_up_to_no_more_than_the_whole() -> None:
    assert planned() <= declared()["whole"]


def test_every_end_to_end_module_has_a_budget_and_every_budget_its_module() -> None:
    modules = {file.stem for file in (CHECKOUT / "tests/e2e").glob("test_*.py")} - {"test_soak"}
    assert {name for name in declared() if name.startswith("test_")} == modules


def test_a_room_is_measured_by_its_file_and_the_end_to_end_tests_by_module(tmp_path: Path) -> None:
    (tmp_path / "unit.xml").write_text(UNIT + "</testsuite></testsuites>")
    (tmp_path / "e2e.xml").write_text(E2E)
    assert measured(tmp_path) == {"unit": 12.5, "test_api": 3.75, "test_demo": 40.0, "whole": 159.0}


def test_the_comparison_marks_what_is_over_or_unplanned_and_dashes_what_did_not_run() -> None:
    printed = comparison({"unit": 10, "runtime": 20, "whole": 30}, {"unit": 12.4, "test_new": 1, "whole": 13.4})
    assert [line.split() for line in printed.splitlines()[1:]] == [
        ["unit", "12", "10", "over"],
        ["runtime", "-", "20"],
        ["whole", "13", "30"],
        ["test_new", "1", "0", "over"],
    ]
