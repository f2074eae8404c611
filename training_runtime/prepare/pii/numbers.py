"""Personal data written in digits: one scan finds runs of digits, then form, neighbours and checksums decide.

Sources of the forms: resident numbers, 주민등록법 시행규칙 (those issued since October 2020 have neither a region
nor a checksum, so a checksum only adds certainty); cards, ISO/IEC 7812-1; business numbers, the National Tax Service's
checksum; licences and passports as the Korean authorities print them.
"""

import re
from collections.abc import Iterator

from .kinds import Find, Kind

__all__ = ["find_numbers"]

_RUN = re.compile(r"\d[\d ().\-]{6,}")
_BEFORE, _AFTER = 28, 14

_ABOUT_ORDERS = re.compile(
    r"(?:주문|송장|운송장|접수|문서|계약|관리|일련|제품|모델|품번|예약|거래|승인|티켓|사건|고지|법인등록|청구|티켓|바코드|시리얼|증권)"
    r"\s?(?:번호)?|(?:order|invoice|tracking|serial|ticket|ref|case|barcode|sku|isbn)\b",
    re.IGNORECASE,
)
_ABOUT_PERSONS = re.compile(r"주민|등록번호|민번|resident|rrn|ssn", re.IGNORECASE)
_ABOUT_ALIENS = re.compile(r"외국인|alien|arc\b", re.IGNORECASE)
_ABOUT_PASSPORTS = re.compile(r"여권|passport", re.IGNORECASE)
_ABOUT_LICENCES = re.compile(r"면허|licen[cs]e|driver", re.IGNORECASE)
_ABOUT_BUSINESS = re.compile(r"사업자|business|brn\b", re.IGNORECASE)
_ABOUT_CARDS = re.compile(r"카드|card|visa|master|amex", re.IGNORECASE)
_ABOUT_PHONES = re.compile(r"전화|연락|휴대|핸드폰|폰|번호|문자|통화|tel|phone|call|mobile|fax|팩스", re.IGNORECASE)
_ABOUT_ACCOUNTS = re.compile(
    r"계좌|입금|송금|이체|예금|환불|은행|농협|국민|신한|우리은|하나은|기업은|카카오뱅크|토스뱅크|케이뱅크|새마을금고|우체국|수협|account|bank|iban",
    re.IGNORECASE,
)

_RESIDENT = re.compile(r"(?<![\d-])(\d{6})[ ]?-[ ]?(\d)(\d{6})(?![\d-])|(?<![\d-])(\d{6})(\d)(\d{6})(?![\d-])")
_LICENCE = re.compile(r"(?<![\d-])(?:1[1-9]|2[0-68])-\d{2}-\d{6}-\d{2}(?![\d-])")
_CARD = re.compile(
    r"(?<![\d-])(?:[2-69]\d{3}([ -]?)\d{4}\1\d{4}\1\d{4}|3[47]\d{2}([ -]?)\d{6}\2\d{5})(?![\d-])",
)
_BUSINESS = re.compile(r"(?<![\d-])\d{3}-\d{2}-\d{5}(?![\d-])|(?<![\d-])\d{10}(?![\d-])")
_KOREAN_PHONE = re.compile(
    r"(?<![\d-])(?:(?:\+?82[ .-]?\(?0?\)?|0)(?:1[016789][ .-]?\d{3,4}[ .-]?\d{4}"
    r"|(?:2|3[1-3]|4[1-4]|5[1-5]|6[1-4]|70|50\d?)\)?[ .-]{1,2}\d{3,4}[ .-]\d{4})"
    r"|\(0(?:2|3[1-3]|4[1-4]|5[1-5]|6[1-4])\)[ .-]?\d{3,4}[ .-]\d{4})(?![\d-])"
)
_OTHER_PHONE = re.compile(
    r"(?<![\d-])(?:1[ .-])?(?:\([2-9]\d{2}\)[ .-]?|[2-9]\d{2}[.-])\d{3}[ .-]\d{4}(?![\d-])"
    r"|(?<=\+)\d{1,3}[ .-]\(?\d{1,4}\)?(?:[ .-]\d{2,4}){2,3}(?![\d-])"
)
_PASSPORT = re.compile(r"(?<![A-Za-z\d])[MSRODG](?:\d{8}|\d{3}[A-Z]\d{4})(?![A-Za-z\d])")
_PASSPORT_HINT = re.compile(r"[MSRODG]\d{3}")  # begins with a set of characters: searched fast
_ACCOUNT = re.compile(r"(?<![\d-])(?:\d{2,6}-\d{2,6}-\d{2,7}(?:-\d{1,3})?|\d{10,14})(?![\d-])")
_DATE = re.compile(r"(?:19|20)\d{2}[-.]\d{1,2}[-.]\d{1,2}")


def find_numbers(text: str) -> Iterator[Find]:
    """Yield every find; finds may overlap, where two kinds fit."""
    for run in _RUN.finditer(text):
        start, end = run.start(), run.start() + len(run[0].rstrip(" ().-"))
        if end - start < 8:
            continue
        if start and text[start - 1] in "+(":
            start -= 1
        before = text[max(0, start - _BEFORE) : start]
        after = text[end : end + _AFTER]
        yield from _in_run(text, start, end, before + " " + after)
    if _PASSPORT_HINT.search(text):
        for match in _PASSPORT.finditer(text):
            near = _near(text, match.start(), match.end())
            if _ABOUT_PASSPORTS.search(near) or not _ABOUT_ORDERS.search(near):
                yield Find(*match.span(), Kind.PASSPORT)


def _in_run(text: str, start: int, end: int, near: str) -> Iterator[Find]:
    """The most telling form first: a place that is taken is not looked at again."""
    taken = list(_resident_numbers(text, start, end))
    orders = bool(_ABOUT_ORDERS.search(near))
    for pattern, kind, fits in (
        (_LICENCE, Kind.DRIVER_LICENSE, lambda _: not orders or _ABOUT_LICENCES.search(near)),
        (_CARD, Kind.CARD, lambda number: _passes_luhn(number) and (not orders or _ABOUT_CARDS.search(near))),
        (_KOREAN_PHONE, Kind.PHONE, lambda number: not orders or _ABOUT_PHONES.search(near) or number[:2] == "01"),
        (_BUSINESS, Kind.BUSINESS_NUMBER, lambda number: _is_business(number, near)),
        (_ACCOUNT, Kind.BANK_ACCOUNT, lambda number: _is_account(number, near)),
        (_OTHER_PHONE, Kind.PHONE, lambda _: not orders),
    ):
        for match in pattern.finditer(text, start, end):
            free = all(match.end() <= find.start or match.start() >= find.end for find in taken)
            if free and fits(match[0]):
                taken.append(Find(*match.span(), kind))
    return iter(taken)


def _near(text: str, start: int, end: int) -> str:
    return text[max(0, start - _BEFORE) : start] + " " + text[end : end + _AFTER]


def _resident_numbers(text: str, start: int, end: int) -> Iterator[Find]:
    for match in _RESIDENT.finditer(text, start, end):
        birth, seventh, rest = match[1] or match[4], match[2] or match[5], match[3] or match[6]
        near = _near(text, *match.span())
        named = bool(_ABOUT_PERSONS.search(near) or _ABOUT_ALIENS.search(near))
        if not named and _ABOUT_ORDERS.search(near):
            continue
        certain = _is_date(birth) and (match[1] or _passes_resident_checksum(birth + seventh + rest))
        if named or certain:
            yield Find(*match.span(), Kind.ALIEN_NUMBER if seventh in "5678" else Kind.RESIDENT_NUMBER)


def _is_date(digits: str) -> bool:
    return "01" <= digits[2:4] <= "12" and "01" <= digits[4:6] <= "31"


def _passes_resident_checksum(number: str) -> bool:
    total = sum(
        int(digit) * weight for digit, weight in zip(number, (2, 3, 4, 5, 6, 7, 8, 9, 2, 3, 4, 5), strict=False)
    )
    check = (11 - total % 11) % 10
    return int(number[12]) in (check, (check + 2) % 10)  # aliens' checksums are two higher


def _passes_luhn(number: str) -> bool:
    digits = [int(char) for char in reversed(number) if char.isdigit()]
    return (sum(digits[0::2]) + sum(sum(divmod(2 * digit, 10)) for digit in digits[1::2])) % 10 == 0


def _is_business(number: str, near: str) -> bool:
    digits = [int(char) for char in number if char.isdigit()]
    total = sum(digit * weight for digit, weight in zip(digits, (1, 3, 7, 1, 3, 7, 1, 3), strict=False))
    total += digits[8] * 5 // 10 + digits[8] * 5
    valid = (10 - total % 10) % 10 == digits[9]
    if _ABOUT_BUSINESS.search(near):
        return True
    return valid and "-" in number and not (_ABOUT_ORDERS.search(near) or _ABOUT_ACCOUNTS.search(near))


def _is_account(number: str, near: str) -> bool:
    digits = sum(char.isdigit() for char in number)
    if not 10 <= digits <= 14 or _DATE.match(number) or not _ABOUT_ACCOUNTS.search(near):
        return False
    return "-" in number or not _ABOUT_ORDERS.search(near)
