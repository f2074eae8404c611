"""How the engine is called where several nodes share it: one serves, the others follow.

Each pod of a LeaderWorkerSet's group is told by its environment which one it is, and where the leader is. Every node
has some of the layers, and every GPU of it a part of each of these.
"""

from collections.abc import Mapping, Sequence

__all__ = ["on_nodes"]

_SERVER, _MODEL = "vllm.entrypoints.openai.api_server", "--model"


def on_nodes(command: Sequence[str], nodes: int, environment: Mapping[str, str]) -> list[str]:
    """Return what becomes of the one call of an engine on this node; the leader's waits for the others."""
    rank, leader = environment["LWS_WORKER_INDEX"], environment["LWS_LEADER_ADDRESS"]
    shared = ["--distributed-executor-backend", "mp", "--pipeline-parallel-size", str(nodes)]
    shared += ["--nnodes", str(nodes), "--node-rank", rank, "--master-addr", leader]
    return [*(command if rank == "0" else _follower(command)), *shared]


def _follower(command: Sequence[str]) -> list[str]:
    """Without a server: that takes vLLM's own command line, whose model stands first."""
    server, model = command.index(_SERVER), command.index(_MODEL)
    others = [*command[server + 1 : model], *command[model + 2 :]]
    return [*command[:server], "vllm.entrypoints.cli.main", "serve", command[model + 1], "--headless", *others]
