"""The command line: `python -m local_cluster up | down | status | kubeconfig | load-image | fault hooks`."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from toolbox.commands import CommandError

from . import faults
from .cluster import down, status, up
from .components import OPTIONAL
from .errors import LocalClusterError
from .layout import Layout
from .loading import load_image
from .supervisor import supervise

__all__ = ["main"]

_HOOKS = {
    "kill": faults.kill,
    "stop": faults.stop,
    "start": faults.start,
    "restart": faults.restart,
    "freeze": faults.freeze,
    "continue": faults.thaw,
}
_DATA_HOOKS = {"copy-data": faults.copy_data, "replay": faults.replay}
_DATA_HELP = {
    "copy-data": "copy etcd's data directory to FOLDER, which must not exist",
    "replay": "restart etcd and the API server on the data directory FOLDER",
}
_Action = Callable[[Layout, argparse.Namespace], int]


def main(arguments: list[str] | None = None) -> int:
    """Do what the command line asks; return the exit status."""
    options = _parser().parse_args(arguments)
    layout = Layout.of_control_plane() if options.control_plane_only else Layout.of_node()
    try:
        action: _Action = options.action
        return action(layout, options)
    except (CommandError, LocalClusterError) as error:
        print(f"error: {error}", file=sys.stderr)
    except PermissionError as error:
        remedy = "run this with sudo, or pass --control-plane-only"
        print(f"error: {error.filename} belongs to another user: {remedy}", file=sys.stderr)
    return 1


def _up(layout: Layout, options: argparse.Namespace) -> int:
    up(
        layout,
        gpus=options.gpus,
        simulated_nodes=options.simulated_nodes,
        network_policies=options.network_policies,
        take_over=options.take_over,
    )
    print(f"the cluster is up:\n  export KUBECONFIG={layout.kubeconfig} PATH={layout.bin}:$PATH")
    return 0


def _down(layout: Layout, options: argparse.Namespace) -> int:
    down(layout, take_over=options.take_over)
    return 0


def _supervise(layout: Layout, _: argparse.Namespace) -> int:
    supervise(layout)
    return 0


def _kubeconfig(layout: Layout, _: argparse.Namespace) -> int:
    print(layout.kubeconfig)
    return 0


def _load_image(layout: Layout, options: argparse.Namespace) -> int:
    for reference in options.references:
        load_image(layout, reference)
    return 0


def _fault(layout: Layout, options: argparse.Namespace) -> int:
    if options.command in _DATA_HOOKS:
        _DATA_HOOKS[options.command](layout, options.folder.absolute())
    else:
        _HOOKS[options.command](layout, options.component)
    return 0


def _status(layout: Layout, _: argparse.Namespace) -> int:
    """Print a line per component; the exit status is 0 when the cluster runs and all of it is healthy."""
    now = status(layout)
    print(f"held by {now.holder.checkout} since {now.holder.since}" if now.holder else "not running")
    for name, state in now.components.items():
        print(f"  {name:24} {state}")
    optional = {component.name for component in OPTIONAL}
    running = [state for name, state in now.components.items() if name not in optional]
    return 0 if now.holder and set(running) == {"healthy"} else 3


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m local_cluster", description="A real Kubernetes on this machine.")
    parser.add_argument(
        "--control-plane-only",
        action="store_true",
        help="etcd, API server, controllers and simulated nodes only: needs no root and no cgroups",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    command = _command(commands, "up", _up, "bring up what does not run yet")
    command.add_argument("--gpus", type=int, default=0, help="nvidia.com/gpu to advertise, on each simulated node too")
    command.add_argument("--simulated-nodes", type=int, default=0, help="H100 nodes to simulate (kwok)")
    command.add_argument("--network-policies", action="store_true", help="enforce NetworkPolicies (kube-router)")
    command.add_argument("--take-over", action="store_true", help="also when another checkout holds the cluster")
    command = _command(commands, "down", _down, "end it and leave nothing behind")
    command.add_argument("--take-over", action="store_true", help="also when another checkout holds the cluster")
    _command(commands, "supervise", _supervise, "restart what ends by itself; `up` starts this")
    _command(commands, "status", _status, "who holds it, and how each component is; exit 3 unless all are healthy")
    _command(commands, "kubeconfig", _kubeconfig, "print the path of the administrator's kubeconfig")
    command = _command(commands, "load-image", _load_image, "load images that buildah built into the node")
    command.add_argument("references", nargs="+")
    for hook in _HOOKS:
        _command(commands, hook, _fault, f"{hook} one component").add_argument("component")
    for hook, says in _DATA_HELP.items():
        _command(commands, hook, _fault, says).add_argument("folder", type=Path)
    return parser


def _command(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]", name: str, action: _Action, says: str
) -> argparse.ArgumentParser:
    command = commands.add_parser(name, help=says)
    command.set_defaults(action=action)
    return command


if __name__ == "__main__":
    sys.exit(main())
