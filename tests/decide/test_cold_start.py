"""How long a pod took to its first answer, from what Kubernetes says of it."""

from typing import Any

import pytest

from anneal_operator.api.model_version import ColdStart
from anneal_operator.decide.cold_start import newest_start


def _pod(name: str = "p", ready: str = "12:03:20", began: str = "12:01:10", **metadata: Any) -> dict[str, Any]:
    conditions = [{"type": "PodScheduled", "status": "True", "lastTransitionTime": "2026-03-01T12:00:30Z"}]
    status = "True" if ready else "False"
    conditions += [{"type": "Ready", "status": status, "lastTransitionTime": f"2026-03-01T{ready or '12:00:00'}Z"}]
    state = (
        {"running": {"startedAt": f"2026-03-01T{began}Z"}} if began else {"waiting": {"reason": "ContainerCreating"}}
    )
    metadata |= {"name": name, "creationTimestamp": "2026-03-01T12:00:00Z"}
    return {"metadata": metadata, "status": {"conditions": conditions, "containerStatuses": [{"state": state}]}}


def _start(pod: str, ready: str, loading: int) -> ColdStart:
    return ColdStart(
        pod=pod,
        ready_at=f"2026-03-01T{ready}Z",
        scheduling_seconds=30,
        image_seconds=40,
        loading_seconds=loading,
    )


def _brought(pod: dict[str, Any], **state: Any) -> dict[str, Any]:
    """Its weights were brought before its engine began."""
    pod["status"]["initContainerStatuses"] = [{"name": "weights", "state": state}]
    return pod


BROUGHT = {"terminated": {"exitCode": 0, "startedAt": "2026-03-01T12:00:40Z"}}
FIRST, SECOND = _start("p", "12:03:20", 130), _start("q", "12:04:00", 170)


@pytest.mark.parametrize(
    ("known", "pods", "told"),
    [
        (None, [], None),
        (None, [{"metadata": {"name": "p"}}], None),
        (None, [_pod(ready="")], None),
        (None, [_pod(began="")], None),
        (None, [_pod()], FIRST),
        (None, [_pod(), _pod("q", "12:04:00")], SECOND),
        (None, [_brought(_pod(), **BROUGHT)], FIRST.having(image_seconds=10, download_seconds=30)),
        (FIRST, [_pod(), _pod("q", "12:04:00")], SECOND),
        (FIRST, [_pod(), _pod("q", "")], FIRST),
        (FIRST, [], FIRST),
        # one that answers again was not started for that, and an older one is no newer start
        (FIRST, [_pod(ready="13:00:00")], FIRST),
        (SECOND, [_pod(), _pod("q", "12:04:00")], SECOND),
        (FIRST, [_pod("q", "12:04:00", deletionTimestamp="2026-03-01T12:05:00Z")], FIRST),
    ],
)
def test_the_newest_start_is_told(known: ColdStart | None, pods: list[dict[str, Any]], told: ColdStart | None) -> None:
    assert newest_start(known, pods) == told
