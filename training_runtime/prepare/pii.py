"""Personal data that has a form: found by pattern and, where the form has one, by checksum.

Not covered here: names and addresses, which have no form.
"""

import re
from collections import Counter
from collections.abc import Callable

__all__ = ["find_and_mask"]


def _passes_luhn(number: str) -> bool:
    """ISO/IEC 7812-1, annex B."""
    digits = [int(char) for char in reversed(number) if char.isdigit()]
    return sum(digits[0::2]) % 10 == -sum(sum(divmod(2 * digit, 10)) for digit in digits[1::2]) % 10


def _always(_: str) -> bool:
    return True


_Check = Callable[[str], bool]
# Resident numbers come before phones, and cards before both would eat them: the order matters.
_KINDS: tuple[tuple[str, re.Pattern[str], _Check], ...] = (
    ("이메일", re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+"), _always),
    ("카드번호", re.compile(r"(?<![\d-])\d{4}([ -]?)\d{4}\1\d{4}\1\d{4}(?![\d-])"), _passes_luhn),
    (
        "주민등록번호",
        re.compile(r"(?<![\d-])\d{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])-[1-8]\d{6}(?![\d-])"),
        _always,
    ),
    ("전화번호", re.compile(r"(?<![\d-])(?:\+82[ -]?|0)(?:1[016789]|2|[3-6]\d)[ -]\d{3,4}[ -]\d{4}(?![\d-])"), _always),
)


def find_and_mask(text: str) -> tuple[str, Counter[str]]:
    """Return the text with each find replaced by its kind, and how many of each kind there were."""
    found: Counter[str] = Counter()
    for kind, pattern, check in _KINDS:

        def mask(match: re.Match[str], kind: str = kind, check: _Check = check) -> str:
            if not check(match[0]):
                return match[0]
            found[kind] += 1
            return f"[{kind}]"

        text = pattern.sub(mask, text)
    return text, found
