"""Korean resident and alien registration numbers, whole, half hidden, or told in two parts.

The forms follow 주민등록법 시행규칙. Numbers issued since October 2020 have neither a region nor a checksum, and people
mistype: a name beside it makes a number of any thirteen digits; without one the birth date must be one, and a hyphen,
a space or a checksum must stand with it. Other joints than a hyphen and a space (~ _ /) count only where it is named.
"""

import re
from collections.abc import Iterator

from . import contexts
from .kinds import Find, Kind

__all__ = ["find_resident_numbers"]

_HIDDEN = "*●•○◯xXㅇ#?_·･∙■□"
# A pattern that begins with a set of characters is searched fast: so what must not stand before is asked after it.
_START = r"\d(?<![\d-].)"
_NUMBER = re.compile(rf"({_START}\d[ .]?\d\d[ .]?\d\d)( {{0,2}}[-.~_/ㅡ:]? {{0,2}})(\d) ?(\d{{6}})(?![\d-])")
_HINT = re.compile(r"\d\d[ .]?\d\d[ .]?\d\d")
_HALF = re.compile(
    rf"({_START}\d{{5}}) {{0,2}}[-. ]? {{0,2}}"
    rf"(?:(\d)\d{{0,5}}(?: ?[{_HIDDEN}]){{3,6}}\d?|(\d)…+|[{_HIDDEN}]{{7}})(?![\d{_HIDDEN}])"
)
_LIST_GAP = 16
_BEGUN = re.compile(rf"({_START}\d{{5}})-([1-8])(?![\d-])")
_PART = re.compile(r"[앞뒷뒤]\s?(?:번호|(?:[67]\s?)?자리)[^\d\n]{0,8}(\d{6,7})(?!\d)")
_ORDER = re.compile(
    r"(?:(?:주문|접수|문서|계약|관리|일련|제품|모델|예약|거래|승인|티켓|사건|고지|법인등록|청구|증권|특허)\s?(?:번호|코드)|송장|운송장|"
    r"품번|바코드|시리얼|(?:order|invoice|tracking|serial|ticket|ref|case|barcode|sku|isbn|policy|part)"
    r"(?: ?(?:no\.?|number|id|#))?)"
    r"[은는:#.]?\s*:?\s*$",
    re.IGNORECASE,
)


def find_resident_numbers(text: str) -> Iterator[Find]:
    """Yield every find."""
    if not _HINT.search(text):
        return
    yield from _whole(text)
    for match in _HALF.finditer(text):
        if _is_date(match[1]):
            yield Find(*match.span(), _kind(match[2] or match[3]))
    for match in _BEGUN.finditer(text):
        if _is_date(match[1]) and contexts.ABOUT_PERSONS.search(contexts.near(text, *match.span())):
            yield Find(*match.span(), _kind(match[2]))
    if "리" in text and contexts.ABOUT_PERSONS.search(text):
        yield from (Find(*match.span(1), Kind.RESIDENT_NUMBER) for match in _PART.finditer(text))


def _whole(text: str) -> Iterator[Find]:
    """One that closely follows another needs no name of its own."""
    last = -_LIST_GAP
    for match in _NUMBER.finditer(text):
        if _is_resident(text, match, listed=match.start() - last < _LIST_GAP):
            last = match.end()
            yield Find(*match.span(), _kind(match[3]))


def _is_resident(text: str, match: re.Match[str], *, listed: bool) -> bool:
    birth, joint, seventh, rest = match.groups()
    digits = birth.replace(" ", "").replace(".", "")
    near = contexts.near(text, *match.span())
    if listed or contexts.ABOUT_PERSONS.search(near) or contexts.ABOUT_ALIENS.search(near):
        return True
    if not _is_date(digits) or len(digits) != len(birth) or joint.strip() not in ("", "-", "."):
        return False
    certain = "-" in joint or _passes_checksum(digits + seventh + rest)
    if joint == " " and seventh in "12345678" and not contexts.ABOUT_ORDERS.search(near):
        return True
    return certain and not _ORDER.search(text, max(0, match.start() - 24), match.start())


def _kind(seventh: str | None) -> Kind:
    return Kind.ALIEN_NUMBER if seventh and seventh in "5678" else Kind.RESIDENT_NUMBER


def _is_date(digits: str) -> bool:
    return "01" <= digits[2:4] <= "12" and "01" <= digits[4:6] <= "31"


def _passes_checksum(number: str) -> bool:
    total = sum(
        int(digit) * weight for digit, weight in zip(number, (2, 3, 4, 5, 6, 7, 8, 9, 2, 3, 4, 5), strict=False)
    )
    check = (11 - total % 11) % 10
    return int(number[12]) in (check, (check + 2) % 10)  # aliens' checksums are two higher
