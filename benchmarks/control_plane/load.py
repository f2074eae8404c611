"""The operator alone under load: a thousand trainings that report, and a start beside thousands of finished jobs."""

import asyncio
import json
import ssl
import time
from datetime import UTC, datetime
from typing import Any

import aiohttp

from local_cluster.layout import Layout
from local_cluster.simulation import completion
from toolbox.polling import poll

from .audit import manager_writes, read_audit
from .managers import FINE_TUNE_JOBS, Kind, cpu_seconds, has_job, rss_mib, running, started
from .objects import NAMESPACE, Manifest, create, scene, session, write_statuses

__all__ = ["measure_reports", "measure_restart", "scripted_stages"]

_SECONDS = 60.0
_REPORT_PERIOD = 5.0
_OK, _UNAVAILABLE = 200, 503
_PREPARED = {
    "rows": 10,
    "rejected": 0,
    "duplicates_removed": 0,
    "pii_found": 0,
    "tokens": 100,
    "p99_tokens": 20,
    "truncated_percent": 0.0,
    "train": 8,
    "validation": 1,
    "test": 1,
    "digest": "sha256:d",
}


def scripted_stages(layout: Layout) -> list[Manifest]:
    """Preparation ends at once, training never."""
    done = completion(layout, "prepare", {"anneal.dev/stage": "prepare"}, json.dumps(_PREPARED), 0.0)
    return [done, completion(layout, "train", {"anneal.dev/stage": "train"}, "", 86400.0)]


def measure_reports(layout: Layout, kind: Kind, count: int) -> str:
    """Let as many trainings report every five seconds for a minute, each with its own token."""
    scene(layout)
    with running(layout, kind) as processes:
        asyncio.run(create(layout, kind.path, [kind.make(f"b-{number}") for number in range(count)]))
        if not poll(lambda: _at_work(layout) >= count, 600, every=2.0):
            raise TimeoutError(f"{_at_work(layout)} of {count} jobs train")
        tokens = asyncio.run(_tokens(layout))
        asyncio.run(_report(tokens, _REPORT_PERIOD))  # every token is reviewed once
        began, before = time.time(), cpu_seconds(processes)
        sent, put_off = asyncio.run(_report(tokens, _SECONDS))
        seconds, cpu = time.time() - began, cpu_seconds(processes) - before
        rss = rss_mib(processes)
    writes = manager_writes(read_audit(layout, began))
    return (
        f"{count} jobs at work, {sent / seconds:.0f} reports per second for {seconds:.0f} s, {put_off} put off: "
        f"{cpu / seconds:.2f} cores, {rss:.0f} MiB, {writes / seconds:.0f} API writes per second"
    )


def measure_restart(layout: Layout, kind: Kind, count: int) -> str:
    """Start beside as many finished jobs, and make one more at once; return how long it waits for its first Job."""
    scene(layout)
    asyncio.run(create(layout, kind.path, [kind.make(f"b-{number}") for number in range(count)]))
    asyncio.run(_finish(layout, count))
    began = time.time()
    with started(layout, kind) as (processes, log):
        asyncio.run(create(layout, kind.path, [kind.make("new")]))
        made = poll(lambda: has_job(layout, kind.first_job.format("new")), 120, every=0.1)
        waited = time.time() - began
        rss = rss_mib(processes)
        if not made:
            raise TimeoutError(f"no first Job: {log.read_text()[-2000:]}")
    return f"{count} finished jobs: {waited:.1f} s from the operator's start to a new job's first Job, {rss:.0f} MiB"


async def _finish(layout: Layout, count: int) -> None:
    """Give each the status of a job that succeeded, as an earlier operator would have."""
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    condition: Manifest = {"type": "Succeeded", "status": "True", "reason": "Published", "message": "published"}
    condition |= {"lastTransitionTime": now, "observedGeneration": 1}
    status = {"phase": "Succeeded", "observedGeneration": 1, "conditions": [condition]}
    async with session(layout) as client:
        await write_statuses(client, FINE_TUNE_JOBS, {f"b-{number}": status for number in range(count)})


def _at_work(layout: Layout) -> int:
    path = "jsonpath={.items[*].status.phase}"
    return layout.kubectl("-n", NAMESPACE, "get", "finetunejobs", "-o", path).split().count("Running")


async def _tokens(layout: Layout) -> dict[str, str]:
    """A token for each job, as its pod would have it, by the job's namespace, name and uid."""
    path = f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts/default/token"
    found: dict[str, str] = {}

    async def ask(client: aiohttp.ClientSession, job: str) -> None:
        request: dict[str, Any] = {"kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1"}
        spec = {"audiences": [f"anneal-progress/{job}"]}
        async with client.post(path, json={**request, "spec": spec}) as answer:
            found[job] = (await answer.json())["status"]["token"]

    async with session(layout) as client:
        await asyncio.gather(*(ask(client, job) for job in _jobs(layout)))
    return found


def _jobs(layout: Layout) -> list[str]:
    of_each = '{range .items[*].metadata}{.namespace}/{.name}/{.uid}{"\\n"}{end}'
    return layout.kubectl("-n", NAMESPACE, "get", "finetunejobs", "-o", f"jsonpath={of_each}").split()


async def _report(tokens: dict[str, str], seconds: float) -> tuple[int, int]:
    """Report for every job in every period, spread over it; return how often, and how often to try again was asked."""
    trust = ssl.create_default_context()
    trust.check_hostname, trust.verify_mode = False, ssl.CERT_NONE
    ends, step, sent, put_off = time.monotonic() + seconds, 0, 0, 0
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=trust, limit=64)) as client:
        while time.monotonic() < ends:
            step += 1
            began = time.monotonic()
            put_off += sum(await asyncio.gather(*(_one(client, job, token, step) for job, token in tokens.items())))
            sent += len(tokens)
            await asyncio.sleep(max(0.0, _REPORT_PERIOD - (time.monotonic() - began)))
    return sent, put_off


async def _one(client: aiohttp.ClientSession, job: str, token: str, step: int) -> bool:
    """Report once; return whether it is to be tried again, as the API server did not review the token in time."""
    numbers = {"loss": 1 / step, "current_step": step, "total_steps": 1000}
    metrics = [{"name": name, "value": str(value)} for name, value in numbers.items()]
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    body = {"trainerStatus": {"progressPercentage": step % 100, "metrics": metrics, "lastUpdatedTime": now}}
    url = f"https://127.0.0.1:8443/progress/{job}"
    async with client.post(url, json=body, headers={"Authorization": f"Bearer {token}"}) as answer:
        if answer.status not in {_OK, _UNAVAILABLE}:
            raise RuntimeError(f"{answer.status}: {await answer.text()}")
        return answer.status == _UNAVAILABLE
