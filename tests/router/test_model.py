"""A model of routes, their operator and its routers: whatever happens, in whatever order, clients are sent as it says.

Real are two routers, nginx with its Lua and the agent beside it, and what decides for the operator. Played are the API
server, the engines and MLflow. A sequence that fails is printed step by step.
"""

import asyncio
import json
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test
from typing_extensions import override

from anneal_operator.reconcile.acknowledgements import Acknowledgements
from serving_runtime.plan import FORMAT, RouteTable

from .agent_process import Agents, agents
from .explained import Asked
from .played import ApiServer
from .played_operator import MODEL
from .scenery import CHANGES, USERS, Namespace, Router
from .stand import standing

MOST_VERSIONS = 4
QUICK = settings(
    max_examples=50,
    stateful_step_count=10,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
LONG = settings(QUICK, max_examples=2000, derandomize=False)
NUMBERS, ROUTERS = st.integers(0, MOST_VERSIONS - 1), st.integers(0, 1)
FOREIGN = st.sampled_from(["older", "of an older ConfigMap", "of another format", "half of one", "by hand", "nothing"])
POD_CHANGES = st.sampled_from(["is Ready", "is not Ready", "dies", "lives"])


class Life(RuleBasedStateMachine):
    """One namespace, from its first version on."""

    runner: asyncio.Runner
    api: ApiServer
    session: aiohttp.ClientSession
    agents: Agents
    routers: list[Router]

    def __init__(self) -> None:
        super().__init__()
        self.story: list[str] = []
        self.here = Namespace(self.api, self.session, self.agents, self.routers)
        self._run("a namespace begins with v1 and v2", self.here.begin())

    @override
    def teardown(self) -> None:
        self._run("all ends", self.here.end())

    def _run(self, step: str, *taken: Coroutine[Any, Any, object]) -> None:
        self.story.append(step)

        async def run() -> None:
            for one in taken:
                await one

        try:
            self.runner.run(run())
        except Exception as error:
            print(f"{error}\nafter these steps:", *self.story, sep="\n  ")  # also where it does not fail again
            raise
        finally:
            for one in taken:
                one.close()

    def _take(self, step: str, *taken: Coroutine[Any, Any, object]) -> None:
        self._run(step, *taken, self.here.settle(), self.here.check())

    # What people and the operator do.

    @precondition(lambda self: len(self.here.pods) < 2 * MOST_VERSIONS)
    @rule(is_ready=st.booleans())
    def a_version_comes(self, is_ready: bool) -> None:
        self._take(f"a version comes, Ready: {is_ready}", self.here.add_version(is_ready=is_ready))

    @precondition(lambda self: sum(not one.is_to_end for one in self.here.operator.versions) > 1)
    @rule(number=NUMBERS)
    def a_version_is_deleted(self, number: int) -> None:
        staying = [one for one in self.here.operator.versions if not one.is_to_end]
        version = staying[number % len(staying)]
        version.is_to_end = True
        held = self.here.operator.aliases
        self.here.operator.aliases = {alias: name for alias, name in held.items() if name != version.name}
        self._take(f"{version.name} is deleted")

    @rule(alias=st.sampled_from(["production", "candidate"]), number=NUMBERS)
    def an_alias_is_moved(self, alias: str, number: int) -> None:
        versions = self.here.operator.versions
        version = versions[number % len(versions)]
        self.here.operator.aliases[alias] = version.name
        self._take(f"{alias} is moved to {version.name}")

    @precondition(lambda self: any(map(self.here.may_wake, self.here.operator.versions)))
    @rule(number=NUMBERS)
    def a_version_wakes(self, number: int) -> None:
        asleep = [one for one in self.here.operator.versions if not one.is_to_end and self.here.may_wake(one)]
        if asleep:
            version = asleep[number % len(asleep)]
            self._take(f"production is moved to {version.name}, which wakes", self.here.wake(version))

    @precondition(lambda self: self.here.operator.phase not in {"WarmingUp", "Running"} and len(self._answering()) > 1)
    @rule(
        number=NUMBERS,
        weights=st.tuples(st.integers(1, 3), st.integers(1, 3)),
        coverages=st.sampled_from([[100], [30, 60, 100], [50, 80]]),
    )
    def an_experiment_begins(self, number: int, weights: tuple[int, int], coverages: list[int]) -> None:
        control, *others = sorted(
            self._answering(), key=lambda name: name != self.here.operator.aliases.get("production")
        )
        other = others[number % len(others)]
        self.here.operator.start(control, other, weights, coverages)
        self._take(f"{control} and {other} are compared, {weights[0]} to {weights[1]}, on {coverages} percent")

    @precondition(lambda self: self.here.operator.next_coverage is not None)
    @rule()
    def more_users_take_part(self) -> None:
        coverage = self.here.operator.next_coverage
        assert coverage is not None
        self.here.operator.take_more_in(coverage)
        self._take(f"{coverage} percent take part")

    def _answering(self) -> list[str]:
        versions = self.here.operator.versions
        return [one.name for one in versions if not one.is_to_end and any(pod.is_ready for pod in one.pods)]

    @precondition(lambda self: self.here.operator.phase == "Running")
    @rule(winner=st.sampled_from(["tuned", "stable", None]))
    def an_experiment_ends(self, winner: str | None) -> None:
        self.here.operator.decide(winner)
        self._take(f"the experiment ends; its winner: {winner}")

    @precondition(lambda self: not self.here.is_away)
    @rule()
    def the_namespace_is_restored(self) -> None:
        self.here.operator.restore()
        self._take("the namespace is restored from its manifests", self.here.operator.write(None))

    @rule()
    def another_operator_leads(self) -> None:
        self.here.operator.told = Acknowledgements()
        self._take("another operator leads")

    @precondition(lambda self: not self.here.is_away)
    @rule(what=FOREIGN, number=NUMBERS)
    def somebody_writes_routes(self, what: str, number: int) -> None:
        text = self._foreign(what, number, self.here.operator.tables[-1][0].order)
        self._take(f"somebody writes routes: {what}", self.here.overwrite(text or None))

    @rule(router=ROUTERS, what=FOREIGN.filter(lambda what: what not in {"by hand", "nothing"}), number=NUMBERS)
    def a_file_of_routes_is_replaced(self, router: int, what: str, number: int) -> None:
        text = self._foreign(what, number, self.routers[router].newest)
        self._take(f"router {router} finds routes: {what}", self.here.spoil(self.routers[router], text))

    def _foreign(self, what: str, number: int, held: tuple[str, int]) -> str:
        """Routes that lead everybody to one version, which the newest table does not; or older ones than are `held`."""
        operator = self.here.operator
        (stamp, table), names = operator.tables[-1], sorted(operator.tables[-1][1].targets)
        name = names[number % len(names)] if names else None
        route = table.models[MODEL].model_copy(update={"default": name, "experiment": None})
        other = RouteTable(targets=table.targets, models={MODEL: route})
        if what == "older":
            older = [one for one in operator.tables if one[0].order < held]
            return (
                json.dumps(older[-1 - number % len(older)][1].document(older[-1 - number % len(older)][0]))
                if older
                else ""
            )
        if what == "by hand":
            operator.tables.append((stamp, other))
        later = other.stamped(stamp.lineage, stamp.generation + 1)
        made = {
            "of an older ConfigMap": other.document(later.model_copy(update={"lineage": "2020-01-01T00:00:00Z"})),
            "of another format": {**other.document(later), "format": FORMAT + 1},
            "half of one": other.document(later),
            "by hand": other.document(stamp),
        }
        text = json.dumps(made[what]) if what in made else ""
        return text[: len(text) // 2] if what == "half of one" else text

    # What breaks, and is slow.

    @rule(number=NUMBERS, which=st.sampled_from([(0,), (1,), (0, 1)]), change=POD_CHANGES)
    def pods_change(self, number: int, which: tuple[int, ...], change: str) -> None:
        version = self.here.operator.versions[number % len(self.here.operator.versions)]
        found = [version.pods[pod] for pod in which]
        step = f"{' and '.join(pod.name for pod in found)}: {change}"
        if change in {"dies", "lives"}:
            if change == "dies":
                self.here.may_break()
            lives = [pod.live(is_alive=change == "lives") for pod in found]
            self._take(step, *lives, version.service.follow())
        else:
            for pod in found:
                pod.is_ready = change == "is Ready"
            self._take(step, self.here.tell(version))

    @rule(is_late=st.booleans())
    def endpoints_come_late(self, is_late: bool) -> None:
        self.here.is_late = is_late
        self._take(f"endpoints come late: {is_late}", self.api.delay_endpoints(is_late=is_late))

    @rule(is_away=st.booleans())
    def the_api_server_is_away(self, is_away: bool) -> None:
        self.here.is_away = is_away
        self.api.leave(is_away=is_away)
        self._take(f"the API server is away: {is_away}")

    @rule(router=ROUTERS)
    def an_agent_is_killed(self, router: int) -> None:
        self.here.kill_agent(self.routers[router])
        self._take(f"the agent of router {router} is killed")

    @rule(router=ROUTERS, back=st.integers(0, 3))
    def an_agent_begins_again(self, router: int, back: int) -> None:
        """The kubelet's copy of the table is some generations old."""
        stamp, table = self.here.operator.tables[-1 - back % len(self.here.operator.tables)]
        stand = self.routers[router].stand
        (stand.folder / "mounted.json").write_text(json.dumps(table.document(stamp)))
        self.here.kill_agent(self.routers[router])
        self.here.begin_agent(self.routers[router])
        self._take(f"the agent of router {router} begins again, with a table that is {back} behind")

    @rule(router=ROUTERS)
    def nginx_is_reloaded(self, router: int) -> None:
        self.routers[router].stand.reload()
        self._take(f"nginx of router {router} is reloaded")

    @rule(router=ROUTERS)
    def nginx_is_killed(self, router: int) -> None:
        self.here.may_break(self.routers[router])
        self.routers[router].stand.kill()
        self._take(f"nginx of router {router} is killed, and begins again")

    @rule(router=ROUTERS, user=st.sampled_from([None, *USERS]))
    def somebody_waits_for_an_answer(self, router: int, user: str | None) -> None:
        self._take(f"{user} waits for an answer", self.here.wait(self.routers[router], Asked(MODEL, user)))

    @precondition(lambda self: self.here.waiting)
    @rule()
    def answers_come(self) -> None:
        self._take("answers come", self.here.answer())


@contextmanager
def living(folders: Sequence[Path]) -> Iterator[type[Life]]:
    """All sequences have the same routers: each is a later life of their namespace."""
    with asyncio.Runner() as runner, ExitStack() as stack:
        empty = RouteTable(targets={}, models={})
        routers = [Router(stack.enter_context(standing(folder, CHANGES, routes=empty))) for folder in folders]
        begun = stack.enter_context(agents())

        async def begin() -> tuple[ApiServer, aiohttp.ClientSession]:
            api = ApiServer()
            await api.start()
            return api, aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True))

        api, session = runner.run(begin())
        given = {"runner": runner, "api": api, "session": session, "agents": begun, "routers": routers}
        yield type("Life", (Life,), given)
        runner.run(session.close())
        runner.run(api.stop())


@pytest.fixture(scope="module")
def life(tmp_path_factory: pytest.TempPathFactory) -> Iterator[type[Life]]:
    """Two routers."""
    with living([tmp_path_factory.mktemp("router") for _ in range(2)]) as made:
        yield made


def test_clients_are_sent_as_the_model_says(life: type[Life]) -> None:
    run_state_machine_as_test(life, settings=QUICK)


@pytest.mark.soak
@pytest.mark.timeout(5400)
def test_clients_are_sent_as_the_model_says_in_many_lives(life: type[Life]) -> None:
    run_state_machine_as_test(life, settings=LONG)
