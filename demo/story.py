"""The steps of the demo, in their order. Each waits for what a user would wait for."""

import asyncio
import base64
import json
import time
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.client import HTTPResponse
from pathlib import Path
from typing import Any

from .commands import Commands, DemoError, wait_until
from .installation import Installation
from .users import Answer, Mail, new_mails, play, question

__all__ = ["BASE", "NAMESPACE", "QUESTIONS", "TUNED", "USERS", "Example", "Story"]

NAMESPACE = "anneal-demo"
BASE, TUNED = "spam-filter-base", "spam-filter-tuned"
_ROOT = Path(__file__).parents[1]
_EXAMPLE = _ROOT / "examples/spam-filter"
_MODEL, _EXPERIMENT = "spam-filter", "spam-filter-base-or-tuned"
USERS, QUESTIONS = 150, 2
_PROBED = 40
_EXAMPLES = 20
"""Among so many new mails there is a Korean one."""


@dataclass(frozen=True)
class Example:
    """One mail, and what each version answers."""

    mail: Mail
    answers: Mapping[str, str]


@dataclass
class Story:
    """What happens, and what was seen on the way."""

    commands: Commands
    images: Mapping[str, str]
    tell: Callable[[str], None] = print
    example: Example | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    before: list[Answer] = field(default_factory=list)
    during: list[Answer] = field(default_factory=list)
    after: list[Answer] = field(default_factory=list)

    def run(self) -> None:
        """Tell the whole story."""
        for name, step in (
            ("clean up what an earlier demo left", self.installation.clean),
            ("install with Helm", lambda: self.installation.install(self.images)),
            ("train, evaluate and publish two models", self.train),
            ("serve both, ask each the same mail", self.serve),
            ("start the experiment", self.start_experiment),
            (f"{USERS} users ask and rate", self.play_users),
            ("verdict and promotion", self.await_promotion),
        ):
            self.tell(f"\n== {name}")
            started = time.monotonic()
            step()
            self.seconds[name] = time.monotonic() - started
            self.tell(f"-- {self.seconds[name]:.0f} s")

    def train(self) -> None:
        """Apply both FineTuneJobs and watch them to their end."""
        self.commands.kubectl("apply", "-n", NAMESPACE, "-k", str(_EXAMPLE / "cpu"))
        seen: dict[str, str] = {}

        def finished() -> bool:
            jobs = self.commands.get("finetunejobs", "-n", NAMESPACE)["items"]
            for job in jobs:
                self._tell_phase(job, seen)
            return all(phase == "Succeeded" for phase in seen.values())

        wait_until(finished, 1200, lambda: self.describe("finetunejobs"))
        self.tell(self.commands.kubectl("get", "finetunejobs,modelversions", "-n", NAMESPACE))

    def _tell_phase(self, job: dict[str, Any], seen: dict[str, str]) -> None:
        name, status = job["metadata"]["name"], job.get("status", {})
        phase = status.get("phase", "Pending")
        if seen.get(name) != phase:
            seen[name] = phase
            self.tell(f"{name}: {phase}: {status['conditions'][0]['message'] if status else 'just created'}")
        if phase == "Failed":
            raise DemoError(self.describe("finetunejobs"))

    def serve(self) -> None:
        """Wait until both versions answer; ask each about a Korean mail, and for one answer as a stream."""
        ready = ("wait", "-n", NAMESPACE, "--for=condition=Ready", "modelversions", "--all", "--timeout=600s")
        self.commands.kubectl(*ready)
        self.tell(self.commands.kubectl("get", "modelversions", "-n", NAMESPACE))
        wait_until(self._routed_by_default, 60, lambda: self.describe("modelversions"))
        reached = ("wait", "-n", NAMESPACE, "--for=condition=Routable", "modelversions", "--all", "--timeout=60s")
        self.commands.kubectl(*reached)  # by every router
        mail = next(mail for mail in new_mails(_EXAMPLES) if mail.language == "ko")
        self.example = Example(mail, {version: self._ask(mail, version) for version in (BASE, TUNED)})
        self.tell(f"question: {mail.question}")
        for version, answer in self.example.answers.items():
            self.tell(f"{version}: {answer}")
        self.tell(f"streamed: {'|'.join(self._stream(mail))}")
        self.before = asyncio.run(play(self.router, _names(_PROBED), 1, rate=False))

    def start_experiment(self) -> None:
        """Apply the ABExperiment and wait until the router splits the traffic."""
        self.commands.kubectl("apply", "-n", NAMESPACE, "-f", str(_EXAMPLE / "experiment.yaml"))
        running = ("wait", "-n", NAMESPACE, "--for=jsonpath={.status.phase}=Running", "abexperiment", "--all")
        self.commands.kubectl(*running, "--timeout=120s")

    def play_users(self) -> None:
        """Have the users ask and rate."""
        self.during = asyncio.run(play(self.router, _names(USERS), QUESTIONS, rate=True))

    def await_promotion(self) -> None:
        """Wait for the verdict, the route, the alias, and the loser's end; then ask again."""

        def promoted() -> bool:
            return bool(self.experiment["status"]["phase"] == "Promoted")

        wait_until(promoted, 180, lambda: self.describe("abexperiments"))
        loser = self.loser
        self.commands.kubectl(
            "wait", "-n", NAMESPACE, "--for=jsonpath={.status.phase}=Idle", f"modelversion/{loser}", "--timeout=120s"
        )
        self.commands.kubectl(
            "wait", "-n", NAMESPACE, "--for=condition=AliasMoved", "abexperiment", "--all", "--timeout=60s"
        )
        self.after = asyncio.run(play(self.router, _names(_PROBED), 1, rate=False))

    @property
    def installation(self) -> Installation:
        """The chart, and the namespace that all of this happens in."""
        return Installation(self.commands, NAMESPACE)

    @property
    def experiment(self) -> dict[str, Any]:
        """The ABExperiment."""
        return self.commands.get("abexperiment", _EXPERIMENT, "-n", NAMESPACE)

    @property
    def winner(self) -> str:
        """The ModelVersion that won."""
        return self._version_of(wins=True)

    @property
    def loser(self) -> str:
        """The ModelVersion that lost."""
        return self._version_of(wins=False)

    def _version_of(self, *, wins: bool) -> str:
        experiment = self.experiment
        name = experiment["status"]["decision"]["winner"]
        return str(
            next(v["modelVersionRef"]["name"] for v in experiment["spec"]["variants"] if (v["name"] == name) is wins)
        )

    @property
    def router(self) -> str:
        """The router's address; on the machine that is the cluster's node, Services answer at their addresses."""
        return f"http://{self._router_host}:8080"

    @property
    def _router_host(self) -> str:
        return str(self.commands.get("service", "anneal-router", "-n", NAMESPACE)["spec"]["clusterIP"])

    def _routed_by_default(self) -> bool:
        kept = self.commands.get("secret", "anneal-router", "-n", NAMESPACE)["data"]["adminKey"]
        headers = {"Authorization": f"Bearer {base64.b64decode(kept).decode()}"}
        request = urllib.request.Request(f"http://{self._router_host}:8082/-/routes", headers=headers)
        with urllib.request.urlopen(request, timeout=60) as response:  # noqa: S310 - our own router
            route = json.load(response)["models"].get(_MODEL, {})
        return bool(route.get("default")) and len(set(route["named"].values())) > 1

    def _ask(self, mail: Mail, version: str) -> str:
        number = self.commands.get("modelversion", version, "-n", NAMESPACE)["status"]["registry"]["version"]
        with self._open("/v1/chat/completions", _chat(f"{_MODEL}@{number}", mail, stream=False)) as response:
            return str(json.load(response)["choices"][0]["message"]["content"])

    def _stream(self, mail: Mail) -> list[str]:
        """The pieces of a streamed answer."""
        pieces = []
        with self._open("/v1/chat/completions", _chat(_MODEL, mail, stream=True)) as response:
            for line in response:
                data = line.decode().removeprefix("data: ").strip()
                if data and data != "[DONE]":
                    pieces += [choice["delta"].get("content") or "" for choice in json.loads(data)["choices"]]
        return pieces

    def _open(self, path: str, body: dict[str, Any] | None = None) -> HTTPResponse:
        headers = {"Content-Type": "application/json", "X-User-Id": "someone"}
        content = json.dumps(body).encode() if body else None
        request = urllib.request.Request(self.router + path, content, headers)  # noqa: S310 - our own router
        response: HTTPResponse = urllib.request.urlopen(request, timeout=60)  # noqa: S310
        return response

    def describe(self, kind: str) -> str:
        """What a person would look at when something is wrong."""
        looks = (("get", "pods"), ("describe", kind), ("get", "events", "--sort-by=.lastTimestamp"))
        return "\n".join(self.commands.kubectl(*look, "-n", NAMESPACE, check=False)[-6000:] for look in looks)


def _chat(model: str, mail: Mail, *, stream: bool) -> dict[str, Any]:
    return {**question(mail, model), "stream": stream}


def _names(count: int) -> list[str]:
    return [f"user-{number}" for number in range(count)]
