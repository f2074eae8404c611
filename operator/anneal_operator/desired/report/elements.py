"""The parts of a page: what they hold was written by users, so nothing comes into it but by `escaped`."""

import html
from collections.abc import Sequence

__all__ = ["escaped", "note", "paragraph", "table", "without_empty"]

_SHORT = 24


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return a table, with a head where there is one."""
    top = f"<thead><tr>{''.join(f'<th>{escaped(cell)}</th>' for cell in head)}</tr></thead>" if head else ""
    lines = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
    return f'<div class="wide"><table>{top}<tbody>{lines}</tbody></table></div>'


def without_empty(head: Sequence[str], rows: Sequence[Sequence[str]]) -> tuple[list[str], list[list[str]]]:
    """Return a head and rows without the columns that say nothing of any variant."""
    places = [place for place in range(len(head)) if any(row[place] for row in rows)]
    return [head[place] for place in places], [[row[place] for place in places] for row in rows]


def _cell(told: object) -> str:
    """Short ones, numbers and times are never broken."""
    words = str(told)
    return f"<td{' class=n' if len(words) <= _SHORT else ''}>{escaped(words)}</td>"


def paragraph(words: str) -> str:
    """Return a paragraph."""
    return f"<p>{escaped(words)}</p>"


def note(words: str) -> str:
    """Return a paragraph that stands back."""
    return f'<p class="note">{escaped(words)}</p>'


def escaped(words: object) -> str:
    """Return words as they may stand anywhere in a page."""
    return html.escape(str(words))
