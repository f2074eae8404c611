"""Personal data in Korean and English text: found by form and context, replaced by its kind.

`numbers` holds what is written in digits, `words` what is written in letters. Nothing here learns: what has neither a
form nor a telling neighbour (a lone name in a sentence) is not found.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from training_runtime.plan import Entity

from .kinds import Find, Kind
from .numbers import find_numbers
from .words import find_words

__all__ = ["ENTITIES", "Finder", "Kind"]

ENTITIES = {kind.name.title().replace("_", ""): kind for kind in Kind}
"""The kinds by their names in a plan."""


@dataclass(frozen=True)
class Finder:
    """Finds the kinds it was made for."""

    kinds: frozenset[Kind]

    @staticmethod
    def of(names: Sequence[Entity]) -> "Finder":
        """Make a finder of the named kinds, of all where none is named."""
        return Finder(frozenset(ENTITIES[name] for name in names) or frozenset(Kind))

    def find(self, text: str) -> list[Find]:
        """Return the finds in the order of the text; none overlap."""
        if len(text) < 4:
            return []
        found = [find for find in (*find_numbers(text), *find_words(text, self.kinds)) if find.kind in self.kinds]
        if len(found) > 1:
            found = _apart(found)
        return found

    def mask(self, text: str) -> tuple[str, Counter[str]]:
        """Return the text with each find replaced by its kind, `[전화번호]`, and how many of each there were."""
        found = self.find(text)
        if not found:
            return text, Counter()
        parts, end = [], 0
        for find in found:
            parts += [text[end : find.start], f"[{find.kind.value}]"]
            end = find.end
        return "".join([*parts, text[end:]]), Counter(find.kind.value for find in found)


def _apart(found: list[Find]) -> list[Find]:
    """Where two overlap the longer stays, for it knows more of the context."""
    kept: list[Find] = []
    for find in sorted(found, key=lambda find: (find.start - find.end, find.start)):
        if all(find.end <= other.start or find.start >= other.end for other in kept):
            kept.append(find)
    return sorted(kept, key=lambda find: find.start)
