"""Personal data that mixes letters and digits: plates, passports, licences, IBANs and IPv6 addresses."""

import re
from collections.abc import Iterator
from ipaddress import AddressValueError, IPv6Address

from . import contexts
from .kinds import Find, Kind

__all__ = ["find_codes"]

_REGION = r"(?:서울|부산|대구|인천|광주|대전|울산|세종|경기|강원|충북|충남|전북|전남|경북|경남|제주)"
_USE = "가나다라마거너더러머버서어저고노도로모보소오조구누두루무부수우주바사아자배허하호국합육해공"
_PLATE_HINT = re.compile(rf"\d ?[{_USE}] ?\d{{4}}(?!\d)")
_PLATE = re.compile(rf"(?<![\d.,-])(?<!제)\d{{2,3}} ?([{_USE}]) ?\d{{4}}(?!\d)")
_REGIONAL_PLATE = re.compile(rf"{_REGION} ?\d{{1,3}} ?[{_USE}] ?\d{{4}}(?!\d)")
_AMOUNT = re.compile(r"[,.]\d|\s?(?:년|월|원|만|억|천|개|명|점|위|%|㎡|km|kg|미터|톤)")
_PASSPORT = re.compile(r"(?<![A-Za-z\d])[MSRODG](?:\d{8}|\d{3}[A-Z]\d{4})(?![A-Za-z\d])")
_PASSPORT_HINT = re.compile(r"[MSRODG]\d{3}")  # begins with a set of characters: searched fast
_NAMED_PASSPORT = re.compile(
    r"(?:[Pp]assports?|PASSPORT|여권)[^\d\n,;]{0,16}?(?<![A-Za-z\d])"
    r"((?=[A-Z]*\d)(?:[A-Z]{0,2}\d{6,9}|[A-Z]\d{2}[A-Z]\d{2}[A-Z]\d{1,2}))(?![A-Za-z\d])"
)
_NAMED_LICENCE = re.compile(
    r"(?:licen[cs]e|\bDL)\s?(?:no\.?|num(?:ber|\.)|#|id)?\s?(?:is|:)?\s?([A-Z]{1,2}\d[\d-]{5,14}\d)(?![A-Za-z\d])",
    re.IGNORECASE,
)
_OLD_LICENCE = re.compile(rf"{_REGION} ?\d{{2}}-\d{{6}}-\d{{2}}(?![\d-])")
_IBAN = re.compile(r"(?<![A-Za-z\d])[A-Z]{2}\d{2}(?: ?[A-Z\d]{4}){2,7}(?: ?[A-Z\d]{1,3})?(?![A-Za-z\d])")
_IBAN_HINT = re.compile(r"[A-Z]{2}\d{2} ?[A-Z\d]{4}")
_HALF_SOCIAL_SECURITY = re.compile(r"(?:XXX-XX|xxx-xx|\*\*\*-\*\*)-\d{4}(?!\d)")
_LONG_HOST = re.compile(r"(?<![A-Za-z0-9_:.])(?:[0-9A-Fa-f]{0,4}:){2,7}[0-9A-Fa-f]{0,4}(?![A-Za-z0-9_:])")
_LONG_HOST_HINT = re.compile(r"[0-9A-Fa-f]:(?:[0-9A-Fa-f]{1,4}:[0-9A-Fa-f]{0,4}:|:)")


def find_codes(text: str, kinds: frozenset[Kind]) -> Iterator[Find]:
    """Yield every find of the kinds; finds may overlap, where two kinds fit."""
    if Kind.PLATE in kinds and _PLATE_HINT.search(text):
        yield from _plates(text)
    if Kind.PASSPORT in kinds:
        yield from _passports(text)
    if Kind.DRIVER_LICENSE in kinds and ("면허" in text or "icen" in text or "ICEN" in text or "DL" in text):
        yield from (Find(*match.span(1), Kind.DRIVER_LICENSE) for match in _NAMED_LICENCE.finditer(text))
        yield from (Find(*match.span(), Kind.DRIVER_LICENSE) for match in _OLD_LICENCE.finditer(text))
    if Kind.BANK_ACCOUNT in kinds and _IBAN_HINT.search(text):
        yield from (Find(*m.span(), Kind.BANK_ACCOUNT) for m in _IBAN.finditer(text) if _passes_iban_checksum(m[0]))
    if Kind.SOCIAL_SECURITY_NUMBER in kinds and ("-XX-" in text or "-xx-" in text or "-**-" in text):
        yield from (Find(*m.span(), Kind.SOCIAL_SECURITY_NUMBER) for m in _HALF_SOCIAL_SECURITY.finditer(text))
    if Kind.IP_ADDRESS in kinds and ":" in text and _LONG_HOST_HINT.search(text):
        yield from (Find(*m.span(), Kind.IP_ADDRESS) for m in _LONG_HOST.finditer(text) if _is_long_host(m[0]))


def _passports(text: str) -> Iterator[Find]:
    if _PASSPORT_HINT.search(text):
        for match in _PASSPORT.finditer(text):
            near = contexts.near(text, *match.span())
            if contexts.ABOUT_PASSPORTS.search(near) or not contexts.ABOUT_ORDERS.search(near):
                yield Find(*match.span(), Kind.PASSPORT)
    if "여권" in text or "assport" in text or "PASSPORT" in text:
        yield from (Find(*match.span(1), Kind.PASSPORT) for match in _NAMED_PASSPORT.finditer(text))


def _plates(text: str) -> Iterator[Find]:
    """A use's letter may be a word's (101호 2024년, 12조 3000억): then what follows, or a vehicle near, decides."""
    yield from (Find(*match.span(), Kind.PLATE) for match in _REGIONAL_PLATE.finditer(text))
    for match in _PLATE.finditer(text):
        if _AMOUNT.match(text, match.end()):
            continue
        loose = " " in match[0] and match[1] in "도조호자주부구수고하나가로다오"
        if not loose or contexts.ABOUT_VEHICLES.search(contexts.near(text, *match.span())):
            yield Find(*match.span(), Kind.PLATE)


def _passes_iban_checksum(iban: str) -> bool:
    plain = iban.replace(" ", "")
    return 15 <= len(plain) <= 34 and int("".join(str(int(char, 36)) for char in plain[4:] + plain[:4])) % 97 == 1


def _is_long_host(text: str) -> bool:
    try:
        address = IPv6Address(text)
    except AddressValueError:
        return False
    return not (address.is_loopback or address.is_unspecified) and sum(map(bool, text.split(":"))) > 2
