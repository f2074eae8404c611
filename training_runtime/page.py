"""Reports as one self-contained page: tables, and plots as SVG whose letters stay letters, so that Hangul shows."""

import html
import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["bars", "heat_map", "histogram", "page", "preformatted", "table"]

_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:62em;margin:2em auto;padding:0 1em;color:#222}"
    "table{border-collapse:collapse}td,th{border:1px solid #ccc;padding:.2em .6em;text-align:left;vertical-align:top}"
    "pre{white-space:pre-wrap;overflow-wrap:anywhere;margin:0;font-size:13px}svg{max-width:100%;height:auto}"
)
_BLUE = "#4a78b5"
_MAX_BARS = 30
_MAX_NAME_CHARACTERS = 24


def page(title: str, sections: Sequence[tuple[str, str]]) -> str:
    """Return the page as HTML; each section is a heading and its HTML."""
    body = "".join(f"<h2>{html.escape(name)}</h2>{content}" for name, content in sections)
    head = f'<!doctype html><meta charset="utf-8"><title>{html.escape(title)}</title><style>{_STYLE}</style>'
    return f"{head}<h1>{html.escape(title)}</h1>{body}\n"


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return a table; cells are escaped."""
    if not rows:
        return "<p>None.</p>"
    top = "".join(f"<th>{html.escape(cell)}</th>" for cell in head)
    lines = ("".join(f"<td>{html.escape(str(cell))}</td>" for cell in row) for row in rows)
    return f"<table>{f'<tr>{top}</tr>' if head else ''}{''.join(f'<tr>{line}</tr>' for line in lines)}</table>"


def preformatted(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table of texts whose line breaks are kept."""
    top = "".join(f"<th>{html.escape(cell)}</th>" for cell in head)
    lines = ("".join(f"<td><pre>{html.escape(cell)}</pre></td>" for cell in row) for row in rows)
    return f"<table><tr>{top}</tr>{''.join(f'<tr>{line}</tr>' for line in lines)}</table>"


def bars(counts: Mapping[str, float]) -> str:
    """Return horizontal bars, the longest first."""
    if not counts:
        return "<p>None.</p>"
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:_MAX_BARS][::-1]
    figure = _figure(0.6 + 0.28 * len(ordered))
    axes = figure.subplots()
    drawn = axes.barh(
        [name[:_MAX_NAME_CHARACTERS] for name, _ in ordered], [value for _, value in ordered], color=_BLUE
    )
    axes.bar_label(drawn, padding=3)
    axes.spines[["top", "right"]].set_visible(False)
    return _svg(figure)


def histogram(values: Sequence[float], unit: str, limit: float | None = None) -> str:
    """Return a histogram; `limit` is drawn as a line."""
    if not values:
        return "<p>None.</p>"
    figure = _figure(2.6)
    axes = figure.subplots()
    axes.hist(values, bins=40, color=_BLUE)
    if limit is not None and limit <= 2 * max(values):
        axes.axvline(limit, color="#b5484a", linestyle="--")
    axes.set_xlabel(unit)
    axes.spines[["top", "right"]].set_visible(False)
    return _svg(figure)


def heat_map(labels: Sequence[str], predicted: Sequence[str], counts: Sequence[Sequence[int]]) -> str:
    """Return a confusion matrix: a row for each true label, a column for each predicted one."""
    figure = _figure(1.6 + 0.4 * len(labels))
    axes = figure.subplots()
    axes.imshow(counts, cmap="Blues", aspect="auto")
    axes.set_xticks(range(len(predicted)), [name[:_MAX_NAME_CHARACTERS] for name in predicted], rotation=30, ha="right")
    axes.set_yticks(range(len(labels)), [name[:_MAX_NAME_CHARACTERS] for name in labels])
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    most = max((max(row) for row in counts), default=0)
    for y, row in enumerate(counts):
        for x, count in enumerate(row):
            axes.text(x, y, str(count), ha="center", va="center", color="white" if count > most / 2 else "black")
    return _svg(figure)


def _figure(height: float) -> "Figure":
    from matplotlib.figure import Figure

    return Figure(figsize=(7.5, height), layout="constrained")


def _svg(figure: "Figure") -> str:
    """The same figure gives the same bytes: no date, no random names."""
    import logging
    import warnings

    import matplotlib as mpl

    logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)
    drawn = io.StringIO()
    settings = {"svg.fonttype": "none", "svg.hashsalt": "anneal", "font.family": "sans-serif"}
    with mpl.rc_context(settings), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")  # the reader's browser has it
        figure.savefig(drawn, format="svg", metadata={"Date": None})
    text = drawn.getvalue()
    return text[text.index("<svg") :]
