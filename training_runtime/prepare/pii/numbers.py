"""Personal data written in digits: one scan finds runs of digits, then form, neighbours and checksums decide.

Sources of the forms: cards, ISO/IEC 7812-1; business numbers, the National Tax Service's checksum; social security
numbers, the SSA's rules for those never issued. A network's or a loopback address, a mask and a company's hotline
(1588-…) are nobody's.
"""

import re
from collections.abc import Iterator, Sequence

from . import contexts
from .kinds import Find, Kind
from .resident_numbers import find_resident_numbers

__all__ = ["find_numbers"]

_RUN = re.compile(r"\d[\d ().\-]{6,}")
_SHORTEST = 8
_FEWEST_DIGITS = 9
"""Of all forms but that of an address on a network."""

_LICENCE = re.compile(r"(?<![\d-])(?:1[1-9]|2[0-68])-\d{2}-\d{6}-\d{2}(?![\d-])")
_CARD = re.compile(
    r"(?<![\d-])(?:[1-9]\d{3}([ -]?)\d{4}\1\d{4}\1\d{4}|3[47]\d{2}([ -]?)\d{6}\2\d{5})(?![\d-])",
)
_BUSINESS = re.compile(r"(?<![\d-])\d{3}-\d{2}-\d{5}(?![\d-])|(?<![\d-])\d{10}(?![\d-])")
_AREA = r"(?:2|3[1-3]|4[1-4]|5[1-5]|6[1-4]|70|50\d?)"
_KOREAN_PHONE = re.compile(
    rf"(?<![\d-])(?:(?:\+?82[ .-]?\(?0?\)?|0)(?:1[016789][ .-]{{0,3}}\d{{3,4}}[ .-]{{0,3}}\d{{4}}"
    rf"|{_AREA}(?:\)|[ .-])[ .-]?\d{{3,4}}[ .-]\d{{4}})"
    rf"|\(0{_AREA}\)[ .-]?\d{{3,4}}[ .-]\d{{4}})(?![\d-])"
)
_BARE_PHONE = re.compile(
    rf"(?<![\d-])(?:0{_AREA}\d{{7,8}}|[2-9]\d{{2}}[2-9]\d{{6}}|0\d{{4}} \d{{3}} ?\d{{3}})(?![\d-])"
)
_OTHER_PHONE = re.compile(
    r"(?<![\d-])(?:1[ .-])?(?:\([2-9]\d{2}\)[ .-]?|[2-9]\d{2}[.-])\d{3}[ .-]\d{4}(?![\d-])"
    r"|\+\d{1,3}(?:[ .()-]{1,2}\d{1,5}){2,6}(?![\d-])"
)
_EXTENSION = re.compile(r" ?(?:ext\.?|x|내선) ?\d{1,5}(?!\d)", re.IGNORECASE)
_HOTLINE = re.compile(r"(?:\+?1[ .-])?\(?8(?:00|33|44|55|66|77|88)\b")
_ACCOUNT = re.compile(r"(?<![\d-])(?:\d{2,6}-\d{2,6}-\d{2,7}(?:-\d{1,3})?|\d{10,14})(?![\d-])")
_DATE = re.compile(r"(?:19|20)\d{2}[-.]\d{1,2}[-.]\d{1,2}")
_SOCIAL_SECURITY = re.compile(
    r"(?<![\d-])(?!000|666|9)\d{3}([ -]?)(?!00)\d{2}\1(?!0000)\d{4}(?![\d-])",
)
_OCTET = r"(?:25[0-5]|2[0-4]\d|1?\d?\d)"
_ADDRESS = re.compile(rf"(?<![\d.-]){_OCTET}(?:\.{_OCTET}){{3}}(?![\d-]|\.\d)")
_NOBODY_S = re.compile(r"(?:0|127|255|22[4-9]|23\d)\.")
_NETWORK = re.compile(r"\.0/\d")


def find_numbers(text: str) -> Iterator[Find]:
    """Yield every find; finds may overlap, where two kinds fit."""
    residents = list(find_resident_numbers(text))
    yield from residents
    for run in _RUN.finditer(text):
        found = run[0].rstrip(" ().-")
        if len(found) < _SHORTEST:
            continue
        start, end = run.start(), run.start() + len(found)
        if found.count(".") > 2:
            yield from _hosts(text, start, end)
        if start and text[start - 1] in "+(":
            start -= 1 + text.startswith("+(", max(0, start - 2))
        if len(found) - sum(map(found.count, " ().-")) >= _FEWEST_DIGITS or text[start] == "+":
            yield from _in_run(text, start, end, residents)


def _in_run(text: str, start: int, end: int, residents: Sequence[Find]) -> Iterator[Find]:
    """The most telling form first: a place that is taken is not looked at again."""
    near = contexts.near(text, start, end)
    orders = bool(contexts.ABOUT_ORDERS.search(near))
    taken = list(residents)
    for pattern, kind, fits in _FORMS:
        for match in pattern.finditer(text, start, end):
            free = all(match.end() <= find.start or match.start() >= find.end for find in taken)
            if free and fits(match[0], near, orders):
                more = _EXTENSION.match(text, match.end()) if kind is Kind.PHONE else None
                taken.append(Find(match.start(), more.end() if more else match.end(), kind))
    return iter(taken[len(residents) :])


def _hosts(text: str, start: int, end: int) -> Iterator[Find]:
    for match in _ADDRESS.finditer(text, start, end):
        before = text[max(0, match.start() - 40) : match.start()]
        named = contexts.ABOUT_HOSTS.search(before)
        if _NOBODY_S.match(match[0]) or _NETWORK.match(text, match.end() - 2):
            continue
        if contexts.ABOUT_VERSIONS.search(before) and not named:
            continue
        if named or max(map(int, match[0].split("."))) > 31:
            yield Find(*match.span(), Kind.IP_ADDRESS)


def _is_licence(_number: str, near: str, orders: bool) -> bool:
    return not orders or bool(contexts.ABOUT_LICENCES.search(near))


def _is_card(number: str, near: str, orders: bool) -> bool:
    if contexts.ABOUT_CARDS.search(near):
        return True
    return number[0] not in "178" and not orders and _passes_luhn(number)


def _is_korean_phone(number: str, near: str, orders: bool) -> bool:
    return not orders or number[:2] == "01" or bool(contexts.ABOUT_PHONES.search(near))


def _is_social_security(number: str, near: str, orders: bool) -> bool:
    if contexts.ABOUT_SOCIAL_SECURITY.search(near):
        return True
    return "-" in number and not orders and not contexts.ABOUT_ACCOUNTS.search(near)


def _is_business(number: str, near: str, orders: bool) -> bool:
    if contexts.ABOUT_BUSINESS.search(near):
        return True
    return "-" in number and not orders and not contexts.ABOUT_ACCOUNTS.search(near) and _passes_business(number)


def _is_account(number: str, near: str, orders: bool) -> bool:
    digits = sum(char.isdigit() for char in number)
    if not 10 <= digits <= 14 or _DATE.match(number) or not contexts.ABOUT_ACCOUNTS.search(near):
        return False
    return "-" in number or not orders


def _is_other_phone(number: str, _near: str, orders: bool) -> bool:
    return not orders and not _HOTLINE.match(number)


def _is_bare_phone(_number: str, near: str, orders: bool) -> bool:
    return not orders and bool(contexts.ABOUT_PHONES.search(near))


def _passes_luhn(number: str) -> bool:
    digits = [int(char) for char in reversed(number) if char.isdigit()]
    return (sum(digits[0::2]) + sum(sum(divmod(2 * digit, 10)) for digit in digits[1::2])) % 10 == 0


def _passes_business(number: str) -> bool:
    digits = [int(char) for char in number if char.isdigit()]
    total = sum(digit * weight for digit, weight in zip(digits, (1, 3, 7, 1, 3, 7, 1, 3), strict=False))
    total += digits[8] * 5 // 10 + digits[8] * 5
    return (10 - total % 10) % 10 == digits[9]


_FORMS = (
    (_LICENCE, Kind.DRIVER_LICENSE, _is_licence),
    (_CARD, Kind.CARD, _is_card),
    (_KOREAN_PHONE, Kind.PHONE, _is_korean_phone),
    (_SOCIAL_SECURITY, Kind.SOCIAL_SECURITY_NUMBER, _is_social_security),
    (_BUSINESS, Kind.BUSINESS_NUMBER, _is_business),
    (_ACCOUNT, Kind.BANK_ACCOUNT, _is_account),
    (_OTHER_PHONE, Kind.PHONE, _is_other_phone),
    (_BARE_PHONE, Kind.PHONE, _is_bare_phone),
)
"""The most telling first, each with what its neighbours must say."""
