"""The evaluation's page: metrics with their intervals, labels, pictures and the first answers."""

from collections.abc import Mapping, Sequence
from typing import Any

from training_runtime.page import page, preformatted, table

from .asked import Asked
from .suites import Judgement

__all__ = ["render_report"]

_SHOWN_ROWS = 20


def render_report(title: str, content: Mapping[str, Any], found: Sequence[Judgement], asked: Asked) -> str:
    """Return the page; `content` is that of metrics.json."""
    head = ("metric", "tuned (95 % interval)", "rows", "base (95 % interval)", "difference (95 % interval)")
    names = ("precision", "recall", "f1", "support")
    classes = [(label, *(_cell(name, values[name]) for name in names)) for label, values in content["classes"].items()]
    shown = [
        (question, expected, *(one[i] for one in asked.answers.values()))
        for i, (question, expected) in enumerate(zip(asked.questions, asked.expected, strict=True))
    ][:_SHOWN_ROWS]
    sections = [
        ("Metrics", table(head, [_row(content, name) for name in content["metrics"]])),
        ("Labels", table(("label", "precision", "recall", "f1", "rows"), classes)),
        *(picture for one in found for picture in one.pictures),
        ("Answers", preformatted(("question", "expected", *asked.answers), shown)),
    ]
    return page(title, sections)


def _row(content: Mapping[str, Any], name: str) -> tuple[str, ...]:
    interval, gap = content["intervals"].get(name), content["differences"].get(name)
    return (
        name,
        _told(content["metrics"].get(name), interval),
        str(interval["rows"]) if interval else "",
        _told(content["base"].get(name), content["base_intervals"].get(name)),
        _told(gap["value"], gap, sign="+") if gap else "",
    )


def _told(value: float | None, interval: Mapping[str, float] | None, sign: str = "") -> str:
    if value is None:
        return ""
    form = f"{sign}.4f"
    return f"{value:{form}}" + (f" ({interval['low']:{form}} to {interval['high']:{form}})" if interval else "")


def _cell(name: str, value: float) -> str:
    return str(int(value)) if name == "support" else f"{value:.4f}"
