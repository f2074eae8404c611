"""Personal data in Korean and English text: found by form and context, replaced by its kind.

`numbers` holds what is written in digits, `words` what is written in letters. Nothing here learns: what has neither a
form nor a telling neighbour (a lone name in a sentence) is not found.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from training_runtime.plan import Entity

from .codes import find_codes
from .kinds import Find, Kind
from .numbers import find_numbers
from .words import find_addresses, find_words

__all__ = ["ENTITIES", "Find", "Finder", "Kind", "replaced"]

ENTITIES = {kind.name.title().replace("_", ""): kind for kind in Kind}
"""The kinds by their names in a plan."""
_NARROW = {wide: wide - 0xFEE0 for wide in (*range(0xFF10, 0xFF1A), *map(ord, "\uff08\uff09\uff0a\uff0d\uff0e\uff20"))}
_NARROW |= dict.fromkeys((*range(0x2010, 0x2016), 0x2212), ord("-")) | {0xA0: ord(" ")}
_DIGIT = re.compile(r"\d")
_WIDE = re.compile(f"[{''.join(map(chr, _NARROW))}]")
"""What is written wide, and dashes: each is read as one plain character, so places stay."""


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
        if len(text) < 3:
            return []
        if not text.isascii() and _WIDE.search(text):
            text = text.translate(_NARROW)
        found = [*find_words(text, self.kinds)]
        if _DIGIT.search(text):
            found += [*find_numbers(text), *find_codes(text, self.kinds)]
            if Kind.ADDRESS in self.kinds:
                found += find_addresses(text)
        if not found:
            return found
        return _apart([find for find in found if find.kind in self.kinds])

    def mask(self, text: str) -> tuple[str, Counter[str]]:
        """Return the text with each find replaced by its kind, `[전화번호]`, and how many of each there were."""
        return replaced(text, self.find(text))


def replaced(text: str, found: Sequence[Find]) -> tuple[str, Counter[str]]:
    """Return the text with the finds, in its order, replaced by their kinds, and how many of each there are."""
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
