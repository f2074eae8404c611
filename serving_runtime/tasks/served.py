"""Which models there are, as the router tells it: no version is asked, so none that sleeps is woken."""

from pydantic import BaseModel, ConfigDict

from .refused import refusal_of_router
from .router_client import RouterClient

__all__ = ["Health", "Model", "Service", "served"]

_PATH = "/tasks/models"


class Model(BaseModel):
    """One of them."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    ready: bool
    problem: str | None = None
    """Why it is not ready."""
    production: str | None = None
    """The version that answers who names the model alone, where no experiment does."""
    versions: dict[str, str] = {}
    """Versions by what stands behind `@`: a number, or an alias."""


class Service(BaseModel):
    """What is served."""

    service: str = "anneal tasks"
    models: dict[str, Model]


class Health(BaseModel):
    """Which models answer."""

    status: str = "ok"
    ready: list[str]


async def served(router: RouterClient) -> dict[str, Model]:
    """Return all models by their names; raise RefusedError where the router does not know."""
    answer = await router.get(_PATH)
    if not answer.is_ok:
        raise refusal_of_router(answer, {})
    return {
        name: Model(
            ready=not told.get("problem"),
            problem=told.get("problem"),
            production=told.get("default"),
            versions=dict(sorted((told.get("named") or {}).items())),
        )
        for name, told in sorted(answer.json["models"].items())
    }
