"""`python -m demo`: build what changed, run the story on the local cluster, end with ten lines."""

import sys
import time

from local_cluster.layout import Layout
from toolbox.commands import CommandError

from .commands import Commands, DemoError
from .installation import built_images
from .story import Story
from .summary import summary

__all__ = ["main"]


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
