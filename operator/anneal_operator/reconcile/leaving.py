"""Versions that have moved from a shared engine which routers may still send their requests to.

Kept in memory alone: an operator that begins anew gives answers under way their whole time again.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

__all__ = ["Leaving"]

_DRAIN = timedelta(seconds=30)
"""For how long answers under way are waited for once the last router has left."""


@dataclass
class Leaving:
    """Of all namespaces."""

    _left_at: dict[str, dict[tuple[str, str], datetime]] = field(default_factory=dict)

    def held(
        self,
        namespace: str,
        moved: Mapping[str, Collection[str]],
        services: Mapping[str, str],
        now: datetime,
        *,
        has_arrived: bool,
    ) -> dict[str, frozenset[str]]:
        """Return by engine which of the versions that `moved` from it it keeps.

        `services` is what the newest table says, and `has_arrived` whether no router goes by an older one.
        """
        before = self._left_at.get(namespace, {})
        left, held = dict[tuple[str, str], datetime](), dict[str, frozenset[str]]()
        for engine, versions in moved.items():
            for version in versions:
                if services.get(version) != engine and (has_arrived or (engine, version) in before):
                    left[engine, version] = before.get((engine, version), now)
            held[engine] = frozenset(v for v in versions if now - left.get((engine, v), now) < _DRAIN)
        self._left_at[namespace] = left
        return {engine: versions for engine, versions in held.items() if versions}

    def forget(self, namespace: str) -> None:
        """Keep nothing of a namespace."""
        self._left_at.pop(namespace, None)

    def clear(self) -> None:
        """Forget everything: another operator leads."""
        self._left_at.clear()
