"""Streams and short requests through whatever may happen: none fails that may be tried again, none is cut in silence.

Every answer is in the record exactly once, but for those of a lost router's last half second, and all routers tell of
the newest routes afterwards. The engines are played (paced_engine), as a real one on this machine's processor does not
answer 200 times a second; everything else is real. A sample in `make test`; each fault alone in `make soak`.
"""

import urllib.request
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from anneal_operator.desired.serving import VERSION_LABEL
from demo.commands import Commands
from demo.installation import SYSTEM, Installation
from toolbox.polling import poll

from .accounts import Account, account
from .conftest import CHECKOUT, Cluster, Live
from .load import Attempt
from .router_faults import FAULTS
from .served import VERSIONS, Served, paced_engine, served, small_volume

pytestmark = [pytest.mark.node, pytest.mark.timeout(900)]
NAMESPACE = "router-chaos"
STREAMS, RATE = 50, 200.0
SAMPLE_STREAMS, SAMPLE_RATE = 10, 40.0
SAMPLE = ("router-lost", "routers-roll", "engines-roll", "recorder-killed")
SLEEPER = "sleeper"
_AT_ONCE = 8
_STEADY_SECONDS = 3.0
_LOST_SECONDS = 0.5
"""What a router may lose with itself: a tenth in nginx, a tenth until the shipper looks, and the storing."""
_NOTICING_SECONDS = 0.5
"""How long a busy client takes to read what was answered before."""
_BREAKING_SECONDS = 2.0
"""How long a client may take to notice that its router is gone."""


@pytest.fixture(scope="module")
def scene(
    running: Cluster, images: dict[str, str], live: Live, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    installation = Installation(Commands(running.layout), NAMESPACE)
    cluster = Cluster(running.layout, NAMESPACE)
    with live():
        installation.clean()
        installation.install({**images, "server": paced_engine(running.layout, images["router"])})
    with small_volume(cluster, tmp_path_factory.mktemp("recorder") / "volume") as volume:
        yield served(cluster, volume, SYSTEM)
        installation.clean()


def _play(scene: Served, faults: Sequence[str], log: Path, streams: int, rate: float) -> Account:
    """Have faults happen while clients ask; return what came of it, and refuse what must never be."""
    lost_at: list[float] = []
    known = scene.rows().keys()
    with scene.traffic(log, streams, rate) as traffic:
        traffic.wait_for(_STEADY_SECONDS)
        for fault in faults:
            at = FAULTS[fault].happen(scene, traffic)
            lost_at += [at] if at else []
            scene.wait_until_settled()
            traffic.wait_for(_STEADY_SECONDS)
        attempts = traffic.end()
    key, found = scene.key("userKey"), Account()

    def is_recorded() -> bool:
        nonlocal found
        found = account(attempts, scene.rows(), key, known)
        found.missing = [one for one in found.missing if not any(_was_lost_with_its_router(one, at) for at in lost_at)]
        return not found.missing

    poll(is_recorded, 60, every=1.0)
    log.with_suffix(".found").write_text(f"{found}\nrouters lost at {lost_at}\n")
    return found


def _was_lost_with_its_router(attempt: Attempt, at: float) -> bool:
    """Whole answers only just before; what broke off, when its client noticed."""
    noticed = _NOTICING_SECONDS if attempt.outcome == "complete" else _BREAKING_SECONDS
    return at - _LOST_SECONDS <= attempt.ended <= at + noticed


def _check(found: Account, faults: Sequence[str]) -> None:
    assert found.truncated == []
    assert found.missing == []
    assert found.repeated == []
    assert found.otherwise == []
    assert found.strangers == 0
    assert found.counted["in sums alone"] == 0 or any(FAULTS[fault].fills_disk for fault in faults)
    ends_answers = any(FAULTS[fault].ends_answers for fault in faults)
    assert [one for one in found.failed if not (ends_answers and one.outcome == "broken")] == []
    assert found.refused == [] or ends_answers


def test_a_lost_router_a_roll_and_a_killed_recorder_lose_nobody_s_answer(
    scene: Served, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = _play(scene, SAMPLE, tmp_path / "sample.jsonl", SAMPLE_STREAMS, SAMPLE_RATE)
    with capsys.disabled():
        print(f"\n{found.line(', '.join(SAMPLE))}")
    _check(found, SAMPLE)


def test_pods_follow_the_requests_that_are_under_way(scene: Served, tmp_path: Path) -> None:
    """As many streams as ask for three pods in each arm; without them it goes down to one, and no answer is lost."""
    wanted = {"minReplicas": 1, "maxReplicas": 3, "targetRequests": 1, "scaleDownDelay": "1m"}
    for version in VERSIONS:
        scene.change(version, autoscaling=wanted)
    with scene.traffic(tmp_path / "scaled.jsonl", SAMPLE_STREAMS, 1.0) as traffic:
        assert poll(lambda: _pods(scene) == dict.fromkeys(VERSIONS, 3), 90, every=1.0), _pods(scene)
        scene.wait_until_settled()
        traffic.wait_for(_STEADY_SECONDS)
        assert _pods(scene) == dict.fromkeys(VERSIONS, 3)
        attempts = traffic.end()
    assert poll(lambda: _pods(scene) == dict.fromkeys(VERSIONS, 1), 90, every=1.0), _pods(scene)
    assert {one.outcome for one in attempts} == {"complete"}
    for version in VERSIONS:
        scene.change(version, autoscaling=None)
    scene.wait_until_settled()


def test_who_asks_a_version_that_sleeps_is_answered_and_so_is_who_asks_as_it_falls_asleep(scene: Served) -> None:
    """Held until it has a pod, or told when to come again."""
    sleeps = {"minReplicas": 0, "maxReplicas": 2, "idleAfter": "1m"}
    with scene.another(SLEEPER, autoscaling=sleeps), ThreadPoolExecutor(_AT_ONCE) as clients:

        def ask_until_answered() -> None:
            assert sum(clients.map(_answers, [scene] * _AT_ONCE)) == _AT_ONCE

        assert poll(lambda: scene.ask(SLEEPER)[0] == 200, 120, every=1.0), scene.ask(SLEEPER)
        _wait_until_asleep(scene)
        assert poll(lambda: not scene.cluster.api.objects("Pod", f"{VERSION_LABEL}={SLEEPER}"), 60, every=1.0)
        status = scene.cluster.api.status("ModelVersion", SLEEPER)
        [ready] = [found for found in status["conditions"] if found["type"] == "Ready"]
        assert (ready["status"], ready["reason"], status["replicas"]) == ("True", "Sleeping", 0)
        ask_until_answered()
        assert scene.engines(SLEEPER)
        assert poll(lambda: scene.cluster.api.status("ModelVersion", SLEEPER)["phase"] == "Ready", 60, every=0.5)
        _wait_until_asleep(scene)
        ask_until_answered()


def _wait_until_asleep(scene: Served) -> None:
    """For `idleAfter`, and for what the operator takes to see that nobody asked."""
    status: list[dict[str, Any]] = []

    def is_asleep() -> bool:
        status[:] = [scene.cluster.api.status("ModelVersion", SLEEPER)]
        return bool(status[0].get("phase") == "Sleeping")

    assert poll(is_asleep, 180, every=0.2), status


def _answers(scene: Served) -> bool:
    """Ask, and come again when told to; whether the answer is the version's, and whole."""
    answers: list[dict[str, Any]] = []

    def is_answered() -> bool:
        status, headers, content = scene.ask(SLEEPER)
        assert status == 200 or (status == 503 and int(headers["Retry-After"])), (status, content)
        answers.extend([content] if status == 200 and headers["X-Anneal-Version"] == SLEEPER else [])
        return status == 200

    assert poll(is_answered, 180, every=5.0)
    return [answer["choices"][0]["message"]["content"].split() for answer in answers] == [["0", "1", "2", "3", "4"]]


def test_what_a_versions_gpus_cost_is_told_by_kubectl_and_the_metrics(scene: Served) -> None:
    """From the chart's value on. The node's GPUs are not real, but pods ask for them, and Kubernetes hands them out."""
    priced, commands = VERSIONS[0], Commands(scene.cluster.layout)
    chart = str(CHECKOUT / "charts/anneal")
    commands.helm("upgrade", "anneal", chart, f"--namespace={SYSTEM}", "--reuse-values", "--set=pricePerGpuHour=3.6")
    commands.kubectl("rollout", "status", "-n", SYSTEM, "deployment/anneal-operator", "--timeout=180s")
    scene.change(priced, resources={"limits": {"nvidia.com/gpu": 1}})
    try:
        scene.wait_until_settled()
        assert poll(lambda: _cost(scene, priced).get("gpus") == 2, 60), scene.cluster.api.status("ModelVersion", priced)
        assert _cost(scene, priced)["perHour"] == 7.2
        assert poll(lambda: _cost(scene, priced)["amount"] > 0, 90, every=1.0), _cost(scene, priced)
        cost = _cost(scene, priced)
        assert cost["amount"] == pytest.approx(cost["gpuSeconds"] / 1000, abs=0.01)
        header, row = scene.cluster.kubectl("get", "mv", priced, "-o", "wide").splitlines()
        told = float(row[header.index(" COST ") :].split()[0])
        assert cost["amount"] <= told < cost["amount"] + 1
        assert _metric(scene, "anneal_version_cost_total", priced) >= told
        assert _cost(scene, VERSIONS[1]) == {}, "it has no GPUs"
    finally:
        scene.change(priced, resources={"limits": None})
        scene.wait_until_settled()
    assert poll(lambda: _cost(scene, priced)["gpus"] == 0, 60), _cost(scene, priced)


def _cost(scene: Served, version: str) -> dict[str, Any]:
    found: dict[str, Any] = scene.cluster.api.status("ModelVersion", version).get("cost", {})
    return found


def _metric(scene: Served, name: str, version: str) -> float:
    address = scene.cluster.get("service", "anneal-operator", "-n", SYSTEM)["spec"]["clusterIP"]
    with urllib.request.urlopen(f"http://{address}:9090/metrics", timeout=10) as page:
        lines = page.read().decode().splitlines()
    [line] = [one for one in lines if one.startswith(f"{name}{{") and f'version="{version}"' in one]
    return float(line.rpartition(" ")[2])


def _pods(scene: Served) -> dict[str, int]:
    return {version: len(scene.engines(version)) for version in VERSIONS}


@pytest.mark.soak
@pytest.mark.parametrize("fault", FAULTS)
def test_whatever_happens_no_answer_is_lost_cut_in_silence_or_told_twice(
    scene: Served, tmp_path: Path, capsys: pytest.CaptureFixture[str], fault: str
) -> None:
    found = _play(scene, [fault], tmp_path / f"{fault}.jsonl", STREAMS, RATE)
    with capsys.disabled():
        print(f"\n{found.line(fault)}")
    _check(found, [fault])
