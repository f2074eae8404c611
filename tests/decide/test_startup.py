"""How long an engine may take until it answers, by what it has to read."""

import pytest

from anneal_operator.api.artifact import Artifact
from anneal_operator.api.quantities import seconds, worded
from anneal_operator.api.serving import Serving
from anneal_operator.decide.startup import reading_seconds, startup_seconds

GIGABYTE = 10**9


def _artifact(size: int | None) -> Artifact:
    artifact = {"uri": "mlflow-artifacts:/1/r/artifacts/model", "format": "Full", "digest": "sha256:" + "0" * 64}
    return Artifact.parse({**artifact, **({"bytes": size} if size else {})})


@pytest.mark.parametrize(
    ("size", "asked", "deadline"),
    [
        (None, None, "15m"),
        (1, None, "15m2s"),
        (2 * GIGABYTE, None, "15m40s"),
        (65 * GIGABYTE, None, "36m40s"),
        (800 * GIGABYTE, None, "4h41m40s"),
        (65 * GIGABYTE, "10m", "10m"),
        (None, "24h", "24h"),
    ],
)
def test_the_deadline_comes_from_the_artifact_s_size_unless_people_set_one(
    size: int | None, asked: str | None, deadline: str
) -> None:
    serving = Serving.parse({"startupDeadline": asked} if asked else {})
    found = startup_seconds(serving, _artifact(size))
    assert (found, worded(found)) == (seconds(deadline), deadline)


def test_the_deadline_of_the_largest_artifact_is_one_that_a_probe_can_have() -> None:
    largest = next(one.le for one in Artifact.model_fields["bytes"].metadata if hasattr(one, "le"))
    assert startup_seconds(Serving.parse({}), _artifact(largest)) < 2**31


def test_a_part_of_a_second_is_one() -> None:
    assert [reading_seconds(size, 100) for size in (0, 1, 100, 101)] == [0, 1, 1, 2]


@pytest.mark.parametrize(("total", "written"), [(0, "0s"), (59, "59s"), (60, "1m"), (3600, "1h"), (90061, "25h1m1s")])
def test_seconds_are_written_as_kubernetes_writes_them(total: int, written: str) -> None:
    assert (worded(total), seconds(written)) == (written, total)
