"""What rows of users and arms count."""

from enum import IntEnum

__all__ = ["ARM", "COUNTS", "WINDOWED", "WINDOW_SECONDS", "State"]

WINDOW_SECONDS = 86400.0
"""What comes within so long of a user's first answer is analysed: all users are observed for the same time."""
COUNTS = (
    "requests",
    "failures",
    "complete",
    "broken",
    "departed",
    "errors",
    "fallbacks",
    "latencies",
    "ln_latency",
    "prompt_tokens",
    "completion_tokens",
    "firsts",
    "ln_first",
    "paced",
    "pace",
)
"""What a user's row counts. `ln_latency` is a sum of logarithms (sums.py) over `latencies` complete answers, `ln_first`
one over `firsts`, of complete streams, of the time to the first content; `pace` is the time in microseconds between the
first and the last content of such streams, over `paced` tokens.
"""
ARM = ("users", "moved", *COUNTS)
"""What an arm counts; `moved` are users who were given another variant, too."""
WINDOWED = (
    "requests",
    "failures",
    "latencies",
    "ln_latency",
    "completion_tokens",
    "firsts",
    "ln_first",
    "paced",
    "pace",
)
"""Those of which there is a value per user."""


class State(IntEnum):
    """Whether a user's window is over."""

    OPEN = 0
    CLOSED = 1
    """Their values have entered the sums, once and for good; so variant and first answer are what they were then."""
    LEFT_OUT = 2
    """It was over before this release, which cannot tell what came within it."""
