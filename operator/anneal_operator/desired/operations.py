"""What builders return: manifests, and how each is brought about."""

from dataclasses import dataclass

from .pods import Manifest

__all__ = ["Apply", "Create", "Operation", "Patch"]


@dataclass(frozen=True)
class Create:
    """Made once and left alone: it never changes, or belongs to people from then on."""

    manifest: Manifest


@dataclass(frozen=True)
class Apply:
    """Applied whenever it differs; what others change in our fields is put right at the next resync."""

    manifest: Manifest


@dataclass(frozen=True)
class Patch:
    """Merged into an object that was observed; refused where it has changed since (`resourceVersion`)."""

    kind: str
    name: str
    changes: Manifest


Operation = Create | Apply | Patch
