"""Reports of ABExperiments: their looks are kept while they run, the whole once it is decided, in a run of MLflow.

All this is for people, so none of it is a step of a reconcile: no decision, promotion or status ever waits for it, and
what is refused is tried again here, less and less often. What is told comes from the statuses that the watches brought;
so a look costs one write, at most once in ten seconds, and fewer the longer an experiment runs.
"""

import asyncio
import logging
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Protocol

from anneal_operator.api.ab_experiment import ABExperimentSpec
from anneal_operator.api.ab_experiment_status import ABExperimentStatus
from anneal_operator.api.resources import OWNER_ANNOTATION
from anneal_operator.cluster.client import KubernetesApi
from anneal_operator.cluster.events import record_event
from anneal_operator.cluster.kinds import Manifest
from anneal_operator.desired.experiments import DECISION_KEY, record_name
from anneal_operator.desired.report.looks import Looks, look_at, looks_kept, looks_name
from anneal_operator.desired.report.page import Papers, page, record_text
from anneal_operator.desired.report.verdict import verdict, verdict_text
from anneal_operator.endpoints.experiments import Report
from anneal_operator.errors import AnnealError, ApiError, NameTakenError, RegistryError
from anneal_operator.reasons import ConditionType, Reason

from .context import Context

__all__ = ["ExperimentReports", "report_of"]

_PERIOD_SECONDS = 5.0
_FIRST_WAIT, _LONGEST_WAIT = timedelta(seconds=30), timedelta(minutes=30)
_FOLLOWED_WITHIN = timedelta(minutes=10)
"""For how long a report waits for what follows from the decision, so that it tells of it."""
_UNDER_WAY = " under way"
log = logging.getLogger("anneal.reports")


class Clock(Protocol):
    """The API server's time."""

    def __call__(self) -> datetime: ...


@dataclass
class _Kept:
    """What is known of one experiment."""

    looks: Looks | None = None
    reported: str = ""
    """The phase that the report in MLflow tells of, and whether something was still to follow."""
    due: datetime | None = None
    """Before which nothing is tried again, after a refusal."""
    wait: timedelta = _FIRST_WAIT
    is_told: bool = False
    """Whether an Event said that the report could not be kept."""


class ExperimentReports:
    """Keeps them for as long as this operator leads."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._kept: dict[str, _Kept] = {}

    async def keep_forever(self) -> None:
        """Keep what is due, until cancelled."""
        while True:
            await self.keep()
            await asyncio.sleep(_PERIOD_SECONDS)

    async def keep(self) -> None:
        """Look at every experiment once, those that run first; one that cannot be kept holds up no other's looks."""
        experiments = {str(one["metadata"]["uid"]): one for one in self._context.store.everywhere("ABExperiment")}
        self._kept = {uid: self._kept.get(uid, _Kept()) for uid in experiments}
        for experiment in sorted(experiments.values(), key=_is_decided):
            known = self._kept[str(experiment["metadata"]["uid"])]
            if known.reported and known.reported == (experiment.get("status") or {}).get("phase"):
                continue  # most are over, and reading them all takes its time
            if known.due and self._context.now() < known.due:
                continue
            if not await self._tried(experiment, known):
                return

    async def _tried(self, experiment: Manifest, known: _Kept) -> bool:
        """Keep what is due of one; return whether MLflow, where it was asked, may be asked for another now.

        One that does not answer takes its time over each question, and the next looks would wait for all of them.
        """
        try:
            await self._keep(experiment, known)
            known.due, known.wait = None, _FIRST_WAIT
        except AnnealError as error:
            await self._wait(experiment, known, error)
            return not isinstance(error, RegistryError)
        except Exception as error:
            log.exception("the report of an experiment: unexpected error; retrying")
            await self._wait(experiment, known, error)
        return True

    async def _wait(self, experiment: Manifest, known: _Kept, error: Exception) -> None:
        """Try again later, and say so once where it is MLflow that does not take a report."""
        metadata = experiment["metadata"]
        log.warning("the report of %s/%s has to wait: %s", metadata["namespace"], metadata["name"], error)
        known.due, known.wait = self._context.now() + known.wait, min(2 * known.wait, _LONGEST_WAIT)
        if known.is_told or not isinstance(error, RegistryError):
            return
        known.is_told = True
        message = f"the report is not kept with MLflow yet, and will be tried again: {error}"
        try:
            await record_event(self._context.api, experiment, Reason.REGISTRY_UNREACHABLE, message, warning=True)
        except ApiError as lost:
            log.warning("an event was lost: %s", lost)

    async def _keep(self, experiment: Manifest, known: _Kept) -> None:
        papers = _papers(experiment, self._context.now())
        if papers is None or "deletionTimestamp" in experiment["metadata"]:
            return
        if papers.status.decision is None:
            await self._keep_look(papers, known)
        elif known.reported not in {papers.status.phase, _stage(papers)} and not _is_to_wait(papers):
            await self._keep_report(papers, known, _stage(papers))

    async def _keep_look(self, papers: Papers, known: _Kept) -> None:
        look = look_at(papers.spec, papers.status, papers.now)
        started = papers.status.started_at
        if look is None or started is None:
            return
        if known.looks is None or known.looks.started_at != started:
            known.looks = await self._looks(papers, started)
        if known.looks.is_due(look):
            looks = known.looks.having(look)
            await self._context.api.apply(looks_kept(papers.experiment, looks))
            known.looks = looks

    async def _looks(self, papers: Papers, started: str) -> Looks:
        """What is kept already; raises NameTakenError where somebody else has the name."""
        metadata, name = papers.experiment["metadata"], looks_name(papers.experiment)
        found = await self._context.api.get("ConfigMap", metadata["namespace"], name)
        if found and (found["metadata"].get("annotations") or {}).get(OWNER_ANNOTATION) != metadata["name"]:
            raise NameTakenError(f"ConfigMap {name} exists and is not ours, so no looks are kept: delete it")
        return Looks.read(found, metadata["uid"], started, len(papers.spec.variants)) or Looks.begun(
            started, papers.spec
        )

    async def _keep_report(self, papers: Papers, known: _Kept, stage: str) -> None:
        """Keep it where the model does not say that it is kept; a later stage is told in its place."""
        models, model, metadata = self._context.models, papers.spec.model_name, papers.experiment["metadata"]
        heard, name = models.heard(model), record_name(papers.experiment)
        if heard is None:
            return
        kept = heard.reports.get(f"{metadata['namespace']}.{name}", "").partition(" ")[2]
        if kept not in {papers.status.phase, stage}:
            whole = await _completed(self._context.api, papers)
            if whole.record is None or DECISION_KEY not in (whole.record.get("data") or {}):
                return
            told = {"report.html": page(whole), "verdict.json": verdict_text(whole)}
            files = {**told, "record.json": record_text(whole.record)}
            await self._context.registry.keep_report(metadata["namespace"], model, name, stage, files)
            await models.ask(model)
            kept = stage
        known.reported = kept


async def report_of(api: KubernetesApi, now: Clock, namespace: str, name: str) -> Report | None:
    """Return what is served of an experiment, as it is now; raise ApiError, or ValueError where it cannot be read."""
    found = await api.get("ABExperiment", namespace, name)
    if found is None:
        return None
    experiment = {**found, "kind": "ABExperiment"}
    spec, status = _parsed(experiment)
    papers = await _completed(api, Papers(experiment, spec, status, now()))
    return Report(page(papers), verdict(papers))


async def _completed(api: KubernetesApi, papers: Papers) -> Papers:
    """The same, with its record and its looks."""
    metadata, started = papers.experiment["metadata"], papers.status.started_at
    if not started:
        return papers
    looks = await api.get("ConfigMap", metadata["namespace"], looks_name(papers.experiment))
    kept_as = papers.status.record or record_name(papers.experiment)
    record = await api.get("ConfigMap", metadata["namespace"], kept_as)
    known = Looks.read(looks, str(metadata["uid"]), started, len(papers.spec.variants))
    return replace(papers, record=record, looks=known)


def _papers(experiment: Manifest, now: datetime) -> Papers | None:
    try:
        return Papers(experiment, *_parsed(experiment), now)
    except ValueError:
        return None


def _parsed(experiment: Manifest) -> tuple[ABExperimentSpec, ABExperimentStatus]:
    spec, status = experiment.get("spec") or {}, experiment.get("status") or {}
    return ABExperimentSpec.parse(spec), ABExperimentStatus.parse(status)


def _is_decided(experiment: Manifest) -> bool:
    return bool((experiment.get("status") or {}).get("decision"))


def _stage(papers: Papers) -> str:
    """What a report tells of: the phase, and whether something is still to follow; then another report does, too."""
    working = papers.status.condition(ConditionType.RECONCILING)
    is_over = working is None or working.status != "True"
    return papers.status.phase if is_over else f"{papers.status.phase}{_UNDER_WAY}"


def _is_to_wait(papers: Papers) -> bool:
    """Whether what follows from the decision, or from the end of a bake, is being done, and is worth waiting for."""
    baked, since = papers.status.condition(ConditionType.BAKED), papers.until
    if baked and baked.status == "True":
        since = datetime.fromisoformat(baked.last_transition_time)
    return _stage(papers).endswith(_UNDER_WAY) and papers.now - since < _FOLLOWED_WITHIN
