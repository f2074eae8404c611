"""Personal data in a message, masked so that JSON stays JSON.

Where a message is JSON, or holds a document that begins a line, the strings' values alone are masked, each read with
its key before it: `{"성명": "홍길동"}`. Keys, numbers and the layout stay as they came. A number whose key says that
it is personal data (`{"phone": 1012345678}`) has no word that could stand in its place: it is told by its field. A key
that is itself personal data is not looked at.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from .pii import Finder, Kind

__all__ = ["Masked", "mask"]

_DOCUMENT = re.compile(r"(?:^|\n)[ \t]*(?=[{\[])")
_SCALAR = re.compile(r'"(?:[^"\\]|\\.)*"|-?\d[\d.eE+-]*')
_COLON = re.compile(r"\s*:")
_NUMBERED = (
    (re.compile(r"주민|resident|rrn", re.IGNORECASE), Kind.RESIDENT_NUMBER, (13,)),
    (re.compile(r"외국인|alien", re.IGNORECASE), Kind.ALIEN_NUMBER, (13,)),
    (re.compile(r"전화|휴대|핸드폰|연락처|phone|mobile", re.IGNORECASE), Kind.PHONE, (9, 10, 11, 12)),
    (re.compile(r"카드\s?번호|card.?(?:no|num)", re.IGNORECASE), Kind.CARD, (15, 16)),
    (re.compile(r"계좌|account.?(?:no|num)", re.IGNORECASE), Kind.BANK_ACCOUNT, (10, 11, 12, 13, 14)),
    (re.compile(r"사업자", re.IGNORECASE), Kind.BUSINESS_NUMBER, (10,)),
    (re.compile(r"ssn|social.?security", re.IGNORECASE), Kind.SOCIAL_SECURITY_NUMBER, (9,)),
    (re.compile(r"면허", re.IGNORECASE), Kind.DRIVER_LICENSE, (12,)),
)
"""What a number is by its key, where it has so many digits."""


class Masked(NamedTuple):
    """A text without what was found in it."""

    text: str
    found: Counter[str]
    number: str = ""
    """The field of the first number that is personal data and cannot be masked; empty where there is none."""


def mask(finder: Finder, text: str) -> Masked:
    """Return the text with each find replaced by its kind, `[전화번호]`, and how many of each there were."""
    parts: list[Masked] = []
    end = 0
    for start, stop in _documents(text):
        parts += [Masked(*finder.mask(text[end:start])), _in_document(finder, text[start:stop])]
        end = stop
    if not parts:
        return Masked(*finder.mask(text))
    parts.append(Masked(*finder.mask(text[end:])))
    return _joined(parts)


def _documents(text: str) -> Iterator[tuple[int, int]]:
    if "{" not in text and "[" not in text:
        return
    end = 0
    for match in _DOCUMENT.finditer(text):
        if match.end() < end:
            continue
        try:
            _, end = json.JSONDecoder().raw_decode(text, match.end())
        except (ValueError, RecursionError):
            continue
        yield match.end(), end


def _in_document(finder: Finder, document: str) -> Masked:
    parts: list[Masked] = []
    end, key = 0, ""
    for match in _SCALAR.finditer(document):
        scalar = match[0]
        if scalar[0] != '"':
            if kind := _kind_of_number(finder, key, scalar):
                parts.append(Masked("", Counter([kind.value]), key))
        elif _COLON.match(document, match.end()):
            key = json.loads(scalar)
        elif (value := _in_value(finder, key, json.loads(scalar))).found:
            changed = json.dumps(value.text, ensure_ascii=False)
            parts += [Masked(document[end : match.start()], Counter()), value._replace(text=changed)]
            end = match.end()
    return _joined([*parts, Masked(document[end:], Counter())])


def _in_value(finder: Finder, key: str, value: str) -> Masked:
    """A value is read with its key before it, which may tell what it is; a value may hold JSON itself."""
    if value.lstrip().startswith(("{", "[")):
        return mask(finder, value)
    context = key.replace("_", " ") + ": "
    return Masked(*finder.mask(value, context))


def _kind_of_number(finder: Finder, key: str, number: str) -> Kind | None:
    if not number.isdigit():
        return None
    kinds = (kind for pattern, kind, digits in _NUMBERED if len(number) in digits and pattern.search(key))
    return next((kind for kind in kinds if kind in finder.kinds), None)


def _joined(parts: list[Masked]) -> Masked:
    found = sum((part.found for part in parts if part.found), Counter[str]())
    number = next((part.number for part in parts if part.number), "")
    return Masked("".join(part.text for part in parts), found, number)
