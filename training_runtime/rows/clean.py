"""The rules by which a question's text is cleaned, as the plan has them."""

import re

from prompts.cleaning import Cleaner
from training_runtime.errors import PlanError
from training_runtime.plan import CleanPlan

__all__ = ["cleaner_of"]


def cleaner_of(plan: CleanPlan) -> Cleaner:
    """Return what cleans by these rules."""
    try:
        return Cleaner(plan.remove_pattern, collapses=plan.collapse_whitespace)
    except re.error as error:
        raise PlanError(f"mend dataset.clean.removePattern, which is no regular expression: {error}") from error
