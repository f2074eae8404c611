"""Whether an answer is written as the expected one is: told by its letters.

It tells Korean from English, or Russian from Arabic, but not English from French, which share their letters.
"""

import unicodedata
from collections import Counter

__all__ = ["written_alike"]

_LEAST_SHARE = 0.3
"""A Korean sentence may be full of product names in Latin letters, and is Korean still."""


def written_alike(answer: str, expected: str) -> bool:
    """Return whether enough of the answer's letters are of the script in which most of the expected text is written.

    An expected text without letters asks for no language; an answer without any is in none.
    """
    asked, given = _scripts(expected), _scripts(answer)
    if not asked:
        return True
    [(script, _)] = asked.most_common(1)
    return bool(given) and given[script] / given.total() >= _LEAST_SHARE


def _scripts(text: str) -> Counter[str]:
    """Count the letters by script, the first word of a letter's name in Unicode: LATIN, HANGUL, CYRILLIC."""
    return Counter(unicodedata.name(letter, "").partition(" ")[0] for letter in text if letter.isalpha())
