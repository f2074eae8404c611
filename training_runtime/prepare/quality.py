"""The rules by which a row is found unfit: too short or long, poor, rude, foreign."""

import re
from dataclasses import dataclass

from training_runtime.plan import CleanPlan, QualityPlan

__all__ = ["Gate", "score"]

_FULL_SCORE_WORDS = 12
_LANGUAGE_SAMPLE_CHARACTERS = 400
_LETTERS = {"ko": re.compile("[가-힣ㄱ-ㅎㅏ-ㅣ]"), "en": re.compile("[A-Za-z]")}
_OTHER_LETTERS = re.compile("[぀-ヿ㐀-鿿Ѐ-ӿ؀-ۿ฀-๿]")
_MIN_LETTER_SHARE = 0.3


def score(question: str, answer: str) -> float:
    """Judge a row's text from 0 to 1: long enough, and not the same few words again and again.

    The product of two shares: words of question and answer up to twelve, and distinct among the answer's words (the
    first 200; an answer of JSON counts as one word). It knows nothing of grammar or truth.
    """
    words = answer.split(maxsplit=200)[:200]
    if not words:
        return 0.0
    length = min(1.0, (len(words) + question.count(" ") + 1) / _FULL_SCORE_WORDS)
    distinct = len(set(words)) / len(words)
    return length * min(1.0, distinct / 0.5)


@dataclass(frozen=True)
class _Unfit:
    kind: str
    reason: str


class Gate:
    """Tells whether a row may go on to training."""

    def __init__(self, clean: CleanPlan, quality: QualityPlan) -> None:
        self._clean = clean
        self._quality = quality
        words = "|".join(re.escape(word.strip()) for word in quality.blocked_words if word.strip())
        self._blocked = re.compile(words, re.IGNORECASE) if words else None

    def unfit(self, question: str, answer: str) -> _Unfit | None:
        """Return why the row is removed, or None."""
        length, most = len(question), self._clean.max_characters
        if length < self._clean.min_characters or (most and length > most):
            return _Unfit("length", f"the question has {length} characters")
        if self._quality.min_score and (value := score(question, answer)) < self._quality.min_score:
            return _Unfit("quality", f"scores {value:.2f}, below {self._quality.min_score}")
        if self._blocked and (word := self._blocked.search(question) or self._blocked.search(answer)):
            return _Unfit("blocked-word", f"holds {word[0]!r}")
        if self._quality.languages and not self._in_language(question + " " + answer):
            return _Unfit("language", f"is not written in {' or '.join(self._quality.languages)}")
        return None

    def _in_language(self, text: str) -> bool:
        sample = text[:_LANGUAGE_SAMPLE_CHARACTERS]
        counts = {name: len(pattern.findall(sample)) for name, pattern in _LETTERS.items()}
        total = sum(counts.values()) + len(_OTHER_LETTERS.findall(sample))
        return not total or any(counts[name] / total >= _MIN_LETTER_SHARE for name in self._quality.languages)
