"""A real browser: Debian's Chromium, which tools/setup.sh installs, without a screen."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, sync_playwright

__all__ = ["browsing"]


@contextmanager
def browsing() -> Iterator[Browser]:
    """Run it; without its sandbox, which root cannot have."""
    program = shutil.which("chromium")
    assert program, "tools/setup.sh installs it, where it is run as root"
    with (
        sync_playwright() as playwright,
        playwright.chromium.launch(executable_path=program, args=["--no-sandbox"]) as made,
    ):
        yield made
