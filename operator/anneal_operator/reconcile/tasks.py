"""A namespace's task API, as the reconcile of its router observes and makes it."""

from collections.abc import Sequence

from anneal_operator.api.resources import OWNER_ANNOTATION
from anneal_operator.cluster.kinds import Manifest
from anneal_operator.cluster.reading import Reader
from anneal_operator.desired.keys import Keys
from anneal_operator.desired.operations import Apply, Operation
from anneal_operator.desired.routing import ROUTER
from anneal_operator.desired.tasks import TASKS, TasksEnvironment, task_table, tasks_objects
from anneal_operator.settings import Settings

__all__ = ["tasks_address", "tasks_steps"]


async def tasks_address(reader: Reader, namespace: str) -> str | None:
    """Return its Service's address; None while there is none of ours."""
    found = await reader.get("Service", namespace, TASKS)
    if found is None or found["metadata"].get("annotations", {}).get(OWNER_ANNOTATION) != TASKS:
        return None
    address: str | None = found["spec"].get("clusterIP")
    return address


def tasks_steps(
    namespace: str, owners: Sequence[Manifest], address: str | None, keys: Keys, settings: Settings
) -> list[Operation]:
    """Return everything that a task API needs, which asks the versions that own it."""
    env = TasksEnvironment(settings.router_image, settings.image_pull_policy, keys, ROUTER)
    return [*map(Apply, tasks_objects(namespace, owners, task_table(owners), address, env))]
