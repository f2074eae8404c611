"""A variant that begins to fail while clients ask: how long any of them still gets it, ten times.

Operator, routers, recorder and MLflow are the real ones; the engines are played, so that they can fail when asked to.
"""

import statistics
from collections.abc import Iterator
from pathlib import Path

import pytest

from demo.commands import Commands
from demo.installation import SYSTEM, Installation
from tests.api.specs import GOOD
from toolbox.polling import poll

from .conftest import Cluster, Live
from .load import Attempt
from .served import EXPERIMENT, VERSIONS, Served, paced_engine, served, small_volume

pytestmark = [pytest.mark.node, pytest.mark.soak, pytest.mark.timeout(1800)]
NAMESPACE = "failing-variant"
RUNS, LONGEST_SECONDS = 10, 60.0
CONTROL, CHALLENGER = VERSIONS
_RATE, _STREAMS, _STEADY_SECONDS = 20.0, 2, 3.0
_GUARDED = {
    "metrics": {
        **GOOD["ABExperiment"]["metrics"],
        "guardrails": [{"name": "errors", "source": "Errors", "max": 0.05}],
    },
    "decision": {"scaleDownDelay": "1s"},
}
_FAIL = "open('/tmp/failing', 'w')"


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
        yield served(cluster, volume, SYSTEM, **_GUARDED)
        installation.clean()


def test_clients_get_a_failing_variant_for_less_than_a_minute(
    scene: Served, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    took = []
    for run in range(RUNS):
        if run:
            scene.compare(**_GUARDED)
        took.append(_failed_for(_attempts(scene, tmp_path / f"{run}.jsonl")))
    told = f"median {statistics.median(took):.1f} s, {min(took):.1f} to {max(took):.1f}"
    with capsys.disabled():
        print(f"\nfrom the first failed answer to the last, {RUNS} times: {told}")
    assert max(took) <= LONGEST_SECONDS


def _attempts(scene: Served, log: Path) -> list[Attempt]:
    """What clients saw from before the challenger failed until after it was rolled back, and they asked on."""
    with scene.traffic(log, _STREAMS, _RATE) as traffic:
        traffic.wait_for(_STEADY_SECONDS)
        for pod in scene.engines(CHALLENGER):
            scene.cluster.kubectl("exec", pod["metadata"]["name"], "-c", "engine", "--", "python", "-c", _FAIL)
        assert poll(lambda: _phase(scene) == "RolledBack", 2 * LONGEST_SECONDS, every=0.5), _phase(scene)
        traffic.wait_for(_STEADY_SECONDS)
        return traffic.end()


def _phase(scene: Served) -> str:
    return str(scene.cluster.api.status("ABExperiment", EXPERIMENT).get("phase"))


def _failed_for(attempts: list[Attempt]) -> float:
    """Seconds from the first failure to the last; afterwards clients were answered, by the control alone."""
    failed = [one.ended for one in attempts if one.status == 500]
    after = [one for one in attempts if one.began > max(failed)]
    assert len(after) > _RATE
    assert {one.outcome for one in after} == {"complete"}
    assert {one.variant for one in after} <= {CONTROL, None}
    return max(failed) - min(failed)
