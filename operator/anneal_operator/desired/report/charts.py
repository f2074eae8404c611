"""Charts as SVG within the page: no script, colours by the page's style, and a sentence for who cannot see them."""

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Band", "Line", "Mark", "chart"]

_WIDTH, _HEIGHT = 720, 240
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 96, 14, 34
_TICKS = 5
_TIMES = (60, 300, 900, 1800, 3600, 2 * 3600, 6 * 3600, 12 * 3600, 86400, 2 * 86400, 7 * 86400, 28 * 86400, 84 * 86400)
_MOST_TIMES = 8
_GREAT = 100_000
"""Of numbers that are farther apart, or closer than one over it, not every digit has room."""
_LETTER = 6.6
"""How wide a letter is, about."""


@dataclass(frozen=True)
class Line:
    """Points from left to right, named at their end; `number` chooses the colour."""

    name: str
    points: Sequence[tuple[float, float]]
    number: int = 0


@dataclass(frozen=True)
class Band:
    """From a lower to an upper value at each time; of a single one a line."""

    points: Sequence[tuple[float, float, float]]
    number: int = 0


@dataclass(frozen=True)
class Mark:
    """A value that others are held against, over the whole width."""

    name: str
    value: float
    is_dashed: bool = True


@dataclass(frozen=True)
class _Frame:
    """Where a time and a value are drawn."""

    until: float
    low: float
    high: float
    step: float
    """From one number beside it to the next."""

    def x(self, at: float) -> float:
        return _LEFT + at / self.until * (_WIDTH - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        share = (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)
        return _HEIGHT - _BOTTOM - share * (_HEIGHT - _TOP - _BOTTOM)


def chart(
    said: str,
    limits: tuple[float, float],
    lines: Sequence[Line],
    bands: Sequence[Band] = (),
    marks: Sequence[Mark] = (),
    *,
    are_powers: bool = False,
) -> str:
    """Return a chart over seconds since counting began; what is beyond the limits is drawn at them.

    `are_powers` says that values are logarithms to the base of ten.
    """
    until = max((point[0] for line in lines for point in line.points), default=0.0) or 60.0
    frame = _frame(until, limits)
    parts = [*_grid(frame, are_powers=are_powers), *(_band(frame, band) for band in bands)]
    parts += [_mark(frame, mark) for mark in marks if frame.low <= mark.value <= frame.high]
    parts += [_line(frame, line) for line in lines]
    parts += _names(frame, lines, marks)
    title = html.escape(said)
    view = f'viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{title}"'
    return f"<svg {view}><title>{title}</title>{''.join(parts)}</svg>"


def _frame(until: float, limits: tuple[float, float]) -> _Frame:
    low, high = limits
    if high - low <= abs(low) * 1e-9:
        low, high = low - 1, high + 1
    step = _step(high - low)
    return _Frame(until, math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step, step)


def _step(span: float) -> float:
    """A distance of ticks that people count by: 1, 2 or 5 times a power of ten."""
    rough = span / _TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    return power * next(factor for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)


def _grid(frame: _Frame, *, are_powers: bool) -> list[str]:
    step, bottom = frame.step, _HEIGHT - _BOTTOM
    parts = []
    for number in range(round((frame.high - frame.low) / step) + 1):
        value = frame.low + number * step
        y = frame.y(value)
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        said = f"{10.0 ** round(value):g}" if are_powers else _number(value, step)
        parts.append(_text(_LEFT - 8, y + 4, said, "end"))
    for at, name in _times(frame.until):
        parts.append(_text(frame.x(at), bottom + 18, name, "middle"))
        parts.append(
            f'<line class="tick" x1="{frame.x(at):.1f}" x2="{frame.x(at):.1f}" y1="{bottom}" y2="{bottom + 4}"/>'
        )
    return parts


def _number(value: float, step: float) -> str:
    if abs(value) < step / 2:
        return "0"
    if step >= _GREAT or step < 1 / _GREAT:
        return f"{value:.4g}"
    return f"{value:,.0f}" if step >= 1 else f"{value:.{max(0, math.ceil(-math.log10(step) - 1e-9))}f}"


def _times(until: float) -> list[tuple[float, str]]:
    """Where times are written, the greatest unit that fits them all."""
    step = next((step for step in _TIMES if until / step < _MOST_TIMES), _TIMES[-1])
    unit, word = next((size, word) for size, word in ((86400, "d"), (3600, "h"), (60, "min")) if step % size == 0)
    return [(n * step, f"{n * step // unit:g} {word}" if n else "0") for n in range(int(until / step) + 1)]


def _band(frame: _Frame, band: Band) -> str:
    if len(band.points) == 1:
        at, low, high = band.points[0]
        x = f"{frame.x(at):.1f}"
        return f'<line class="line c{band.number}" x1="{x}" x2="{x}" y1="{frame.y(low):.1f}" y2="{frame.y(high):.1f}"/>'
    upper = [f"{frame.x(at):.1f},{frame.y(high):.1f}" for at, _, high in band.points]
    lower = [f"{frame.x(at):.1f},{frame.y(low):.1f}" for at, low, _ in band.points]
    return f'<polygon class="band c{band.number}" points="{" ".join([*upper, *reversed(lower)])}"/>'


def _line(frame: _Frame, line: Line) -> str:
    points = [(frame.x(at), frame.y(value)) for at, value in line.points]
    drawn = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    end = "".join(f'<circle class="end c{line.number}" cx="{x:.1f}" cy="{y:.1f}" r="3.5"/>' for x, y in points[-1:])
    return f'<polyline class="line c{line.number}" points="{drawn}"/>{end}'


def _mark(frame: _Frame, mark: Mark) -> str:
    y, kind = frame.y(mark.value), "mark dashed" if mark.is_dashed else "mark"
    return f'<line class="{kind}" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'


def _names(frame: _Frame, lines: Sequence[Line], marks: Sequence[Mark]) -> list[str]:
    """At the right edge, each beside its line, with room between them."""
    wanted = [(frame.y(line.points[-1][1]), line.name, f"name c{line.number}") for line in lines if line.points]
    wanted += [(frame.y(m.value), m.name, "name") for m in marks if m.name and frame.low <= m.value <= frame.high]
    placed, before = [], float(_TOP)
    for y, name, kind in sorted(wanted):
        at = max(y, before)
        before = at + 15
        placed.append((at, name, kind))
    room = int(_RIGHT / _LETTER) - 1
    short = [(at, name if len(name) <= room else f"{name[: room - 1]}…", kind) for at, name, kind in placed]
    return [_text(_WIDTH - _RIGHT + 8, at + 4, name, "start", kind) for at, name, kind in short]


def _text(x: float, y: float, words: str, anchor: str, kind: str = "axis") -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{html.escape(words)}</text>'
