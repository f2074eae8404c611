"""The rules by which a question's text is cleaned."""

import re

from training_runtime.errors import PlanError
from training_runtime.plan import CleanPlan

__all__ = ["Cleaner"]


class Cleaner:
    """Removes a pattern and collapses whitespace; without rules it returns the text as it is."""

    def __init__(self, plan: CleanPlan) -> None:
        try:
            self._removed = re.compile(plan.remove_pattern) if plan.remove_pattern else None
        except re.error as error:
            raise PlanError(f"mend dataset.clean.removePattern, which is no regular expression: {error}") from error
        self._collapses = plan.collapse_whitespace

    def __call__(self, text: str) -> str:
        """Return the cleaned text."""
        if self._removed:
            text = self._removed.sub("", text)
        return " ".join(text.split()) if self._collapses else text
