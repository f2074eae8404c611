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

from .pii import Find, Finder, replaced
from .pii.contexts import KEYS

__all__ = ["Masked", "mask"]

_DOCUMENT = re.compile(r"(?:^|\n)[ \t]*(?=[{\[])")
_STRING = re.compile(r'("(?:[^"\\]|\\.)*")(\s*:)?')
_KEYED_NUMBER = re.compile(r'("(?:[^"\\]|\\.)*")\s*:[\s\[]*(\d{9,16})(?![\d.eE])')
_LONG_NUMBER = re.compile(r"\d{9}")
_GAP = "\n" + " " * 28


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
    return _joined([*parts, Masked(*finder.mask(text[end:]))])


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
    """All values are read at once, each with its key before it and far enough from the next not to be its neighbour."""
    scalars = list(_strings(document))
    lines = [f"{key.replace('_', ' ')}: {value}" for _, key, value in scalars]
    finds = iter(finder.find(_GAP.join(lines)))
    parts: list[Masked] = list(_numbers(finder, document))
    find, end, offset = next(finds, None), 0, 0
    for (match, _, value), line in zip(scalars, lines, strict=True):
        start, stop = offset + len(line) - len(value), offset + len(line)
        mine: list[Find] = []
        while find and find.start < stop:
            if start <= find.start and find.end <= stop:
                mine.append(Find(find.start - start, find.end - start, find.kind))
            find = next(finds, None)
        offset = stop + len(_GAP)
        nested = "{" in value or value[:1] == "["
        if not (mine or nested):
            continue
        masked = mask(finder, value) if nested else Masked(*replaced(value, mine))
        if masked.found:
            changed = json.dumps(masked.text, ensure_ascii=False)
            parts += [Masked(document[end : match.start()], Counter()), masked._replace(text=changed)]
            end = match.end(1)
    return _joined([*parts, Masked(document[end:], Counter())])


def _strings(document: str) -> Iterator[tuple[re.Match[str], str, str]]:
    """Each string's place, its key and its value."""
    key = ""
    for match in _STRING.finditer(document):
        text = json.loads(match[1]) if "\\" in match[1] else match[1][1:-1]
        if match[2]:
            key = text
        else:
            yield match, key, text


def _numbers(finder: Finder, document: str) -> Iterator[Masked]:
    for match in _KEYED_NUMBER.finditer(document) if _LONG_NUMBER.search(document) else ():
        key, digits = json.loads(match[1]), match[2]
        kinds = (kind for kind, (words, lengths) in KEYS.items() if len(digits) in lengths and words.search(key))
        if (kind := next(kinds, None)) and kind in finder.kinds:
            yield Masked("", Counter([kind.value]), key)


def _joined(parts: list[Masked]) -> Masked:
    if len(parts) == 1:
        return parts[0]
    found = sum((part.found for part in parts if part.found), Counter[str]())
    number = next((part.number for part in parts if part.number), "")
    return Masked("".join(part.text for part in parts), found, number)
