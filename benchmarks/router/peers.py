"""Other routers, each in an environment of its own."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.environment import environment

from .processes import Running, await_answers, free_port, started
from .references import Upstream

__all__ = ["litellm", "vllm_router"]

_VLLM_ROUTER = ("vllm-router==0.1.17",)
# Without the last two, every request of LiteLLM's tries in vain to import the first, and its server parses in Python.
_LITELLM = ("litellm[proxy]==1.108.7", "opentelemetry-sdk==1.45.2", "httptools==0.9.0")


@contextmanager
def vllm_router(before: Upstream, folder: Path) -> Iterator[Running]:
    """Run vLLM's own router, by consistent hash of the user, without a line per request in its log."""
    port, log = free_port(), folder / "log"
    urls = [f"http://127.0.0.1:{engine}" for engine in (before.first, before.second)]
    program = environment("vllm-router", _VLLM_ROUTER) / "bin/vllm-router"
    listening: list[str | Path] = [program, "--host", "127.0.0.1", "--port", str(port)]
    command = [*listening, "--prometheus-port", str(free_port()), "--log-level", "warning"]
    command += ["--policy", "consistent_hash", "--worker-urls", *urls]
    with started(command, before.core, log) as process:
        await_answers(process, port, log)
        yield Running(port, [process])


@contextmanager
def litellm(before: Upstream, folder: Path) -> Iterator[Running]:
    """Run LiteLLM's proxy, with one worker, no database and no callbacks; it shuffles the two engines."""
    port, log, settings = free_port(), folder / "log", folder / "litellm.json"
    engines = [
        {"model": "openai/bench", "api_base": f"http://127.0.0.1:{engine}/v1", "api_key": "none"}
        for engine in (before.first, before.second)
    ]
    models = [{"model_name": "bench", "litellm_params": engine} for engine in engines]
    settings.write_text(json.dumps({"model_list": models}))  # which is YAML, too
    program = environment("litellm", _LITELLM) / "bin/litellm"
    command: list[str | Path] = [program, "--host", "127.0.0.1", "--port", str(port), "--num_workers", "1"]
    # It is reached from this machine alone. Its price list is asked for at a site that need not be reachable.
    variables = {
        "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true",
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    }
    with started([*command, "--config", settings], before.core, log, variables) as process:
        await_answers(process, port, log)
        yield Running(port, [process])
