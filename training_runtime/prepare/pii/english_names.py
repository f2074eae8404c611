"""Names in Latin letters: capitalised words that a title, a role or a greeting announces, or that are given names.

A row of capitalised words is read from the left. A title (Mr. Okonkwo) makes a name of any word, a role or a field
(plaintiff, Signed:) of words that are not common ones, a greeting or "by" of one that is given or of two. Without any
of these a name begins with one that is given, as hundreds bear it. Nothing here learns: a lone rare name is not found.
"""

import re
from collections.abc import Iterator, Sequence

from .kinds import Find, Kind
from .lexicon import (
    COMMON_WORDS,
    ENGLISH_HINTS,
    ENGLISH_OPENERS,
    ENGLISH_PLACES,
    ENGLISH_ROLES,
    ENGLISH_TITLES,
    GIVEN_NAMES,
    KOREAN_SURNAMES,
    SURNAMES,
)

__all__ = ["find_english_names"]

_UPPER, _LOWER = "A-ZÀ-ÖØ-ÞĀ-Ž", "a-zß-öø-ÿĀ-ž"
_REST = (
    rf"(?:(?:['\u2019][{_UPPER}])?[{_LOWER}]+(?:[A-Z][{_LOWER}]+)?(?:-[{_UPPER}{_LOWER}][{_LOWER}]+)*"
    r"|[A-Z]+(?:-[A-Z]{2,})?|\.)(?![A-Za-z0-9_@])"
)
_WORD = re.compile(rf"[{_UPPER}]{_REST}")
_PARTICLES = r"(?:(?:van|von|de|der|den|da|di|del|dos|bin|ibn|al|el|la|le|ten|ter) ){0,2}"
# A pattern that begins with a set of characters is searched fast: so what must not stand before is asked after it.
_ROW = re.compile(rf"[{_UPPER}](?<![\w@./&'\u2019-].){_REST}(?:\.? {_PARTICLES}[{_UPPER}]{_REST})*")
_LOWERCASE = re.compile(
    rf"(?:[Nn]ame(?:'s| is)?|[Tt]his is|[Ii]t'?s|[Ii]'?m|[Ii] am) "
    rf"([{_LOWER}]{{3,}})(?: ([{_LOWER}]{{3,}}))?(?!\w)"
)
_ROLE_PHRASES = frozenset(
    {"statement of", "behalf of", "on file", "signed by", "the month", "approved by", "reviewed by"}
)
_HEADINGS = frozenset({"from", "to"})
"""Roles where a colon follows them."""
_GREETINGS = frozenset(["dear", "hi", "hello", "hey", "thanks", "am", "i'm", "i\u2019m"])
_SIGNATURES = frozenset(["regards", "sincerely", "thanks", "cheers", "best", "wishes", "yours", "truly", "you"])
_COMPANIES = frozenset(
    {"morgan stanley", "john deere", "goldman sachs", "merrill lynch", "charles schwab", "calvin klein", "ralph lauren"}
    | {"tommy hilfiger", "mary kay", "harley davidson", "jack daniels", "marks spencer", "martin luther king"}
)
_ENDS = re.compile(r"[:,\n]\s*$")
_INITIAL = re.compile(r"[A-Z]\.")
_LISTED = re.compile(r"(?: \([^()]*\))?(?:,|;| and| &| or)?(?: and)? ?")
_BEFORE_DATA = re.compile(r"\s?[(,/]\s?(?:\+\d|\(?0?\d{2,3}\)?[ .-]\d{3})|\s<\S+@")
_SYLLABLE = (
    "(?:chang|chan|cheol|chul|choon|chun|dae|dal|dong|do|eun|geun|gi|gyu|ha|hae|hak|hee|hi|ho|hoon|hun|hwa|hwan|hye|hyeok|"
    "hyuk|hyeon|hyun|hyung|hyo|il|in|ja|jae|jeong|jung|ji|jin|jong|joo|ju|joon|jun|kang|ki|kwang|kyu|kyung|gyeong|mi|min|"
    "myung|myeong|na|nam|ra|ri|rin|rae|sang|se|seo|seok|suk|seon|sun|seong|sung|seul|seung|si|sik|so|sol|soo|su|sook|soon|"
    "tae|taek|uk|wook|won|woo|u|yang|ye|yeon|yun|yeong|young|yong|yoo|yu|yoon|yul|ah|a|bin|beom|bum|byung|bok|han|hyang)"
)
_KOREAN_GIVEN = re.compile(rf"{_SYLLABLE}-?{_SYLLABLE}", re.IGNORECASE)


def find_english_names(text: str) -> Iterator[Find]:
    """Yield every find; none overlap."""
    last: Find | None = None
    for row in _ROW.finditer(text):
        if " " not in row[0] and _is_common(row[0]):
            continue
        for find in _in_row(text, list(_WORD.finditer(text, row.start(), row.end())), last):
            last = find
            yield find
    if "name" in text or "his is " in text or "'m " in text or "t's " in text or " its " in text or " am " in text:
        yield from _lowercase(text)


def _in_row(text: str, words: Sequence[re.Match[str]], last: Find | None) -> Iterator[Find]:
    position = 0
    while position < len(words):
        length = 0
        if (
            not _is_common(words[position][0])
            or _is_title(words, position)
            or _is_korean([w[0] for w in words[position : position + 2]])
        ):
            length = _name_at(text, words, position, last)
        if length:
            last = Find(words[position].start(), words[position + length - 1].end(), Kind.NAME)
            yield last
        position += length or 1


def _is_common(word: str) -> bool:
    plain = word.casefold()
    return plain in COMMON_WORDS and plain not in GIVEN_NAMES and plain not in SURNAMES


def _name_at(text: str, words: Sequence[re.Match[str]], position: int, last: Find | None) -> int:
    """How many words a name has that begins here; 0 where none does."""
    first = words[position]
    rest = [word[0] for word in words[position : position + 5]]
    if _is_korean(rest[:2]):
        return 2
    if _is_title(words, position):
        return _length(rest, told=True)
    before = text[max(0, first.start() - 40) : first.start()]
    role, hint = _announced(before)
    length = _length(rest, told=role)
    if not length:
        return 0
    chosen, following = rest[:length], rest[length] if length < len(rest) else ""
    after = text[words[position + length - 1].end() :][:40]
    if _is_of_no_person(chosen, following, before, after):
        return 0
    given = _is_given(chosen[0])
    if _is_full_name(chosen, told=role or hint) or (given and role):
        return length
    if not following and any(not word.isupper() for word in chosen):
        listed = last is not None and _LISTED.fullmatch(text, last.end, first.start())
        greeted = hint and before.split()[-1].casefold() in _GREETINGS
        more = length > 1 or given or chosen[0].casefold() in SURNAMES
        if (more and (role or listed or greeted)) or (role and _ENDS.search(before)) or _BEFORE_DATA.match(after):
            return length
    return int(length == 1 and given and _stands_alone(words, position))


def _stands_alone(words: Sequence[re.Match[str]], position: int) -> bool:
    """A lone given name has no other capitalised word beside it but one that begins a sentence."""
    previous = words[position - 1][0].casefold().strip(".") if position else ""
    return (
        (not previous or previous in ENGLISH_OPENERS)
        and position == len(words) - 1
        and not words[position][0].isupper()
    )


def _is_full_name(chosen: Sequence[str], *, told: bool) -> bool:
    """A given name and more, a known surname after a doubtful one, or an initial before a long word."""
    if len(chosen) < 2:
        return False
    first, surname = chosen[0].casefold(), chosen[-1].casefold() in SURNAMES
    if _INITIAL.match(chosen[0]):
        return surname or len(chosen[-1]) > 3
    return _is_given(chosen[0]) or (surname and (told or first in GIVEN_NAMES))


def _is_of_no_person(chosen: Sequence[str], following: str, before: str, after: str) -> bool:
    """A street, a company, a saint's hospital or a case that is called by a name."""
    return (
        following.casefold().strip(".") in ENGLISH_PLACES
        or after.startswith((" &", "&"))
        or before.endswith(("& ", "St. ", "San ", "the ", "v. "))
        or " ".join(chosen).casefold() in _COMPANIES
    )


def _is_title(words: Sequence[re.Match[str]], position: int) -> bool:
    return position > 0 and words[position - 1][0].casefold().strip(".") in ENGLISH_TITLES


def _length(words: Sequence[str], *, told: bool) -> int:
    """How many words from the first on may be a name's; where one is told of, common words that are names too count."""
    length = 0
    for word in words[:4]:
        plain = word.casefold()
        named = plain in SURNAMES or plain in GIVEN_NAMES
        if (
            plain not in COMMON_WORDS
            or _INITIAL.match(word)
            or (named and (told if length else told and len(words) == 1))
            or (named and length and (_is_given(words[0]) or _INITIAL.match(words[0])))
            or (not length and plain in GIVEN_NAMES and len(words) > 1 and words[1].casefold() not in COMMON_WORDS)
        ):
            length += 1
        else:
            break
    while length and _INITIAL.match(words[length - 1]):
        length -= 1
    return length


def _is_given(word: str) -> bool:
    plain = word.casefold()
    return plain not in COMMON_WORDS and (plain in GIVEN_NAMES or ("-" in plain and plain.split("-")[0] in GIVEN_NAMES))


def _is_korean(words: Sequence[str]) -> bool:
    if len(words) != 2:
        return False
    one, two = (word.casefold() for word in words)
    return bool(
        (one in KOREAN_SURNAMES and _KOREAN_GIVEN.fullmatch(two))
        or (two in KOREAN_SURNAMES and _KOREAN_GIVEN.fullmatch(one))
    )


def _announced(before: str) -> tuple[bool, bool]:
    """Whether what stands before names a role, or at least lets one expect a name."""
    plain = before.rstrip()
    words = plain.rstrip(",:;.!(").casefold().split()[-2:]
    if (plain == before and plain.endswith(tuple("abcdefghijklmnopqrstuvwxyz0123456789"))) or not words:
        return False, False
    last, two = words[-1].lstrip("(\"'"), " ".join(words)
    role = (
        last in ENGLISH_ROLES or two in _ROLE_PHRASES or (last in ("is", "was", "name") and words[0] in ENGLISH_ROLES)
    )
    role = role or (last in _HEADINGS and plain.endswith(":")) or (last in _SIGNATURES and "\n" in before[len(plain) :])
    return role, last in ENGLISH_HINTS


def _lowercase(text: str) -> Iterator[Find]:
    for match in _LOWERCASE.finditer(text):
        if match[1] != match[1].lower() or not _is_given(match[1]):
            continue
        surname = match[2] and match[2] == match[2].lower() and match[2] in SURNAMES and match[2] not in COMMON_WORDS
        yield Find(match.start(1), match.end(2) if surname else match.end(1), Kind.NAME)
