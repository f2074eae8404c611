"""Users who said nothing, where they count as 0: everybody who was exposed is analysed then, whoever speaks.

What users were like before is not taken into account then. It is known of those with a value alone, and who they are
may be the variant's doing: what is taken out of the spread must not be.
"""

from dataclasses import replace

from .lee import CELL
from .sums import Scale, Sums
from .terms import Counts, Histogram, Terms

__all__ = ["with_zeros"]


def with_zeros(terms: Terms, counts: Counts) -> Counts:
    """Return the counts with a 0 of everybody whose window is over without a value; as they are by other terms."""
    if terms.missing != "Zero" or not counts.histograms:
        return counts
    zero = _place_of_zero(counts.scale)
    pairs = list(zip(counts.sums, counts.histograms, strict=True))
    missing = [max(0, histogram.users - sums.n) for sums, histogram in pairs]
    return replace(
        counts,
        sums=tuple(_summed(sums, n, zero) for (sums, _), n in zip(pairs, missing, strict=True)),
        histograms=tuple(_counted(histogram, n, zero) for (_, histogram), n in zip(pairs, missing, strict=True)),
        histories=(),
    )


def _place_of_zero(scale: Scale) -> int:
    """Where the recorder has the value of a user who says 0: at the nearest place, or at an end of the range."""
    return min(max(round(-scale.low / scale.width * scale.parts), 0), scale.parts)


def _summed(sums: Sums, missing: int, zero: int) -> Sums:
    return Sums(sums.n + missing, sums.y + missing * zero, sums.yy + missing * zero**2)


def _counted(histogram: Histogram, missing: int, zero: int) -> Histogram:
    cell = round(zero / CELL)
    return replace(histogram, cells={**histogram.cells, cell: histogram.cells.get(cell, 0) + missing})
