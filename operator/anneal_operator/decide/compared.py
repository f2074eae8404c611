"""What a recorder counted of the copies that a challenger was sent, and what is told of that."""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass

from anneal_operator.api.shadow import ShadowStatus

__all__ = ["Compared"]


@dataclass(frozen=True)
class Compared:
    """Sums of whole numbers, as the recorder has them (serving_runtime/recorder/shadows.py)."""

    requests: int = 0
    failures: int = 0
    compared: int = 0
    equal: int = 0
    similarity: int = 0
    timed: int = 0
    ln_latency: int = 0
    control_ln_latency: int = 0
    firsts: int = 0
    ln_first: int = 0
    control_ln_first: int = 0
    counted: int = 0
    tokens: int = 0
    control_tokens: int = 0
    json_asked: int = 0
    json_valid: int = 0
    control_json_valid: int = 0
    similarity_parts: int = 1
    """Of which whole numbers are one."""
    logarithm_parts: int = 1

    def sums(self) -> Mapping[str, int]:
        """Return all of it by name."""
        return dataclasses.asdict(self)

    def told(self) -> ShadowStatus:
        """Return what the status tells of it."""
        return ShadowStatus(
            copies=self.requests,
            failed=self.failures,
            compared=self.compared,
            identical=_over(self.equal, self.compared),
            similarity=_over(self.similarity, self.compared * self.similarity_parts),
            latency_seconds=self._mean(self.ln_latency, self.timed),
            control_latency_seconds=self._mean(self.control_ln_latency, self.timed),
            first_token_seconds=self._mean(self.ln_first, self.firsts),
            control_first_token_seconds=self._mean(self.control_ln_first, self.firsts),
            tokens=_over(self.tokens, self.counted),
            control_tokens=_over(self.control_tokens, self.counted),
            json_asked=self.json_asked,
            json_valid=self.json_valid,
            control_json_valid=self.control_json_valid,
        )

    def sentence(self) -> str:
        """Return what it says, for people."""
        if not self.compared:
            return f"no answer of {self.requests:,} copies was compared, {self.failures:,} failed"
        same, alike = self.equal / self.compared, self.similarity / (self.compared * self.similarity_parts)
        failed = f"{self.failures / self.requests:.2%} of {self.requests:,} copies failed"
        return f"{self.compared:,} answers compared, {same:.1%} identical, similarity {alike:.3f}, {failed}"

    def _mean(self, total: int, count: int) -> float | None:
        """The geometric mean, in seconds, of times whose logarithms are of milliseconds."""
        mean = _over(total, count * self.logarithm_parts)
        return None if mean is None else math.exp(mean) / 1000


def _over(total: int, count: int) -> float | None:
    return total / count if count else None
