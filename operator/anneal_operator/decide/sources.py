"""Which artifacts an installation serves: those whose addresses begin as it says."""

from collections.abc import Sequence

__all__ = ["source_refusal"]


def source_refusal(uri: str, allowed: Sequence[str]) -> str:
    """Return why an artifact is not served, with the remedy; nothing where it may be."""
    if any(uri.startswith(beginning) for beginning in allowed):
        return ""
    taken = f"one that begins with {' or '.join(allowed)}" if allowed else "none"
    return (
        f"`artifact.uri` is {uri}, and this installation serves {taken}: create the version with such an artifact, or "
        "have the chart's `server.sources` allow this one"
    )
