"""What the page on serving lists is what there is."""

from pathlib import Path

from anneal_operator.api.engine_arguments import ARGUMENTS, RESERVED
from serving_runtime import parsers

PAGE = (Path(__file__).parents[1] / "docs/serving.md").read_text(encoding="utf-8")


def test_every_engine_argument_is_on_the_page_with_its_value_and_its_use() -> None:
    rows = [line for line in PAGE.partition("## Engine arguments")[2].splitlines() if line.startswith("| `")]
    assert rows == [
        f"| `{argument.name}` | {argument.takes} | {argument.good_for} |" for argument in ARGUMENTS.values()
    ]


def test_every_name_that_is_kept_back_is_on_the_page() -> None:
    kept_back = PAGE.partition("Kept back are")[2]
    assert [name for reserved in RESERVED for name in reserved.names if f"`{name}`" not in kept_back] == []


def test_every_parser_that_a_template_chooses_is_on_the_page() -> None:
    table = PAGE.partition("## Tools and thoughts")[2].partition("## ")[0]
    assert [parser for _, parser in parsers._TOOL_CALLS if f"| `{parser}` |" not in table] == []  # noqa: SLF001
