"""Word lists: names that are given, and words that are none.

`lexicon/README.md` says where they come from. They are read once per process.
"""

from pathlib import Path

__all__ = [
    "COMMON_WORDS",
    "ENGLISH_HINTS",
    "ENGLISH_OPENERS",
    "ENGLISH_PLACES",
    "ENGLISH_ROLES",
    "ENGLISH_TITLES",
    "GIVEN_NAMES",
    "KOREAN_GIVEN_NAMES",
    "KOREAN_NO_NAMES",
    "KOREAN_ROLES",
    "KOREAN_SURNAMES",
    "SURNAMES",
]


def _words(name: str) -> frozenset[str]:
    return frozenset((Path(__file__).parent / f"{name}.txt").read_text(encoding="utf-8").split())


COMMON_WORDS = _words("common_words")
ENGLISH_HINTS = _words("english_hints")
"""After them a name may stand."""
ENGLISH_OPENERS = _words("english_openers")
"""Capitalised at a sentence's beginning, and no part of what follows."""
ENGLISH_PLACES = _words("english_places")
"""Behind a name they make it a place's or a company's."""
ENGLISH_ROLES = _words("english_roles")
"""After them a name is expected."""
ENGLISH_TITLES = _words("english_titles")
GIVEN_NAMES = _words("given_names")
KOREAN_GIVEN_NAMES = _words("korean_given_names")
KOREAN_NO_NAMES = _words("korean_no_names")
KOREAN_ROLES = _words("korean_roles")
KOREAN_SURNAMES = _words("korean_surnames")
"""In Latin letters."""
SURNAMES = _words("surnames")
