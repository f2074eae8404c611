"""The rules by which a question's text is cleaned, in rows and in requests."""

import re

__all__ = ["Cleaner"]


class Cleaner:
    """Removes a pattern and collapses whitespace; without rules it returns the text as it is."""

    def __init__(self, remove_pattern: str | None, *, collapses: bool) -> None:
        """Raise re.error of a pattern that is no regular expression."""
        self._removed = re.compile(remove_pattern) if remove_pattern else None
        self._collapses = collapses

    def __call__(self, text: str) -> str:
        """Return the cleaned text."""
        if self._removed:
            text = self._removed.sub("", text)
        return " ".join(text.split()) if self._collapses else text
