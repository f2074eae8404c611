"""Charts: every number stands where it is, however great or small, and what is not there breaks nothing."""

import re

import pytest

from anneal_operator.desired.report.charts import Band, Line, Mark, chart

_TEXT = re.compile(r'<text class="axis" x="[\d.]+" y="([\d.]+)" text-anchor="end">([^<]*)</text>')
_LINE = re.compile(r'<line class="mark" x1="\d+" x2="\d+" y1="([\d.]+)"')


@pytest.mark.parametrize(
    "limits",
    [(-0.31, 0.6), (0.0, 1.0), (-7e-9, 3e-9), (-4e11, 1e12), (-0.05, 123.4), (-1.0, 1e-12), (-3.3e-5, 2.1e-4)],
)
def test_every_number_beside_a_chart_stands_at_its_height(limits: tuple[float, float]) -> None:
    drawn = chart("x", limits, [Line("a", [(0, 0.0), (60, 0.0)])], marks=[Mark("none", 0.0, is_dashed=False)])
    ticks = [(float(y) - 4, float(said.replace(",", ""))) for y, said in _TEXT.findall(drawn)]
    (none,) = (float(y) for y in _LINE.findall(drawn))
    (bottom, low), (top, high) = ticks[0], ticks[-1]
    assert low <= limits[0] + 1e-9 * (high - low)
    assert high >= limits[1] - 1e-9 * (high - low)
    for y, value in ticks:
        assert y == pytest.approx(bottom + (value - low) / (high - low) * (top - bottom), abs=0.2)
    assert none == pytest.approx(bottom - low / (high - low) * (top - bottom), abs=0.2)
    assert all(len(said) <= 9 for _, said in _TEXT.findall(drawn)), "there is room for"


def test_a_name_of_a_user_s_is_escaped_and_cut_where_it_would_leave_the_chart() -> None:
    drawn = chart('"><script>', (0, 1), [Line("<b>" + "x" * 60, [(0, 0.5)])], [Band([(0, 0.1, 0.9)])])
    assert "<script" not in drawn
    assert "<b>" not in drawn
    assert "x" * 60 not in drawn
    assert "&lt;b&gt;xxx" in drawn


def test_a_line_without_points_is_none() -> None:
    assert "circle" not in chart("x", (0, 1), [Line("a", [])])
