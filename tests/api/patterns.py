"""Texts that match a pattern of ours: of regular expressions only what the CRDs' patterns are written in.

That is literals, escapes, classes of characters, groups, `|`, and how often: `?`, `*`, `+`, `{n}`, `{n,m}`.
"""

import random
import re
from dataclasses import dataclass

__all__ = ["matching"]

_MOST_REPEATED = 6
_PRINTABLE = "".join(map(chr, range(0x21, 0x7F))) + "é가😀\u3000"
_REPEATED = re.compile(r"\{(\d+)(?:,(\d+))?\}")


def matching(pattern: str, rng: random.Random) -> str:
    """Return a text that matches a pattern with `^` before it and `$` after it; raise ValueError for other patterns."""
    if not (pattern.startswith("^") and pattern.endswith("$")):
        raise ValueError(f"{pattern} has no ^ before it or no $ after it")
    parser = _Parser(pattern[1:-1], rng)
    text = parser.alternatives()
    if parser.at < len(parser.pattern):
        raise ValueError(f"{pattern}: unbalanced at {parser.at + 1}")
    return text


@dataclass
class _Parser:
    """Reads a pattern and draws as it reads: what is not taken is drawn, too, and thrown away."""

    pattern: str
    rng: random.Random
    at: int = 0

    def alternatives(self) -> str:
        drawn = [self._sequence()]
        while self._next("|"):
            drawn.append(self._sequence())
        return self.rng.choice(drawn)

    def _sequence(self) -> str:
        text = ""
        while self.at < len(self.pattern) and self.pattern[self.at] not in "|)":
            begin = self.at
            self._atom()
            end = self.at
            low, high = self._how_often()
            after = self.at
            for _ in range(self.rng.randint(low, high)):
                self.at = begin
                text += self._atom()
                assert self.at == end
            self.at = after
        return text

    def _atom(self) -> str:
        if self._next("("):
            text = self.alternatives()
            assert self._next(")"), f"{self.pattern}: a group without its end"
            return text
        if self._next("["):
            return self.rng.choice(self._class())
        return self._character()

    def _class(self) -> str:
        excluded = self._next("^")
        found: set[str] = set()
        while not self._next("]"):
            first = self._character()
            if self.pattern[self.at] == "-" and self.pattern[self.at + 1] != "]":
                self.at += 1
                found |= set(map(chr, range(ord(first), ord(self._character()) + 1)))
            else:
                found.add(first)
        return "".join(sorted(set(_PRINTABLE) - found if excluded else found))

    def _character(self) -> str:
        character = self.pattern[self.at]
        self.at += 1
        if character != "\\":
            return character
        escaped = self.pattern[self.at]
        self.at += 1
        if escaped != "x":
            return "\n" if escaped == "n" else escaped
        self.at += 2
        return chr(int(self.pattern[self.at - 2 : self.at], 16))

    def _how_often(self) -> tuple[int, int]:
        for sign, bounds in (("?", (0, 1)), ("*", (0, _MOST_REPEATED)), ("+", (1, _MOST_REPEATED))):
            if self._next(sign):
                return bounds
        counted = _REPEATED.match(self.pattern, self.at)
        if counted is None:
            return 1, 1
        self.at = counted.end()
        low = int(counted[1])
        return low, min(int(counted[2] or low), max(low, _MOST_REPEATED))

    def _next(self, character: str) -> bool:
        found = self.pattern.startswith(character, self.at)
        self.at += found
        return found
