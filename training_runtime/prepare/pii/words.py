"""Personal data written in letters: e-mail addresses, postal addresses and names."""

import re
from collections.abc import Iterator

from .english_names import find_english_names
from .kinds import Find, Kind
from .korean_names import find_korean_names

__all__ = ["find_addresses", "find_words"]

_EMAIL = re.compile(r"(?<![A-Za-z0-9._%+-])[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+")

_ROAD_HINT = re.compile(r"(?:로|길|동|리|가)\s?(?:산\s?)?\d")
_PLACE = r"[가-힣]{1,7}(?:특별자치도|특별자치시|특별시|광역시|도|시|군|구)"
_PROVINCE = r"(?:서울|부산|대구|인천|광주|대전|울산|세종|경기|강원|충북|충남|전북|전남|경북|경남|제주)"
_DETAIL = (
    r"(?:,?\s?\(?[가-힣A-Za-z0-9]{0,12}?\)?\s?\d{1,4}동)?"
    r"(?:,?\s?\d{1,4}호|,?\s?(?:지하\s?)?\d{1,3}층(?:\s?\d{1,4}호)?)?"
)
_KOREAN_ADDRESS = re.compile(
    rf"(?:{_PROVINCE}\s|{_PLACE}\s)(?:{_PLACE}\s){{0,2}}(?:[가-힣]{{1,6}}\d?(?:읍|면|동|리|가)\s)?"
    rf"(?:[가-힣][가-힣0-9·]{{0,11}}(?:대로|로|길)\s?\d{{1,5}}(?:-\d{{1,4}})?"
    rf"(?:번길\s?\d{{1,4}}(?:-\d{{1,4}})?)?"
    rf"|[가-힣]{{1,6}}\d?(?:동|리|가)\s(?:산\s?)?\d{{1,4}}(?:-\d{{1,4}})?(?:번지)?)"
    rf"(?!\s?(?:km|㎞|킬로|분|시간|월|일|년|번\s?출구))"
    rf"{_DETAIL}"
)
_STREET_HINT = re.compile(r"\d[A-Z]?\s[A-Z][a-z.]")
_STREET = re.compile(
    r"(?<![\w-])\d{1,5}[A-Z]?\s(?:[NSEW]\.?\s)?(?:[A-Z][a-z]+\s){1,3}"
    r"(?:Street|St|Avenue|Ave|Road|Rd|Boulevard|Blvd|Lane|Ln|Drive|Dr|Court|Ct|Way|Place|Pl|Terrace)(?![A-Za-z])\.?"
    r"(?:,?\s(?:Apt|Suite|Unit)\.?\s?\w{1,5})?(?:,\s[A-Z][a-z]+(?:\s[A-Z][a-z]+)?){0,2}(?:,\s[A-Z]{2}(?:\s\d{5})?"
    r"|,?\s[A-Z]{1,2}\d{1,2}[A-Z]?\s\d[A-Z]{2})?"
)
_BOX = re.compile(r"P\.?\s?O\.?\sBox\s\d{1,6}(?:,\s[A-Z][a-z]+(?:\s[A-Z][a-z]+)?)?(?:,\s[A-Z]{2}(?:\s\d{5})?)?")


def find_words(text: str, kinds: frozenset[Kind]) -> Iterator[Find]:
    """Yield every find of the kinds; finds may overlap, where two kinds fit."""
    if Kind.EMAIL in kinds and "@" in text:
        yield from (Find(*match.span(), Kind.EMAIL) for match in _EMAIL.finditer(text))
    if Kind.NAME in kinds:
        yield from find_korean_names(text)
        yield from find_english_names(text)


def find_addresses(text: str) -> Iterator[Find]:
    """Yield every postal address; none is without a digit."""
    for hint, pattern in ((_ROAD_HINT, _KOREAN_ADDRESS), (_STREET_HINT, _STREET)):
        if hint.search(text):
            yield from (Find(*match.span(), Kind.ADDRESS) for match in pattern.finditer(text))
    if " Box " in text:
        yield from (Find(*match.span(), Kind.ADDRESS) for match in _BOX.finditer(text))
