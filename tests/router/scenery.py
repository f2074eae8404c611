"""Real routers with their agents, and all around them: what a model of routes changes, and how it judges answers."""

import asyncio
import itertools
import json
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import aiohttp
from typing_extensions import override

from anneal_operator.decide.acknowledgement import RouteSeen
from anneal_operator.desired.routing import pod_admin_url
from anneal_operator.outside.routers import HttpRouters
from serving_runtime.plan import ADMIN_KEY_VARIABLE, RouteTable, Stamp
from serving_runtime.router.files import replace_file

from .agent_process import Agents
from .explained import Answered, Asked, explains
from .played import ApiServer, Pod, Service
from .played_operator import MODEL, Operator, ServedModelVersion
from .stand import KEYS, Stand

__all__ = ["CHANGES", "Namespace", "Router", "Waiting"]

USERS = ("ada", "ben", "cyd")
_PODS = 2
_NUMBERS = itertools.count(1)
"""No pod has the name of one before it, in no life of the namespace."""
_PATIENCE = 5.0
_SHORT = 0.06
"""Longer than agent and nginx take to look."""
T = TypeVar("T")
_KNOWN = """content_by_lua_block {
  local known = {}
  for name, target in pairs(require("routes").targets or {}) do
    for _, pod in ipairs(require("endpoints").of(name, target)) do known[#known + 1] = pod.name or "?" end
  end
  ngx.say(require("cjson").encode { known = known })
}"""
CHANGES = {"content_by_lua_block { router.list_models() }": _KNOWN}
"""In router.conf: `GET /v1/models` tells which pods are known."""


@dataclass
class Router:
    """`agent` is the process beside it; the others are the oldest table, and state of the pods, that it may go by."""

    stand: Stand
    agent: int | None = None
    tables_from: int = 0
    pods_from: int = 0
    newest: tuple[str, int] = ("", 0)


@dataclass
class Waiting:
    """A request whose answer takes long, with what may be known of when its pod was chosen."""

    task: asyncio.Task[Answered]
    router: Router
    asked: Asked
    tables: Sequence[RouteTable]
    ready: dict[str, set[frozenset[str]]]
    dead: set[str]
    may_break: bool = False


@dataclass(frozen=True)
class Reached(HttpRouters):
    """Routers by the addresses that their pods would have."""

    ports: Mapping[str, int]

    @override
    async def applied(self, url: str, key: str) -> Stamp:
        return await super().applied(f"http://127.0.0.1:{self.ports[url]}", KEYS[ADMIN_KEY_VARIABLE])


@dataclass
class Namespace:
    """`states` are what was said of the pods, in order: those that are Ready, by version."""

    api: ApiServer
    session: aiohttp.ClientSession
    agents: Agents
    routers: list[Router]
    operator: Operator = field(init=False)
    is_away: bool = False
    is_late: bool = False
    states: list[dict[str, frozenset[str]]] = field(default_factory=list)
    pods: list[Pod] = field(default_factory=list)
    waiting: list[Waiting] = field(default_factory=list)
    enrolled: dict[tuple[str, str], str] = field(default_factory=dict)

    async def begin(self) -> None:
        """All anew, of a later lineage: routers of an earlier one are told of the first version."""
        await self.come_back()
        self.api.forget()
        for router in self.routers:
            router.tables_from = router.pods_from = 0
            (router.stand.folder / "mounted.json").unlink(missing_ok=True)
            self.begin_agent(router)
        addresses = {f"10.0.0.{number}": router.stand.admin_port for number, router in enumerate(self.routers)}
        reached = Reached(self.session, {pod_admin_url(address): port for address, port in addresses.items()})
        pods = [{"metadata": {"name": at, "uid": at}, "status": {"podIP": at}} for at in addresses]
        self.operator = Operator(self.api, reached, pods)
        await self.operator.write(None)
        for _ in range(2):
            await self.add_version(is_ready=True)
        self.operator.aliases["production"] = self.operator.versions[0].name
        await self._arrive()

    async def end(self) -> None:
        """Leave nothing but the routers."""
        await self.answer()
        await self.come_back()
        for version in self.operator.versions:
            await self._remove(version)

    def begin_agent(self, router: Router) -> None:
        """Start the agent, where it is not there."""
        if router.agent is None:
            router.agent = self.agents.begin(router.stand.folder, self.api.port)

    def kill_agent(self, router: Router) -> None:
        """End it at once."""
        if router.agent is not None:
            self.agents.kill(router.agent)
            router.agent = None

    async def come_back(self) -> None:
        """The API server answers, and tells all."""
        self.is_away = self.is_late = False
        self.api.leave(is_away=False)
        await self.api.delay_endpoints(is_late=False)

    async def add_version(self, *, is_ready: bool) -> None:
        """A ModelVersion of the next number."""
        number = len(self.pods) // _PODS + 1
        pods = [Pod(f"v{number}", f"v{number}-{n}-{next(_NUMBERS)}", is_ready) for n in range(_PODS)]
        version = ServedModelVersion(f"v{number}", number, pods, Service(pods))
        self.pods += pods
        self.operator.versions.append(version)
        for pod in pods:
            await pod.live(is_alive=True)
        await self.tell(version)

    async def tell(self, version: ServedModelVersion) -> None:
        """Say how the pods of a version are."""
        before = self.states[-1] if self.states else {}
        self.states.append({**before, version.name: frozenset(pod.name for pod in version.pods if pod.is_ready)})
        for pod in version.pods:
            await self.api.put("endpointslices", pod.name, pod.endpoint_slice())
        await version.service.follow()

    async def _remove(self, version: ServedModelVersion) -> None:
        for pod in version.pods:
            pod.is_ready = False
            await pod.live(is_alive=False)
            await self.api.put("endpointslices", pod.name, None)
            await pod.listener.close()
        await version.service.listener.close()
        self.states.append({**self.states[-1], version.name: frozenset()})

    # What the operator does, and what clients get meanwhile.

    async def settle(self) -> None:
        """Have the operator, and all that hear of it, do what is to be done, while clients ask."""
        for _ in range(8):
            seen = await self._while_asked(self._ask_on(), self._arrive())
            if seen is None or not await self._follow_up(seen):
                return
        raise AssertionError("the operator never comes to rest")

    @staticmethod
    async def _while_asked(asking: Coroutine[Any, Any, None], doing: Coroutine[Any, Any, T]) -> T:
        task = asyncio.create_task(asking)
        try:
            return await doing
        finally:
            task.cancel()
            (raised,) = await asyncio.gather(task, return_exceptions=True)
            if isinstance(raised, Exception):
                raise raised

    def may_wake(self, version: ServedModelVersion) -> bool:
        """Whether it is one that nobody knows as Ready, in a namespace where all else is well."""
        are_alive = all(pod.is_alive for one in self.operator.versions for pod in one.pods)
        is_well = are_alive and not (self.is_away or self.is_late or self.waiting)
        has_agents = all(router.agent for router in self.routers)
        is_alone = self.operator.phase not in {"WarmingUp", "Running", "Promoted"}
        holder = self.operator.aliases.get("production", "")
        is_held = holder != version.name and bool(self.states[-1].get(holder))
        return is_well and has_agents and is_alone and is_held and not self.states[-1][version.name]

    async def wake(self, version: ServedModelVersion) -> None:
        """Send everybody to a version that answers at last, of which the operator hears before the routers do."""
        for pod in version.pods:
            pod.is_ready = True
        self.operator.aliases["production"] = version.name
        await self._while_asked(self._insist(), self._arrive_before(version))

    async def _arrive_before(self, version: ServedModelVersion) -> None:
        for _ in range(3):
            await self.operator.look()
            await asyncio.sleep(_SHORT)
        await self.tell(version)
        await self._arrive()

    async def _insist(self) -> None:
        for router in itertools.cycle(self.routers):
            got = await self._get(router, Asked(MODEL))
            assert got.status == 200, f"router {self.routers.index(router)} gave {got} while another version woke"

    async def _arrive(self) -> RouteSeen | None:
        """Wait for those routers that can hear of it; None while the operator reaches no API server."""
        connected = [router for router in self.routers if router.agent and not self.is_away]
        deadline = asyncio.get_running_loop().time() + _PATIENCE
        while True:
            seen = None if self.is_away else await self.operator.look()
            current = [await self._is_current(router) for router in connected]
            if all(current) and (seen is None or seen.has_arrived or len(connected) < len(self.routers)):
                return seen
            assert asyncio.get_running_loop().time() < deadline, f"the newest routes, or pods, do not arrive: {current}"
            await asyncio.sleep(0.005)

    async def _follow_up(self, seen: RouteSeen) -> bool:
        """What waits for the routers' word. A version that all have left ends, once it has answered."""
        left = [one for one in self.operator.versions if one.is_to_end and seen.has_left(one.name)]
        if left:
            await self.answer()
        for version in left:
            self.operator.versions.remove(version)
            await self._remove(version)
        return self.operator.follow_up(seen) or bool(left)

    async def _is_current(self, router: Router) -> bool:
        told, (stamp, table) = await self.told(router), self.operator.tables[-1]
        if told == stamp:
            router.tables_from = len(self.operator.tables) - 1
        if told != stamp or self.is_late:
            return told == stamp
        ready = sorted(pod for name in table.targets for pod in self.states[-1][name])
        async with self.session.get(f"http://127.0.0.1:{router.stand.port}/v1/models") as response:
            known = sorted((await response.json())["known"] or ())
        if known == ready:
            router.pods_from = len(self.states) - 1
        return known == ready

    async def told(self, router: Router) -> Stamp:
        """What a router says that it has applied."""
        url = f"http://127.0.0.1:{router.stand.admin_port}"
        told = await HttpRouters(self.session).applied(url, KEYS[ADMIN_KEY_VARIABLE])
        assert told.order >= router.newest, f"a router went back from {router.newest} to {told.order}"
        router.newest = told.order
        return told

    # What clients get.

    def asked(self) -> list[Asked]:
        """What is asked of each router."""
        names = [MODEL, f"{MODEL}@{len(self.pods) // _PODS}", f"{MODEL}@candidate"]
        return [*(Asked(MODEL, user) for user in USERS), *map(Asked, dict.fromkeys(names))]

    async def check(self) -> None:
        """Ask each router for everything."""
        for router in self.routers:
            first = await self.told(router)
            await asyncio.gather(*(self._probe(router, asked, first) for asked in self.asked()))
            await self.told(router)
            written = json.loads((router.stand.folder / "routes.json").read_text())
            order = written["lineage"], written["generation"]
            assert order >= router.newest, f"an agent went back from {router.newest} to {order}"

    async def _ask_on(self) -> None:
        for asked, router in itertools.cycle(itertools.product(self.asked(), self.routers)):
            await self._probe(router, asked, await self.told(router))

    async def _probe(self, router: Router, asked: Asked, first: Stamp) -> None:
        pods_from, tables_from = router.pods_from, router.tables_from
        got = await self._get(router, asked)
        tables = self._tables(tables_from, first)
        self._judge(router, asked, got, tables, self._ready(pods_from), self._dead())

    def _tables(self, tables_from: int, told: Stamp) -> list[RouteTable]:
        return [table for stamp, table in self.operator.tables[tables_from:] if stamp.order >= told.order]

    def _ready(self, pods_from: int) -> dict[str, set[frozenset[str]]]:
        states = self.states[pods_from:]
        return {name: {state.get(name, frozenset()) for state in states} for name in self.states[-1]}

    def _dead(self) -> set[str]:
        return {pod.name for pod in self.pods if not pod.is_alive}

    async def _get(self, router: Router, asked: Asked, *, waits: bool = False) -> Answered:
        url, headers = f"http://127.0.0.1:{router.stand.port}/v1/chat/completions", {}
        if asked.user:
            headers["X-User-Id"] = asked.user
        body = {"model": asked.model, "waits": waits}
        try:
            async with self.session.post(url, json=body, headers=headers) as response:
                said = await response.json()
        except aiohttp.ClientError:
            return Answered(0)
        told = response.headers
        is_fallback = told.get("X-Anneal-Fallback") == "true"
        names = told.get("X-Anneal-Version"), told.get("X-Anneal-Variant")
        return Answered(response.status, said.get("pod", ""), said.get("version", ""), *names, is_fallback)

    def _judge(
        self,
        router: Router,
        asked: Asked,
        got: Answered,
        tables: Sequence[RouteTable],
        ready: dict[str, set[frozenset[str]]],
        dead: set[str],
    ) -> None:
        held = [table for table in tables if explains(table, ready, dead, asked, got)]
        routes = [table.models[MODEL] for table in tables]
        told = f"router {self.routers.index(router)}: {asked} got {got}; Ready: {ready}; dead: {dead}; routes: {routes}"
        assert held, told
        names = {_taking_part(table, asked.user) for table in held}
        if asked.user and got.told_variant and len(names) == 1 and (name := names.pop()):
            enrolled = self.enrolled.setdefault((name, asked.user), got.told_variant)
            assert enrolled == got.told_variant, f"{asked.user} moved from {enrolled}; {told}"

    # Answers that take long.

    async def wait(self, router: Router, asked: Asked) -> None:
        """Ask, and have the pod that is chosen answer only later."""
        for pod in self.pods:
            pod.go_on.clear()
        before, first = sum(pod.asked for pod in self.pods), await self.told(router)
        task = asyncio.create_task(self._get(router, asked, waits=True))
        while not task.done() and sum(pod.asked for pod in self.pods) == before:  # noqa: ASYNC110 - across processes
            await asyncio.sleep(0.001)
        tables, ready = self._tables(router.tables_from, first), self._ready(router.pods_from)
        self.waiting.append(Waiting(task, router, asked, tables, ready, self._dead()))

    async def answer(self) -> None:
        """Have all pods answer what waits."""
        for pod in self.pods:
            pod.go_on.set()
        waiting, self.waiting = self.waiting, []
        for one in waiting:
            got = await one.task
            if not (one.may_break and got.status in {0, 502}):
                self._judge(one.router, one.asked, got, one.tables, one.ready, one.dead)

    def may_break(self, router: Router | None = None) -> None:
        """A pod, or this router, ends at once: what waits for it gets no answer."""
        for one in self.waiting:
            one.may_break = one.may_break or router is None or router is one.router

    async def spoil(self, router: Router, text: str) -> None:
        """Put something where nginx reads, and put it right again: nothing of it is to hold."""
        path = router.stand.folder / "routes.json"
        before = path.read_text()
        replace_file(path, text)
        try:
            await asyncio.sleep(_SHORT)
            first = await self.told(router)
            await asyncio.gather(*(self._probe(router, asked, first) for asked in self.asked()))
        finally:
            replace_file(path, before)

    async def overwrite(self, text: str | None) -> None:
        """Somebody else replaces the ConfigMap, or deletes it, and the agents have time to read that."""
        await self.operator.write({"routes.json": text} if text else None)
        await asyncio.sleep(_SHORT)
        await self.check()


def _taking_part(table: RouteTable, user: str | None) -> str:
    """The experiment that a user takes part in."""
    told = {split.name: split.assigned(user) for split in table.models[MODEL].experiments if user}
    return next((name for name, found in told.items() if found and found[1]), "")
