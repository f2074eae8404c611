"""One router for all tests that leave it as it was, and one for those that try to break it."""

import re
from collections.abc import Iterator

import pytest

from .stand import Stand, standing
from .wire import Wire, wired

_TROUBLE = re.compile(r"exited on signal|\[(alert|emerg|crit)\]|stack traceback|runtime error|lua entry thread aborted")
_NEVER_CLOSED = {"server_tokens off;": "server_tokens off; keepalive_requests 1000000;"}
"""A connection takes more requests than the thousand that nginx lets it."""


@pytest.fixture(scope="session")
def router(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    """It is the same process at the end: no worker died."""
    with standing(tmp_path_factory.mktemp("router")) as stand:
        workers = stand.workers()
        yield stand
        assert stand.workers() == workers, (stand.folder / "log").read_text()


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    """It is the same process at the end, and nothing in its log says that its Lua or a worker failed."""
    with standing(tmp_path_factory.mktemp("router"), _NEVER_CLOSED) as stand:
        workers = stand.workers()
        yield stand
        log = (stand.folder / "log").read_text()
        assert stand.workers() == workers, log
        assert not _TROUBLE.search(log), log


@pytest.fixture
def wire(fuzzed: Stand) -> Iterator[Wire]:
    """A connection to it; another one is answered well once the test is over."""
    with wired(fuzzed) as made:
        yield made
