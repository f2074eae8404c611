"""Whether users are spread over the variants as their buckets say, as evidence that may be looked at at any time.

Lindon and Malek (2011.03567): the likelihood of the counts with a Dirichlet prior around the shares, over that with the
shares themselves. If they are as said, it reaches 1,000 once in a thousand experiments, however often it is looked at.
"""

import math
from collections.abc import Sequence

__all__ = ["LATCH", "log_evidence"]

LATCH = math.log(1000)
"""Evidence that stands, whatever comes later."""
_PRIOR = 1000.0


def log_evidence(counts: Sequence[int], shares: Sequence[int]) -> float:
    """Return the logarithm of the evidence against counts being shared out like `shares`."""
    total = sum(shares)
    expected = [share / total for share in shares]
    gained = math.lgamma(_PRIOR) - math.lgamma(_PRIOR + sum(counts))
    for count, share in zip(counts, expected, strict=True):
        gained += math.lgamma(_PRIOR * share + count) - math.lgamma(_PRIOR * share) - count * math.log(share)
    return gained
