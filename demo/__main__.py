"""`python -m demo`: build what changed, run the story on the local cluster, end with ten lines."""

import subprocess
import sys
import time

from local_cluster.layout import Layout
from toolbox.commands import CommandError

from .commands import Commands, DemoError
from .story import Story
from .summary import summary

__all__ = ["built_images", "main"]


def built_images() -> dict[str, str]:
    """Return each image's reference, by the name the chart has for it; `make images` has built them."""
    command = [sys.executable, "-m", "images", "build"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\n")
    references = [line for line in listed if line.startswith("anneal.local/")]
    return {reference.split("/")[1].split(":")[0]: reference for reference in references}


def main() -> int:
    """Run the demo; return the exit status."""
    started = time.monotonic()
    story = Story(Commands(Layout.of_node()), built_images(), tell=lambda line: print(line, flush=True))
    try:
        story.run()
    except (CommandError, DemoError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"\n== done in {time.monotonic() - started:.0f} s")
    print("\n".join(summary(story)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
