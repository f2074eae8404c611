"""How every kind is reconciled: parse, observe, decide, act, write the status once.

A reconcile relies on what the watches told. Where its verdict is to do something, or to say that something has ended,
it is thrown away and everything is observed afresh, so nothing is ever done on hearsay. What cannot be parsed concerns
that object alone; a status that cannot be read is never overwritten. A step that is refused stops those after it, of
its own intent alone where a verdict says that they are apart; it becomes a condition, and is tried again less and less
often. Numbers that change all the time are written every ten seconds at most.
"""

from collections.abc import Awaitable
from typing import Any, Generic, TypeVar

from pydantic import ValidationError

from anneal_operator.api.resources import CUSTOM_RESOURCES
from anneal_operator.api.schema import Schema, timestamp
from anneal_operator.api.status import ObjectStatus
from anneal_operator.cluster.children import ensure_applied, ensure_created, is_applied
from anneal_operator.cluster.drift import has_drifted
from anneal_operator.cluster.kinds import Manifest
from anneal_operator.cluster.reading import RESYNC_SECONDS, Reader
from anneal_operator.decide.conditions import Finding, merged, without
from anneal_operator.decide.verdict import Call, Verdict
from anneal_operator.desired.operations import Apply, Create, Operation, Patch
from anneal_operator.errors import (
    AnnealError,
    ApiError,
    ForeignModelError,
    NameTakenError,
    RefusedVersionError,
    RegistryError,
    RouterError,
)
from anneal_operator.reasons import ConditionType, Reason

from .context import Context
from .kind import Item, Kind
from .queue import Key
from .telling import tell_changes, unreadable

__all__ = ["Harness"]

_COALESCE_SECONDS = 10.0
_FIRST_POLL_SECONDS, _LONGEST_POLL_SECONDS = 5.0, 60.0
_RECONCILED = {resource.kind for resource in CUSTOM_RESOURCES}
_NOT_FOUND = 404
_REFUSALS = {400, 403, _NOT_FOUND, 422}
_UNASKED_WEBHOOK = "failed calling webhook"
"""The API server itself works, and answers 500: somebody has to mend that webhook, so somebody has to be told."""
Spec = TypeVar("Spec", bound=Schema)
Status = TypeVar("Status", bound=ObjectStatus)
Observed = TypeVar("Observed")
Intent = TypeVar("Intent")
Effect = TypeVar("Effect", bound=Call)


class Harness(Generic[Spec, Status, Observed, Intent, Effect]):
    """Reconciles the objects of one kind."""

    def __init__(self, kind: Kind[Spec, Status, Observed, Intent, Effect], context: Context) -> None:
        self._kind = kind
        self._context = context
        self._written_at: dict[Key, float] = {}
        self._polls: dict[Key, int] = {}
        self._uids: dict[Key, str] = {}

    async def reconcile(self, key: Key) -> float | None:
        """Reconcile once; return the seconds after which to do it again without being woken."""
        readers = self._context.readers
        try:
            reader = readers.reader(key.kind, key.namespace, key.name)
            again = await self._reconcile(key, reader)
            if again is _TRUTH_NEEDED:
                readers.forget(key.kind, key.namespace, key.name)
                again = await self._reconcile(key, readers.reader(key.kind, key.namespace, key.name))
        except AnnealError:
            readers.forget(key.kind, key.namespace, key.name)
            raise
        return again

    async def _reconcile(self, key: Key, reader: Reader) -> float | None:
        manifest = await self._kind.subject(reader, key)
        if manifest is None or manifest["metadata"].get("deletionTimestamp"):
            self._forget(key)
            return None
        item = await self._parsed(manifest)
        if item is None:
            return None
        self._uids[key] = item.uid
        observed = await self._kind.observe(reader, item)
        verdict = self._kind.decide(observed, self._context.now())
        steps = await self._steps(reader, item, observed, verdict)
        settles = verdict.progress != "Working" and verdict.status.phase != item.status.phase
        if not reader.is_fresh and (steps or verdict.delete or verdict.effects or settles):
            return _TRUTH_NEEDED
        if reader.is_fresh:
            self._context.readers.note_fresh(key.kind, key.namespace, key.name, reader)
        problem = await self._act(item, observed, verdict, steps)
        if steps and not self._kind.has_status:
            self._wake_dependents(item)
        if problem or verdict.delete or verdict.effects or verdict.polls:
            self._context.readers.forget(key.kind, key.namespace, key.name)
        return await self._write(key, item, verdict, problem)

    def _forget(self, key: Key) -> None:
        self._kind.forget(key, self._uids.pop(key, ""))
        self._context.readers.forget(key.kind, key.namespace, key.name)
        self._written_at.pop(key, None)
        self._polls.pop(key, None)

    async def _parsed(self, manifest: Manifest) -> Item[Spec, Status] | None:
        """Return the object parsed; None where that cannot be done, which is told."""
        try:
            spec = self._kind.spec.parse(manifest.get("spec") or {})
        except ValidationError as error:
            await self._tell_unreadable(manifest, Reason.SPEC_INVALID, "the spec cannot be read", error)
            return None
        try:
            return Item(manifest, spec, self._kind.status.parse(manifest.get("status") or {}))
        except ValidationError as error:
            await self._tell_unreadable(manifest, Reason.STATUS_UNREADABLE, "the status cannot be read", error)
            return None

    async def _tell_unreadable(self, manifest: Manifest, reason: Reason, what: str, error: ValidationError) -> None:
        first = error.errors(include_url=False)[0]
        field = ".".join(str(part) for part in first["loc"])
        message = f"{what}, so nothing is done: {field}: {first['msg']}".replace(": :", ":")
        status = unreadable(manifest, reason, message, timestamp(self._context.now()))
        if status != (manifest.get("status") or {}):
            await self._store_status(manifest, status)

    async def _steps(
        self, reader: Reader, item: Item[Spec, Status], observed: Observed, verdict: Verdict[Status, Intent, Effect]
    ) -> list[list[Operation]]:
        """What is still to be written of what the verdict wants; a step that is refused stops those of its list."""
        made = [list(self._kind.build(item, observed, intent)) for intent in verdict.apply]
        lists = made if verdict.are_apart else [[step for steps in made for step in steps]]
        left = [[step for step in steps if not await self._is_done(reader, step)] for steps in lists]
        return [steps for steps in left if steps]

    async def _is_done(self, reader: Reader, step: Operation) -> bool:
        if not isinstance(step, Apply):
            return False
        metadata = step.manifest["metadata"]
        current = await reader.get(step.manifest["kind"], metadata["namespace"], metadata["name"])
        try:
            same = current is not None and is_applied(step.manifest, current)
        except NameTakenError:
            return False  # told when the step is taken
        return same and not (reader.is_fresh and current is not None and has_drifted(step.manifest, current))

    async def _act(
        self,
        item: Item[Spec, Status],
        observed: Observed,
        verdict: Verdict[Status, Intent, Effect],
        steps: list[list[Operation]],
    ) -> Finding | None:
        """Take the steps in their order; return what stopped them, and the effects that hang on them with them."""
        problem = await self._write_children(item, verdict, steps)
        told_by = self._kind.effects_on
        try:
            for effect in verdict.effects:
                if problem and effect.hangs_on_steps:
                    continue
                told_by = effect.told_by or self._kind.effects_on
                await self._kind.carry_out(item, observed, effect)
        except ForeignModelError as error:
            return Finding(told_by, "False", Reason.MODEL_OF_ANOTHER_NAMESPACE, str(error))
        except RefusedVersionError as error:
            return Finding(told_by, "False", Reason.REGISTRATION_REFUSED, str(error))
        except (RegistryError, RouterError) as error:
            return Finding(told_by, "False", Reason.REGISTRY_UNREACHABLE, str(error))
        return problem

    async def _write_children(
        self, item: Item[Spec, Status], verdict: Verdict[Status, Intent, Effect], steps: list[list[Operation]]
    ) -> Finding | None:
        if problem := await _refusal(self._end(item, verdict)):
            return problem
        problems = [await _refusal(self._take_all(item, one)) for one in steps]
        return next(filter(None, problems), None)

    async def _end(self, item: Item[Spec, Status], verdict: Verdict[Status, Intent, Effect]) -> None:
        for gone in verdict.delete:
            await self._context.api.delete(gone.kind, item.namespace, gone.name, gone.uid)
            self._kind.deleted(item, gone)

    async def _take_all(self, item: Item[Spec, Status], steps: list[Operation]) -> None:
        for step in steps:
            await self._take(item, step)

    async def _take(self, item: Item[Spec, Status], step: Operation) -> None:
        api = self._context.api
        match step:
            case Create(manifest):
                made = await ensure_created(api, manifest)
            case Apply(manifest):
                made = await ensure_applied(api, manifest)
            case Patch(kind, name, changes):
                await api.patch(kind, item.namespace, name, changes)
                return
        made = {**made, "kind": step.manifest["kind"]}
        if made["kind"] in _RECONCILED:
            self._context.store.learn(made)
        else:
            self._context.store.observe(made)
        key = item.manifest
        self._context.readers.remembers(key["kind"], item.namespace, item.name, made)

    async def _write(
        self, key: Key, item: Item[Spec, Status], verdict: Verdict[Status, Intent, Effect], problem: Finding | None
    ) -> float | None:
        """Write the status if it changed and is due; return when to reconcile again."""
        now = self._context.now()
        status = self._told(item, verdict, problem, timestamp(now))
        held_back = self._held_back(key, item.status, status, now.timestamp())
        again = verdict.again if self._kind.has_status or problem is None else None
        if self._kind.has_status and held_back == 0.0 and status != item.status:
            if _calm(status) == _calm(item.status):
                self._written_at[key] = now.timestamp()
            await self._store_status(item.manifest, status.dump())
            self._kind.written(item, status)
            if _calm(status) != _calm(item.status):
                self._polls.pop(key, None)
                self._wake_dependents(item)
        elif not self._kind.has_status:
            self._kind.written(item, status)
        waits = [RESYNC_SECONDS, *([again] if again is not None else []), *([held_back] if held_back else [])]
        if verdict.polls or problem:
            waits.append(self._poll(key))
        elif verdict.effects:
            waits.append(0.0)
        return min(waits)

    def _wake_dependents(self, item: Item[Spec, Status]) -> None:
        for other in self._kind.dependents(item):
            self._context.wake(other)

    def _told(
        self,
        item: Item[Spec, Status],
        verdict: Verdict[Status, Intent, Effect],
        problem: Finding | None,
        now: str,
    ) -> Status:
        """The verdict's status with what stopped it, and with the two conditions that kstatus reads.

        Where a step before the effects was refused, nothing has come of the verdict: the status stays what it was, but
        for what was measured.
        """
        status, progress = verdict.status, verdict.progress
        if problem and problem.type == ConditionType.RECONCILING:
            kept = without(item.status.conditions, [ConditionType.STALLED])
            conditions = merged(kept, [problem], item.generation, now)
            measured = {name: getattr(status, name) for name in status.MEASURED}
            return item.status.having(**measured, conditions=conditions, reason=problem.reason.value)
        if problem:
            status = status.having(conditions=merged(status.conditions, [problem], item.generation, now))
        if problem and not status.is_ended:
            status, progress = status.having(reason=problem.reason.value), "Working"
        both = (ConditionType.RECONCILING, ConditionType.STALLED)
        facts = without(status.conditions, both)
        message = next((c.message for c in facts if c.reason == status.reason), status.phase)
        reason = Reason(status.reason) if status.reason in set(Reason) else Reason.STARTING
        told = {"Working": ConditionType.RECONCILING, "Failed": ConditionType.STALLED, "Settled": None}[progress]
        kept = [*facts, *(c for c in status.conditions if c.type == told)]
        findings = [Finding(told, "True", reason, message)] if told else []
        return status.having(conditions=merged(kept, findings, item.generation, now))

    def _held_back(self, key: Key, before: Status, after: Status, now: float) -> float:
        """For how long news that nothing follows from is still held back."""
        if _calm(before) != _calm(after) or before == after:
            return 0.0
        return max(0.0, self._written_at.get(key, 0.0) + _COALESCE_SECONDS - now)

    def _poll(self, key: Key) -> float:
        count = self._polls[key] = self._polls.get(key, 0) + 1
        return min(_LONGEST_POLL_SECONDS, _FIRST_POLL_SECONDS * 2.0 ** (count - 1))

    async def _store_status(self, manifest: Manifest, status: Manifest) -> None:
        try:
            written = await self._context.api.write_status(manifest["kind"], manifest, status)
        except ApiError as error:
            if error.status == _NOT_FOUND:  # it is gone: the watch tells
                return
            raise
        self._context.store.observe({**written, "kind": manifest["kind"]})
        await tell_changes(self._context, manifest, status)


_TRUTH_NEEDED = -1.0


async def _refusal(step: Awaitable[None]) -> Finding | None:
    """Await it; return why somebody has to be told that it was refused."""
    kind = ConditionType.RECONCILING
    try:
        await step
    except NameTakenError as error:
        return Finding(kind, "True", Reason.NAME_TAKEN, str(error))
    except ApiError as error:
        if error.status not in _REFUSALS and _UNASKED_WEBHOOK not in str(error):
            raise
        message = f"the API server rejected the next step; retrying: {error}"
        return Finding(kind, "True", Reason.REFUSED, message)
    return None


def _calm(status: ObjectStatus) -> dict[str, Any]:
    """What something follows from: the fields that change all the time, and sentences with numbers, left out."""
    kept = status.model_dump(exclude={*status.VOLATILE, "conditions"})
    return kept | {"conditions": [(c.type, c.status, c.reason, c.observed_generation) for c in status.conditions]}
