"""What the suite took beside what it may take: `python -m tools.budgets [FOLDER]` prints the comparison.

A budget that is exceeded is printed, not failed: a shared machine's time is no property of the code. What is
refused (in the unit tests) is a plan that does not add up.
"""

import sys
import tomllib
import xml.etree.ElementTree as ET
from collections import defaultdict
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

__all__ = ["FILE", "REPORTS", "comparison", "declared", "main", "measured", "planned"]

_CHECKOUT = Path(__file__).resolve().parents[1]
FILE = _CHECKOUT / "tests/budgets.toml"
REPORTS = _CHECKOUT / ".reports"
_WHOLE = "whole"
_BY_MODULE = "e2e"


def declared(file: Path = FILE) -> dict[str, float]:
    """Return the seconds of each room and end-to-end module, with those of all together under `whole`."""
    content = tomllib.loads(file.read_text())
    return {**content["rooms"], **content["beside"], **content[_BY_MODULE], _WHOLE: content[_WHOLE]}


def planned(file: Path = FILE) -> float:
    """Return the seconds of all that is done one after the other."""
    content = tomllib.loads(file.read_text())
    return float(sum(content["rooms"].values()) + sum(content[_BY_MODULE].values()))


def measured(folder: Path) -> dict[str, float]:
    """Return the seconds that the JUnit files of a folder tell of: a room by its file's name, `e2e` by its modules.

    The whole is from the first one's beginning to the last one's end.
    """
    seconds: dict[str, float] = defaultdict(float)
    times: list[float] = []
    for file in sorted(folder.glob("*.xml")):
        for suite in ET.parse(file).getroot().iter("testsuite"):  # noqa: S314 - written by our own pytest
            began = datetime.fromisoformat(suite.attrib["timestamp"]).timestamp()
            times += [began, began + float(suite.attrib["time"])]
            if file.stem != _BY_MODULE:
                seconds[file.stem] += float(suite.attrib["time"])
                continue
            for case in suite.iter("testcase"):
                parts = case.get("classname", "").split(".")  # none of a test that was interrupted
                if module := next((part for part in parts if part.startswith("test_")), ""):
                    seconds[module] += float(case.attrib["time"])
    return {**seconds, _WHOLE: max(times) - min(times)} if times else {}


def comparison(budgets: Mapping[str, float], taken: Mapping[str, float]) -> str:
    """Return a line for each budget; what was not measured has a dash, what is over its budget a mark."""
    lines = [f"{'seconds of':28} {'measured':>8} {'budget':>8}"]
    unplanned = {name: 0.0 for name in taken if name not in budgets}
    for name, budget in {**budgets, **unplanned}.items():
        seconds = taken.get(name)
        number = "-" if seconds is None else f"{seconds:.0f}"
        mark = "  over" if seconds is not None and seconds > budget else ""
        lines.append(f"{name:28} {number:>8} {budget:>8.0f}{mark}")
    return "\n".join(lines)


def main(arguments: list[str]) -> int:
    """Print the comparison for a folder of JUnit files."""
    print(comparison(declared(), measured(Path(arguments[0]) if arguments else REPORTS)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
