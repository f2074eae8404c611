"""What an installation serves: artifacts whose addresses begin as it says, scaled by triggers that it knows."""

from collections.abc import Mapping, Sequence

__all__ = ["source_refusal", "trigger_refusal"]


def source_refusal(uris: Mapping[str, str], allowed: Sequence[str]) -> str:
    """Return why an artifact is not served whose fields are these URIs, with the remedy; nothing where it may be."""
    refused = (field for field, uri in uris.items() if not any(uri.startswith(beginning) for beginning in allowed))
    if (field := next(refused, None)) is None:
        return ""
    taken = f"one that begins with {' or '.join(allowed)}" if allowed else "none"
    return (
        f"`{field}` is {uris[field]}, and this installation serves {taken}: create the version with such an artifact, "
        "or have the chart's `server.sources` allow this one"
    )


def trigger_refusal(types: Sequence[str], allowed: Sequence[str]) -> str:
    """Return why KEDA does not scale by triggers of these types, with the remedy; nothing where it may."""
    if (refused := next((one for one in types if one not in allowed), None)) is None:
        return ""
    taken = " and ".join(allowed) or "none"
    return (
        f"`serving.autoscaling.triggers` has one of type {refused}, and this installation takes {taken}: create the "
        "version without it, or have the chart's `server.triggers` name it"
    )
