"""What is left of a difference where users of one variant give a value more often than those of another (Lee 2009).

Those who would not have answered elsewhere may be the happiest of all, or the unhappiest: the share by which more of
them answer is cut off the end of their values that makes the challenger look better.
"""

from dataclasses import replace

from .sums import Sums
from .terms import Counts, Cut, Histogram, Terms

__all__ = ["CELL", "with_cuts"]

CELL = 104
"""How many parts of the range a cell of the histogram is wide."""


def with_cuts(terms: Terms, counts: Counts) -> Counts:
    """Return the counts with what is left for each challenger; without histograms nobody can tell, and where everybody
    has a value there is nothing to tell.
    """
    if not counts.histograms or terms.missing == "Zero":
        return counts
    places = range(len(terms.shares))
    cut = tuple(None if place == terms.control else _cut(terms, counts, place) for place in places)
    return replace(counts, cut=cut)


def _cut(terms: Terms, counts: Counts, challenger: int) -> Cut | None:
    """The share is that by which more of one variant's users have a value."""
    answers = {place: (counts.histograms[place].users, counts.sums[place].n) for place in (terms.control, challenger)}
    if not all(users and n for users, n in answers.values()):
        return None
    more = max(answers, key=lambda place: answers[place][1] / answers[place][0])
    users, n = answers[challenger if more == terms.control else terms.control]
    kept = n * answers[more][0] // users
    highest = (more == terms.control) is terms.increases
    return Cut(more, _trimmed(counts.histograms[more], kept, highest=highest))


def _trimmed(histogram: Histogram, kept: int, *, highest: bool) -> Sums:
    """Return the sums of so many values of a histogram, of the highest or of the lowest."""
    n = y = yy = 0
    for cell, count in sorted(histogram.cells.items(), reverse=highest):
        taken = min(count, kept - n)
        value = cell * CELL
        n, y, yy = n + taken, y + taken * value, yy + taken * value**2
    return Sums(n, y, yy)
