"""What the pinned engine takes, as its own parser says: `python -m tests.serving_runtime.engine_options` writes it.

It wants an environment with the requirements of the extra `serve-cpu`, or the server's image, and is run again when
`pyproject.toml` pins another vLLM. The unit tests then tell what the launcher writes that is gone; one of
`tests/e2e/test_images.py` asks the GPU server's image the same.
"""

import argparse
import json
from pathlib import Path
from typing import Any

__all__ = ["GOLDEN", "main", "options"]

GOLDEN = Path(__file__).parent / "golden/engine-options.json"


def options() -> dict[str, Any]:
    """Return the engine's arguments, and the names of its parsers and ways of quantization."""
    from vllm.entrypoints.launchers.cli_args import make_arg_parser
    from vllm.model_executor.layers.quantization import QUANTIZATION_METHODS
    from vllm.reasoning import ReasoningParserManager
    from vllm.tool_parsers import ToolParserManager
    from vllm.utils.argparse_utils import FlexibleArgumentParser
    from vllm.version import __version__

    parser = make_arg_parser(FlexibleArgumentParser())
    actions = [action for action in parser._actions if action.option_strings]  # noqa: SLF001 - argparse has no other way
    return {
        "version": __version__.partition("+")[0],
        "arguments": {name: _kind(action) for action in actions for name in action.option_strings},
        "tool_call_parsers": sorted(ToolParserManager.list_registered()),
        "reasoning_parsers": sorted(ReasoningParserManager.list_registered()),
        "quantization": sorted(QUANTIZATION_METHODS),
    }


def _kind(action: argparse.Action) -> str | list[str]:
    """`switch`, what may be chosen from, or the name of what reads a value."""
    if isinstance(action, argparse.BooleanOptionalAction) or action.nargs == 0:
        return "switch"
    if action.choices is not None:
        return sorted(str(choice) for choice in action.choices if choice is not None)
    many = f" {action.nargs}" if action.nargs else ""
    return getattr(action.type, "__name__", "str").strip("_") + many + (" again" if _adds(action) else "")


def _adds(action: argparse.Action) -> bool:
    return type(action).__name__ == "_AppendAction"


def main() -> None:
    """Write the golden file."""
    GOLDEN.parent.mkdir(exist_ok=True)
    GOLDEN.write_text(json.dumps(options(), indent=1, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
