"""What can go wrong around the operator.

AnnealError
├── ApiError           the Kubernetes API answered with an error, or not at all
│   └── ConflictError  it refused a write, because the object changed or exists
├── NameTakenError     an object of that name exists and is not ours
├── RegistryError      MLflow answered with an error, or not at all
│   ├── ForeignModelError  the registered model belongs to another namespace
│   └── RefusedVersionError  MLflow does not take the version as it is
└── RouterError        a namespace's router or recorder did not answer
"""

__all__ = [
    "AnnealError",
    "ApiError",
    "ConflictError",
    "ForeignModelError",
    "NameTakenError",
    "RefusedVersionError",
    "RegistryError",
    "RouterError",
]


class AnnealError(Exception):
    """Base of our errors; all of them pass, so the work queue tries again."""


class ApiError(AnnealError):
    """The Kubernetes API answered with an error (`status` is HTTP's), or not at all (`status` 0)."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class ConflictError(ApiError):
    """The API refused a write, because the object changed since it was read, or exists already."""


class RegistryError(AnnealError):
    """MLflow answered with an error, or not at all."""


class ForeignModelError(RegistryError):
    """The registered model belongs to another namespace, so nothing is written to it."""


class RefusedVersionError(RegistryError):
    """MLflow does not take the version as it is: somebody has to say otherwise where its weights come from."""


class NameTakenError(AnnealError):
    """An object of that name exists and is not ours, or is being deleted: it is waited out, never taken over."""


class RouterError(AnnealError):
    """A namespace's router or recorder did not answer."""
