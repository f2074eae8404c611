"""The report of the data: one page for the person who answers for it."""

from collections.abc import Sequence

from training_runtime.page import bars, histogram, page, preformatted, table
from training_runtime.plan import Prepared

from .first_pass import Removed, Sample
from .spool import Spool

__all__ = ["render_report"]

_SHOWN_REJECTS = 20


def render_report(title: str, numbers: Prepared, found: Spool, lengths: Sequence[int], limit: int) -> str:
    """Return the page as HTML; `lengths` and `limit` are in tokens."""
    plain = [(name.replace("_", " "), value) for name, value in numbers if not isinstance(value, (dict, list))]
    fields = [(name, kind, count) for (name, kind), count in sorted(found.answers.items())]
    sections = [
        ("Numbers", table((), plain)),
        ("Removed rows, by reason", bars(numbers.removed)),
        ("Labels", bars(found.labels)),
        ("Personal data, by kind", bars(numbers.pii)),
        ("Repeated rows: how often each was there", bars(found.clusters)),
        ("Tokens per row", histogram(lengths, "tokens", limit)),
        ("Fields of the answers", table(("field", "type", "rows"), fields)),
        ("The first removed rows", _removed(found.removed)),
        ("Ten rows, before and after", _samples(found.samples)),
    ]
    return page(title, sections)


def _removed(removed: Sequence[Removed]) -> str:
    rows = [(row.file, row.line, row.kind, row.reason) for row in removed[:_SHOWN_REJECTS]]
    return table(("file", "line", "kind", "reason"), rows)


def _samples(samples: Sequence[Sample]) -> str:
    return preformatted(("as it came", "as training reads it"), [(sample.before, sample.after) for sample in samples])
