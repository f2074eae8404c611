"""How far a download is, of which of several pods, and in which words."""

import pytest

from anneal_operator.decide.downloading import in_words, slowest_download
from serving_runtime.plan import Downloaded

GIGABYTE, MEGABYTE = 10**9, 10**6


def _told(here: int, total: int, speed: int) -> Downloaded:
    return Downloaded(bytes=here, total_bytes=total, bytes_per_second=speed)


@pytest.mark.parametrize(
    ("told", "remaining", "words"),
    [
        (_told(0, 65 * GIGABYTE, 0), None, "0.0 of 65.0 GB are here, at 0.0 MB/s, nothing comes"),
        (_told(GIGABYTE, 65 * GIGABYTE, 48 * MEGABYTE), "23m", "1.0 of 65.0 GB are here, at 48.0 MB/s, about 23m left"),
        (_told(0, 65 * GIGABYTE, MEGABYTE), "18h4m", "0.0 of 65.0 GB are here, at 1.0 MB/s, about 18h4m left"),
        (_told(GIGABYTE, 2 * GIGABYTE, 3_400_000), "4m55s", "1.0 of 2.0 GB are here, at 3.4 MB/s, about 4m55s left"),
        (_told(GIGABYTE, GIGABYTE, MEGABYTE), "0s", "1.0 of 1.0 GB are here, at 1.0 MB/s, about 0s left"),
    ],
)
def test_a_download_is_told_with_what_is_left_of_it(told: Downloaded, remaining: str | None, words: str) -> None:
    found = slowest_download([told])
    assert found is not None
    assert (found.bytes, found.total_bytes, found.remaining) == (told.bytes, told.total_bytes, remaining)
    assert in_words(found) == words


def test_of_several_the_one_with_most_before_it_is_told() -> None:
    waits, first, second = _told(0, 0, 0), _told(3, 10, 1), _told(2, 10, 9)
    found = slowest_download([waits, first, second])
    assert (found and found.bytes) == 2
    assert slowest_download([waits]) is None
    assert slowest_download([]) is None
