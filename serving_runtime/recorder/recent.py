"""The last names that were told, by their hashes in this process: in memory, as there may be millions a day."""

from collections.abc import Hashable

__all__ = ["MOST", "Recent"]

MOST = 250_000
"""About 50 MB with as many again; 20 minutes of 200 answers a second."""


class Recent:
    """Knows the last `MOST` names, and up to as many before them."""

    def __init__(self) -> None:
        self._now: set[int] = set()
        self._before: set[int] = set()

    def add(self, name: Hashable) -> None:
        """Remember a name."""
        if len(self._now) >= MOST:
            self._before, self._now = self._now, set()
        self._now.add(hash(name))

    def __contains__(self, name: Hashable) -> bool:
        key = hash(name)
        return key in self._now or key in self._before
