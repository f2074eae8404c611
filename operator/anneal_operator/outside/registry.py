"""MLflow's model registry: register a version once, read and move aliases.

MLflow's client is synchronous and patient: its calls run in a small pool of their own, each with a deadline, so a
dead MLflow delays nothing but what needs MLflow.
"""

import asyncio
import logging
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Protocol, TypeVar

from anneal_operator.errors import AnnealError, ForeignModelError, RefusedVersionError, RegistryError
from training_runtime.plan import DIGEST_TAG as _DIGEST_TAG
from training_runtime.plan import FAILURE_TAG, INSTALLATION_TAG, JOB_TAG, JOB_UID_TAG

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run
    from mlflow.entities.model_registry import ModelVersion
    from mlflow.exceptions import MlflowException
    from mlflow.store.entities import PagedList

__all__ = ["MlflowRegistry", "Registered", "RegisteredModel", "Registration", "Registry", "RunAtWork"]

_DEADLINE_SECONDS = 15.0
_THREADS = 4
_UID_TAG = "anneal.dev/model-version-uid"
_NAME_TAG = "anneal.dev/model-version"
_NAMESPACE_TAG = "anneal.dev/namespace"
_ALIASES_TAG = "anneal.dev/aliases-set"
_RECORD_TAG = "anneal.dev/experiment-record."
_REPORT_TAG = "anneal.dev/experiment-report."
_REPORT_OF_TAG = "anneal.dev/experiment-report-of"
T = TypeVar("T")
log = logging.getLogger("anneal.mlflow")


@dataclass(frozen=True)
class Registered:
    """A version as the registry knows it."""

    model: str
    version: str
    aliases: tuple[str, ...]
    uri: str
    digest: str
    url: str
    aliases_set: tuple[str, ...] = ()
    """The aliases of the ModelVersion's spec that were set already; people may have moved them since."""


@dataclass(frozen=True)
class RegisteredModel:
    """A registered model: whose it is, which version each alias points at, and what was decided of its versions."""

    namespace: str | None = None
    aliases: Mapping[str, str] = field(default_factory=dict)
    records: Mapping[str, str] = field(default_factory=dict)
    """Of experiments, by namespace and the record's name, with a dot between."""
    reports: Mapping[str, str] = field(default_factory=dict)
    """By the same: the run that has an experiment's report, and of which phase that is, with a space between."""


@dataclass(frozen=True)
class Registration:
    """A ModelVersion as it is to be registered."""

    namespace: str
    name: str
    uid: str
    model: str
    uri: str
    digest: str
    run_id: str


@dataclass(frozen=True)
class RunAtWork:
    """A job's run that has not ended, and whose it is."""

    run_id: str
    namespace: str
    job: str
    job_uid: str


class Registry(Protocol):
    """What the reconcilers need of MLflow; every method raises RegistryError where it does not answer."""

    async def register(self, version: Registration) -> Registered:
        """Return the version that was registered for this ModelVersion, registering it if there is none.

        Raises ForeignModelError where the registered model belongs to another namespace, RefusedVersionError where
        the artifact is not the named run's.
        """

    async def describe(self, model: str) -> RegisteredModel:
        """Return what is known of a registered model; of one that does not exist, nothing."""

    async def at_alias(self, model: str, alias: str) -> Registered | None:
        """Return the version that an alias points at."""

    async def metrics_at_alias(self, model: str, alias: str) -> Mapping[str, float] | None:
        """Return the metrics of the run that made the version at an alias, None where there is no such version."""

    async def end_run(self, experiment: str, job_uid: str, failure: str) -> None:
        """Have the run of a job, where it has one, say that it failed and by what kind of failure."""

    async def runs_at_work(self, installation: str) -> Sequence[RunAtWork]:
        """Return the runs that an installation's jobs began and that have not ended."""

    async def end_left_run(self, run_id: str) -> None:
        """Have a run that has not ended say that it was ended from outside."""

    async def set_aliases(self, namespace: str, model: str, version: str, aliases: Sequence[str]) -> None:
        """Point these aliases at a version unless that was done before; remember that it was."""

    async def give_alias(self, namespace: str, model: str, alias: str, version: str) -> None:
        """Point an alias at a version, where it points nowhere."""

    async def record(self, namespace: str, model: str, version: str, tags: Mapping[str, str]) -> None:
        """Leave the record of a decision on a version."""

    async def keep(self, namespace: str, model: str, name: str, record: str) -> None:
        """Keep the record of an experiment on the registered model, in the place of what was kept of it before."""

    async def keep_report(self, namespace: str, model: str, name: str, phase: str, files: Mapping[str, str]) -> None:
        """Keep the report of an experiment, as texts by their file names, in a run of its own."""

    async def move_alias(self, namespace: str, model: str, alias: str, expected: str, version: str) -> None:
        """Point an alias at a version, where it still points at the expected one, or nowhere."""


class MlflowRegistry:
    """Registry on a real MLflow server."""

    def __init__(self, url: str, public_url: str = "", *, shared: bool = False) -> None:
        # The defaults retry for minutes; the work queue retries better, as it also tells the user.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
        # Where runs can be seen would stand among the lines of JSON.
        os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
        self._url = url
        self._shared = shared
        self._public_url = (public_url or url).rstrip("/")
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="mlflow")
        self._may_write: Callable[[], bool] = lambda: True
        self._locks: dict[str, threading.Lock] = {}
        """By model: what is read of it before a write still holds when that comes."""

    def fence(self, may_write: Callable[[], bool]) -> None:
        """Refuse writes from now on whenever `may_write` says no: a call that waited for a thread comes late."""
        self._may_write = may_write

    async def register(self, version: Registration) -> Registered:
        """Return the version that was registered for this ModelVersion, registering it if there is none."""
        return await self._change(version.model, lambda client: self._register(client, version))

    async def describe(self, model: str) -> RegisteredModel:
        """Return what is known of a registered model; of one that does not exist, nothing."""
        return await self._call(lambda client: self._described(client, model))

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

    async def end_run(self, experiment: str, job_uid: str, failure: str) -> None:
        """Have the run of a job, where it has one, say that it failed and by what kind of failure."""

        def end(client: "MlflowClient") -> None:
            found = client.get_experiment_by_name(experiment)
            if found is None:
                return
            for run in client.search_runs([found.experiment_id], f"tags.`{JOB_UID_TAG}` = '{job_uid}'"):
                self._check_fence()
                client.set_tag(run.info.run_id, FAILURE_TAG, failure)
                self._check_fence()
                client.set_terminated(run.info.run_id, "FAILED")

        await self._call(end)

    async def runs_at_work(self, installation: str) -> Sequence[RunAtWork]:
        """Return the runs that an installation's jobs began and that have not ended."""
        asked = f"attributes.status = 'RUNNING' and tags.`{INSTALLATION_TAG}` = '{installation}'"

        def search(client: "MlflowClient") -> list[RunAtWork]:
            experiments = [found.experiment_id for found in _paged(client.search_experiments)]
            if not experiments:
                return []
            return [_run_at_work(run) for run in _paged(partial(client.search_runs, experiments, asked))]

        return await self._call(search)

    async def end_left_run(self, run_id: str) -> None:
        """Have a run that has not ended say that it was ended from outside."""

        def end(client: "MlflowClient") -> None:
            if client.get_run(run_id).info.status == "RUNNING":  # it may have ended since it was found
                self._check_fence()
                client.set_terminated(run_id, "KILLED")

        await self._call(end)

    async def set_aliases(self, namespace: str, model: str, version: str, aliases: Sequence[str]) -> None:
        """Point these aliases at a version unless that was done before; remember that it was."""

        def set_new(client: "MlflowClient") -> None:
            self._own(client, namespace, model)
            known = self._converted(client.get_model_version(model, version)).aliases_set
            for alias in aliases:
                if alias not in known:
                    self._set_alias(client, model, alias, version)
            self._tag(client, model, version, {_ALIASES_TAG: ",".join(aliases)})

        await self._change(model, set_new)

    async def give_alias(self, namespace: str, model: str, alias: str, version: str) -> None:
        """Point an alias at a version, where it points nowhere."""
        await self._change(model, lambda client: self._move(client, namespace, model, alias, frozenset(), version))

    async def record(self, namespace: str, model: str, version: str, tags: Mapping[str, str]) -> None:
        """Leave the record of a decision on a version."""

        def tag(client: "MlflowClient") -> None:
            self._own(client, namespace, model)
            self._tag(client, model, version, tags)

        await self._change(model, tag)

    async def keep(self, namespace: str, model: str, name: str, record: str) -> None:
        """Keep the record of an experiment on the registered model, in the place of what was kept of it before."""

        def tag(client: "MlflowClient") -> None:
            self._own(client, namespace, model)
            self._check_fence()
            client.set_registered_model_tag(model, f"{_RECORD_TAG}{namespace}.{name}", record)

        await self._change(model, tag)

    async def keep_report(self, namespace: str, model: str, name: str, phase: str, files: Mapping[str, str]) -> None:
        """Keep the report of an experiment, as texts by their file names, in a run of its own.

        The run is among those that trained the model, as nobody else is bound to one. That the model says where it is
        comes last; until then it is kept again, in the same run. Nobody waits for the model meanwhile.
        """
        kept = f"{namespace}.{name}"

        def upload(client: "MlflowClient") -> str:
            run_id = self._report_run(client, model, name, kept)
            for file, text in files.items():
                self._check_fence()
                client.log_text(run_id, text, file)
            self._check_fence()
            client.set_terminated(run_id)
            return run_id

        await self._change(model, lambda client: self._own(client, namespace, model))
        run_id = await self._call(upload)

        def tag(client: "MlflowClient") -> None:
            self._check_fence()
            client.set_registered_model_tag(model, f"{_REPORT_TAG}{kept}", f"{run_id} {phase}")

        await self._change(model, tag)

    def _report_run(self, client: "MlflowClient", model: str, name: str, kept: str) -> str:
        """The run that an experiment's report is kept in; made where there is none."""
        known = client.get_experiment_by_name(model)
        if known is None:
            self._check_fence()
        experiment = known.experiment_id if known else client.create_experiment(model)
        found = client.search_runs([experiment], f"tags.`{_REPORT_OF_TAG}` = '{kept}'")
        if found:
            return str(found[0].info.run_id)
        self._check_fence()
        return str(client.create_run(experiment, tags={_REPORT_OF_TAG: kept}, run_name=name).info.run_id)

    async def move_alias(self, namespace: str, model: str, alias: str, expected: str, version: str) -> None:
        """Point an alias at a version, where it still points at the expected one, or nowhere."""
        held_by = frozenset({expected})
        await self._change(model, lambda client: self._move(client, namespace, model, alias, held_by, version))

    def _move(
        self, client: "MlflowClient", namespace: str, model: str, alias: str, expected: frozenset[str], version: str
    ) -> None:
        """What somebody else than this operator moves in the same instant can still be lost."""
        self._own(client, namespace, model)
        holder = self._described(client, model).aliases.get(alias)
        if holder is None or holder in expected:
            self._set_alias(client, model, alias, version)

    def _own(self, client: "MlflowClient", namespace: str, model: str) -> None:
        """Have a registered model belong to a namespace; raise ForeignModelError where it is another's."""
        owner = self._described(client, model).namespace
        if owner is None:
            self._check_fence()
            client.set_registered_model_tag(model, _NAMESPACE_TAG, namespace)
        elif owner != namespace and not self._shared:
            raise ForeignModelError(
                f"registered model {model} in MLflow belongs to namespace {owner}: choose another modelName, or set "
                "the chart's mlflow.shared"
            )

    @staticmethod
    def _described(client: "MlflowClient", model: str) -> RegisteredModel:
        from mlflow.exceptions import MlflowException

        try:
            found = client.get_registered_model(model)
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return RegisteredModel()
            raise
        if found.name != model:
            raise RegistryError(f"the answer to a question after model {model} is of none such: is this MLflow?")
        aliases = {alias: str(version) for alias, version in (found.aliases or {}).items()}
        tags: Mapping[str, str] = found.tags or {}
        records, reports = (
            {tag.removeprefix(prefix): text for tag, text in tags.items() if tag.startswith(prefix)}
            for prefix in (_RECORD_TAG, _REPORT_TAG)
        )
        return RegisteredModel(tags.get(_NAMESPACE_TAG), aliases, records, reports)

    async def _change(self, model: str, ask: Callable[["MlflowClient"], T]) -> T:
        """Have a call change a model while no other call does: MLflow has no conditional write.

        The thread holds the lock, so a call that was given up still keeps others away for as long as it is under way.
        """

        def alone(client: "MlflowClient") -> T:
            with self._locks.setdefault(model, threading.Lock()):
                return ask(client)

        return await self._call(alone)

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
        except AnnealError:
            raise
        except Exception as error:
            log.exception("MLflow's client")
            raise RegistryError(
                f"MLflow at {self._url} gave an answer that cannot be read ({type(error).__name__})"
            ) from error

    def _register(self, client: "MlflowClient", wanted: Registration) -> Registered:
        from mlflow.exceptions import MlflowException

        model, uid = wanted.model, wanted.uid
        if found := self._of_uid(client, model, uid):
            self._own(client, wanted.namespace, model)
            return found
        try:
            self._check_fence()
            client.create_registered_model(model)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        self._own(client, wanted.namespace, model)
        # The uid goes last: a version that carries it is whole, wherever the one who wrote it was killed.
        tags = {_NAMESPACE_TAG: wanted.namespace, _NAME_TAG: wanted.name, _DIGEST_TAG: wanted.digest, _UID_TAG: uid}
        if known := self._without_uid(client, wanted):
            self._tag(client, model, known, tags)
            return self._converted(client.get_model_version(model, known))
        self._check_fence()
        made = self._made(client, wanted, tags)
        registered = self._of_uid(client, model, uid) or self._converted(made)
        if registered.version != str(made.version):
            self._check_fence()
            client.delete_model_version(model, str(made.version))
        return registered

    @staticmethod
    def _made(client: "MlflowClient", wanted: Registration, tags: dict[str, str]) -> "ModelVersion":
        """Make the version; MLflow takes an artifact of its own store only with the run in whose folder it lies."""
        from mlflow.exceptions import MlflowException

        try:
            return client.create_model_version(wanted.model, wanted.uri, run_id=wanted.run_id or None, tags=tags)
        except MlflowException as error:
            if error.error_code != "INVALID_PARAMETER_VALUE":
                raise
            named = f"run {wanted.run_id}" if wanted.run_id else "no run"
            raise RefusedVersionError(
                "`provenance.mlflowRunId` has to name the MLflow run whose artifacts `artifact.uri` lies in; this "
                f"version names {named}, so create it anew with another `provenance`. MLflow {_in_words(error)}"
            ) from error

    @staticmethod
    def _without_uid(client: "MlflowClient", wanted: Registration) -> str | None:
        """The version that the job's run registered, or that an earlier ModelVersion of this name and artifact did.

        A manifest that is applied again, as after a restore, stays the version that it was, with its aliases.
        """
        model = f"name = '{wanted.model}'"
        same = {_NAMESPACE_TAG: wanted.namespace, _NAME_TAG: wanted.name, _DIGEST_TAG: wanted.digest}
        asked = [" and ".join([model, *(f"tags.`{tag}` = '{value}'" for tag, value in same.items())])]
        if wanted.run_id:
            asked.insert(0, f"{model} and run_id = '{wanted.run_id}'")
        found = next((found for ask in asked if (found := client.search_model_versions(ask))), ())
        return max((str(version.version) for version in found), key=int, default=None)

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
            aliases_set=tuple(alias for alias in (version.tags or {}).get(_ALIASES_TAG, "").split(",") if alias),
        )


def _paged(ask: Callable[..., "PagedList[T]"]) -> Iterator[T]:
    """Everything that a search finds, page by page."""
    token: str | None = None
    while True:
        found = ask(page_token=token)
        yield from found
        token = found.token
        if not token:
            return


def _run_at_work(run: "Run") -> RunAtWork:
    tags = run.data.tags
    namespace, _, job = tags.get(JOB_TAG, "").partition("/")
    return RunAtWork(run.info.run_id, namespace, job, tags.get(JOB_UID_TAG, ""))


def _in_words(error: "MlflowException") -> str:
    """What a person needs of an error: MLflow's client tells of its connection pools, and quotes pages of HTML."""
    from requests.exceptions import RequestException, RetryError

    cause = error.__cause__ or error.__context__  # the client wraps each error of its transport
    if isinstance(cause, RetryError):
        return "answers with server errors; see its log"
    if isinstance(cause, RequestException):
        return "is not reachable"
    if error.error_code in {"UNAUTHENTICATED", "PERMISSION_DENIED"}:
        return f"rejected the operator's credentials ({error.error_code})"
    return f"refused: {error.message.partition(' Response body: ')[0]}"
