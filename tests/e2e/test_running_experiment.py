"""What an experiment costs while it runs: the numbers change at every look, and nearly nothing is written.

200 requests a second reach router and recorder, which are played; the operator sees only what was counted of them.
"""

import time
from collections.abc import Iterator

import pytest

from benchmarks.control_plane.managers import cpu_seconds
from tests.api.specs import GOOD
from tests.support.counted import metric_told

from .conftest import Cluster
from .scripted_pods import at_home
from .stand import Stand, stand

pytestmark = [pytest.mark.soak, pytest.mark.timeout(600)]
_SECONDS = 120.0
_REQUESTS_PER_SECOND = 200
_AT_FIRST = 1000


@pytest.fixture
def scene(running: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    """Two versions that answer, and the operator at work."""
    with stand(running, tmp_path_factory.mktemp("running"), "running-experiment", volumes=1) as made:
        made.lead()
        for variant in ("stable", "tuned"):
            spec = {**GOOD["ModelVersion"], "modelName": "spam", "aliases": [], "serving": {}}
            made.submit("ModelVersion", f"spam-{variant}", at_home("ModelVersion", spec))
            made.wait("ModelVersion", f"spam-{variant}", lambda status: status.get("phase") == "Ready")
        yield made


def _count(scene: Stand, requests: int) -> None:
    """Half of them each, by users who come back ten times."""
    users = max(1, requests // 20)
    metric = metric_told(users, 3.0 + 0.001 * users, float(users))
    counted = {"users": users, "requests": requests // 2, "fallbacks": 0, "metric": metric}
    scene.router.counted = dict.fromkeys(("stable", "tuned"), counted)


def test_a_running_experiment_writes_once_in_ten_seconds_and_asks_little(
    scene: Stand, capsys: pytest.CaptureFixture[str]
) -> None:
    variants = [
        {"name": name, "modelVersionRef": {"name": f"spam-{name}"}, "weight": 50} for name in ("stable", "tuned")
    ]
    stopping = {"minUsersPerVariant": 10, "minDuration": "1h"}
    changed = {"modelName": "spam", "variants": variants, "stopping": stopping}
    _count(scene, _AT_FIRST)
    scene.submit("ABExperiment", "x", {**GOOD["ABExperiment"], **changed})
    scene.wait("ABExperiment", "x", lambda status: status.get("phase") == "Running")
    scene.wait_until_quiet()  # its Events of the beginning are told
    assert scene.operator.process is not None
    operator = scene.operator.process.pid
    began, writes, asked = time.monotonic(), len(scene.proxy.writes), scene.proxy.requests
    cpu = cpu_seconds([operator])
    while (passed := time.monotonic() - began) < _SECONDS:
        _count(scene, _AT_FIRST + int(passed * _REQUESTS_PER_SECOND))
        time.sleep(0.5)  # the recorder counts on
    written = scene.proxy.writes[writes:]  # the Lease's are not among them
    per_second = (scene.proxy.requests - asked) / passed
    share = (cpu_seconds([operator]) - cpu) / passed
    with capsys.disabled():
        print(f"\n{len(written)} writes in {passed:.0f} s, {per_second:.2f} API requests/s, {share:.1%} of a core")
    assert all("/abexperiments/x/status" in write for write in written), written
    assert 0 < len(written) <= _SECONDS / 10
    assert per_second <= 5
    assert share <= 0.05
