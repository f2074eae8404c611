"""The report of the data: one page that needs nothing else, for the person who answers for the data."""

import html
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from training_runtime.plan import Prepared

from .rows import Example, Rejected

__all__ = ["Found", "render_report"]

_SAMPLES = 10
_REJECTS = 20
_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:60em;margin:2em auto;padding:0 1em}"
    "table{border-collapse:collapse}td,th{border:1px solid #ccc;padding:.2em .6em;text-align:left;vertical-align:top}"
    "td.bar div{background:#4a78b5;height:.8em}pre{white-space:pre-wrap;margin:0}"
)


@dataclass(frozen=True)
class Found:
    """What preparation saw beside the numbers: samples, labels, lengths, rejects."""

    examples: Sequence[Example]
    rejected: Sequence[Rejected]
    pii: Counter[str]
    lengths: Sequence[int]


def render_report(title: str, numbers: Prepared, found: Found) -> str:
    """Return the page as HTML."""
    labels = Counter(example.stratum for example in found.examples if example.stratum)
    sections = [
        ("Numbers", _table(("", ""), [(name.replace("_", " "), value) for name, value in numbers])),
        ("Labels", _bars(labels)),
        ("Personal data by kind", _bars(found.pii)),
        ("Tokens per row", _bars(_histogram(found.lengths))),
        ("Rejected rows", _table(("line", "reason"), [(row.line, row.reason) for row in found.rejected[:_REJECTS]])),
        ("Samples, as training sees them", _samples(found.examples)),
    ]
    body = "".join(f"<h2>{name}</h2>{content}" for name, content in sections)
    page = f"<h1>{html.escape(title)}</h1>{body}"
    return f'<!doctype html><meta charset="utf-8"><title>{html.escape(title)}</title><style>{_STYLE}</style>{page}\n'


def _table(head: Sequence[str], rows: Sequence[tuple[object, ...]]) -> str:
    if not rows:
        return "<p>None.</p>"
    lines = ["".join(f"<td>{html.escape(str(cell))}</td>" for cell in row) for row in rows]
    top = "".join(f"<th>{html.escape(cell)}</th>" for cell in head)
    return f"<table><tr>{top}</tr>" + "".join(f"<tr>{line}</tr>" for line in lines) + "</table>"


def _bars(counts: Counter[str]) -> str:
    if not counts:
        return "<p>None.</p>"
    most = max(counts.values())
    rows = "".join(
        f"<tr><td>{html.escape(name)}</td><td>{count}</td>"
        f'<td class="bar" style="width:20em"><div style="width:{100 * count / most:.0f}%"></div></td></tr>'
        for name, count in counts.items()
    )
    return f"<table>{rows}</table>"


def _histogram(lengths: Sequence[int]) -> Counter[str]:
    """Ten equal classes from the shortest to the longest."""
    low, high = min(lengths), max(lengths)
    width = max(1, -(-(high - low + 1) // 10))
    classes: Counter[str] = Counter({f"{start}-{start + width - 1}": 0 for start in range(low, high + 1, width)})
    for length in lengths:
        start = low + (length - low) // width * width
        classes[f"{start}-{start + width - 1}"] += 1
    return classes


def _samples(examples: Sequence[Example]) -> str:
    def cell(text: str) -> str:
        return f"<td><pre>{html.escape(text)}</pre></td>"

    questions = ["\n".join(m["content"] for m in example.prompt) for example in examples[:_SAMPLES]]
    rows = [
        f"<tr>{cell(question)}{cell(example.completion)}</tr>"
        for question, example in zip(questions, examples, strict=False)
    ]
    return f"<table><tr><th>question</th><th>answer</th></tr>{''.join(rows)}</table>"
