"""MLflow's model registry: register a version once, read and move aliases.

MLflow's client is synchronous and patient: its calls run in a small pool of their own, each with a deadline, so a
dead MLflow delays nothing but what needs MLflow.
"""

import asyncio
import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar

from anneal_operator.errors import RegistryError

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion
    from mlflow.exceptions import MlflowException

__all__ = ["MlflowRegistry", "Registered", "Registry"]

_DEADLINE_SECONDS = 15.0
_THREADS = 4
_UID_TAG = "anneal.dev/model-version-uid"
_DIGEST_TAG = "anneal.dev/digest"
_NAME_TAG = "anneal.dev/model-version"
T = TypeVar("T")


@dataclass(frozen=True)
class Registered:
    """A version as the registry knows it."""

    model: str
    version: str
    aliases: tuple[str, ...]
    uri: str
    digest: str
    url: str


class Registry(Protocol):
    """What the reconcilers need of MLflow; every method raises RegistryError where it does not answer."""

    async def register(self, model: str, uid: str, name: str, uri: str, digest: str, run_id: str) -> Registered:
        """Return the version that was registered for this ModelVersion, registering it if there is none."""

    async def read(self, model: str, version: str) -> Registered:
        """Return a version that was registered."""

    async def at_alias(self, model: str, alias: str) -> Registered | None:
        """Return the version that an alias points at."""

    async def metrics_at_alias(self, model: str, alias: str) -> Mapping[str, float] | None:
        """Return the metrics of the run that made the version at an alias, None where there is no such version."""

    async def set_alias(self, model: str, alias: str, version: str) -> None:
        """Point an alias at a version."""

    async def promote(self, model: str, alias: str, version: str, record: Mapping[str, str]) -> None:
        """Leave the record of a decision on a version as tags, then point an alias at it."""


class MlflowRegistry:
    """Registry on a real MLflow server."""

    def __init__(self, url: str, public_url: str = "") -> None:
        # The defaults retry for minutes; the work queue retries better, as it also tells the user.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
        self._url = url
        self._public_url = (public_url or url).rstrip("/")
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="mlflow")
        self._may_write: Callable[[], bool] = lambda: True

    def fence(self, may_write: Callable[[], bool]) -> None:
        """Refuse writes from now on whenever `may_write` says no: a call that waited for a thread comes late."""
        self._may_write = may_write

    async def register(self, model: str, uid: str, name: str, uri: str, digest: str, run_id: str) -> Registered:
        """Return the version that was registered for this ModelVersion, registering it if there is none."""
        return await self._call(lambda client: self._register(client, model, uid, name, uri, digest, run_id))

    async def read(self, model: str, version: str) -> Registered:
        """Return a version that was registered."""
        return await self._call(lambda client: self._converted(client.get_model_version(model, version)))

    async def at_alias(self, model: str, alias: str) -> Registered | None:
        """Return the version that an alias points at."""
        return await self._call(lambda client: self._at_alias(client, model, alias))

    async def metrics_at_alias(self, model: str, alias: str) -> Mapping[str, float] | None:
        """Return the metrics of the run that made the version at an alias, None where there is no such version.

        A version that no run made has no metrics; still it is there to be compared with.
        """

        def ask(client: "MlflowClient") -> Mapping[str, float] | None:
            found = self._version_at(client, model, alias)
            if found is None:
                return None
            if not found.run_id:
                return {}
            metrics: dict[str, float] = client.get_run(found.run_id).data.metrics
            return metrics

        return await self._call(ask)

    async def set_alias(self, model: str, alias: str, version: str) -> None:
        """Point an alias at a version."""
        await self._call(lambda client: self._set_alias(client, model, alias, version))

    async def promote(self, model: str, alias: str, version: str, record: Mapping[str, str]) -> None:
        """Leave the record of a decision on a version as tags, then point an alias at it."""

        def both(client: "MlflowClient") -> None:
            self._tag(client, model, version, record)
            self._set_alias(client, model, alias, version)

        await self._call(both)

    async def _call(self, ask: Callable[["MlflowClient"], T]) -> T:
        loop = asyncio.get_running_loop()
        try:
            return await asyncio.wait_for(loop.run_in_executor(self._pool, self._ask, ask), _DEADLINE_SECONDS)
        except TimeoutError as error:
            raise RegistryError(f"MLflow at {self._url} did not answer within {_DEADLINE_SECONDS:g} s") from error

    def _ask(self, ask: Callable[["MlflowClient"], T]) -> T:
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException

        try:
            return ask(MlflowClient(self._url, self._url))
        except MlflowException as error:
            raise RegistryError(f"MLflow at {self._url} {_in_words(error)}") from error

    def _register(
        self, client: "MlflowClient", model: str, uid: str, name: str, uri: str, digest: str, run_id: str
    ) -> Registered:
        from mlflow.exceptions import MlflowException

        if found := self._of_uid(client, model, uid):
            return found
        try:
            self._check_fence()
            client.create_registered_model(model)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        # The uid goes last: a version that carries it is whole, wherever the one who wrote it was killed.
        tags = {_NAME_TAG: name, _DIGEST_TAG: digest, _UID_TAG: uid}
        of_run = f"name = '{model}' and run_id = '{run_id}'"
        if run_id and (found_of_run := client.search_model_versions(of_run, max_results=1)):  # the job registered it
            version = str(found_of_run[0].version)
            self._tag(client, model, version, tags)
            return self._converted(client.get_model_version(model, version))
        self._check_fence()
        made = client.create_model_version(model, uri, run_id=run_id or None, tags=tags)
        registered = self._of_uid(client, model, uid) or self._converted(made)
        if registered.version != str(made.version):
            client.delete_model_version(model, str(made.version))
        return registered

    def _of_uid(self, client: "MlflowClient", model: str, uid: str) -> Registered | None:
        """The first version with this uid.

        MLflow numbers versions in the order they are made, so all who ask after making one agree on the first. Another
        operator can have made one, too, or MLflow's client, which repeats a request that it got no answer to.
        """
        found = client.search_model_versions(f"name = '{model}' and tags.`{_UID_TAG}` = '{uid}'")
        if not found:
            return None
        first = min(int(version.version) for version in found)
        return self._converted(client.get_model_version(model, str(first)))

    def _tag(self, client: "MlflowClient", model: str, version: str, tags: Mapping[str, str]) -> None:
        for name, value in tags.items():
            self._check_fence()
            client.set_model_version_tag(model, version, name, value)

    def _set_alias(self, client: "MlflowClient", model: str, alias: str, version: str) -> None:
        self._check_fence()
        client.set_registered_model_alias(model, alias, version)

    def _check_fence(self) -> None:
        if not self._may_write():
            raise RegistryError("another operator may lead by now, so this one writes nothing to MLflow")

    def _at_alias(self, client: "MlflowClient", model: str, alias: str) -> Registered | None:
        found = self._version_at(client, model, alias)
        return self._converted(found) if found else None

    @staticmethod
    def _version_at(client: "MlflowClient", model: str, alias: str) -> "ModelVersion | None":
        from mlflow.exceptions import MlflowException

        try:
            return client.get_model_version_by_alias(model, alias)
        except MlflowException as error:
            if error.error_code in {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}:
                return None
            raise

    def _converted(self, version: "ModelVersion") -> Registered:
        return Registered(
            model=version.name,
            version=str(version.version),
            aliases=tuple(sorted(version.aliases or ())),
            uri=version.source or "",
            digest=(version.tags or {}).get(_DIGEST_TAG, ""),
            url=f"{self._public_url}/#/models/{version.name}/versions/{version.version}",
        )


def _in_words(error: "MlflowException") -> str:
    """What a person needs of an error: MLflow's client tells of its connection pools, and quotes pages of HTML."""
    from requests.exceptions import RequestException, RetryError

    cause = error.__cause__ or error.__context__  # the client wraps each error of its transport
    if isinstance(cause, RetryError):
        return "answers with server errors; see its log"
    if isinstance(cause, RequestException):
        return "is not reachable"
    if error.error_code in {"UNAUTHENTICATED", "PERMISSION_DENIED"}:
        return f"does not let the operator in ({error.error_code})"
    return f"refused: {error.message.partition(' Response body: ')[0]}"
