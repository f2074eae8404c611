"""Send the recorder what nginx's workers write: `python -m serving_runtime.router.shipper …`.

In a container of its own and off the path of requests: neither nginx nor the agent notices its end, and it has no
rights in the cluster. Lines lie on the pod's own disk until the recorder has said that it stored them. While that is
away they wait, up to a bound; beyond it the oldest are dropped, and that is told: the kubelet ends a pod whose volume
is too full.
"""

import argparse
import fcntl
import logging
import random
import signal
import socket
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from serving_runtime.keys import key_of
from serving_runtime.records import DELIVERED, LOCK
from serving_runtime.terms import ADMIN_KEY_VARIABLE

from .files import replace_file
from .recorder import Recorder
from .spool import Spool

__all__ = ["Shipper", "main"]

_PERIOD_SECONDS = 0.1  # with nginx's own tenth, what a killed pod may take with it
_LONGEST_WAIT_SECONDS = 2.0
_MOST_WAITING = 768 << 20  # of the volume's 1 GiB: beyond that, the kubelet ends the pod
log = logging.getLogger("shipper")


@dataclass
class Shipper:
    """Hands over what lies in the spool, again and again, whatever goes wrong; `delivered` is the file that tells when
    that last succeeded.
    """

    spool: Spool
    recorder: Recorder
    delivered: Path
    _wait: float = _PERIOD_SECONDS
    _told_at: float = 0.0

    def ship(self) -> bool:
        """Send what is there; return whether all of it is stored."""
        try:
            if lost := self.spool.make_room(_MOST_WAITING):
                log.error("%d records are lost, the oldest: too many wait for the recorder", lost)
            began = time.time()
            sent = self.spool.ship(self.recorder.store)
            self._tell(began)
        except Exception as error:  # noqa: BLE001 - a container that ends takes the pod's readiness with it
            if self._wait == _PERIOD_SECONDS:
                log.warning("the recorder takes nothing, records wait: %s", error)
            self._wait = min(self._wait * 2, _LONGEST_WAIT_SECONDS)
            return False
        finally:
            self.recorder.close()
        if sent and self._wait != _PERIOD_SECONDS:
            log.warning("the recorder takes records again")
            self._wait = _PERIOD_SECONDS
        return True

    def _tell(self, at: float) -> None:
        """Say that all of what was written by then is stored; once a second is enough."""
        if abs(at - self._told_at) >= 1:
            with suppress(OSError):  # a disk that is full has no room for records either
                replace_file(self.delivered, f"{at:.0f}")
                self._told_at = at

    def rest(self) -> None:
        """Wait for news; the longer, the more often the recorder took nothing."""
        time.sleep(self._wait * random.uniform(0.75, 1))  # noqa: S311 - jitter

    def drain(self, lock: Path, seconds: float) -> None:
        """Send up to what nginx writes last, however long its answers take, and from then on for so long at most."""
        ended_at: float | None = None
        while True:
            is_written = not _is_held(lock)
            if is_written and ended_at is None:
                ended_at = time.monotonic()
            if self.ship() and is_written:
                return
            if ended_at is not None and time.monotonic() > ended_at + seconds:
                if lost := self.spool.waiting():
                    log.error("%d records are lost with this pod: the recorder took nothing", lost)
                return
            self.rest()


def main() -> None:
    """Run until the pod ends."""
    parser = argparse.ArgumentParser(prog="python -m serving_runtime.router.shipper", description=__doc__)
    parser.add_argument("--records", type=Path, required=True, help="where nginx writes")
    parser.add_argument("--recorder", type=Path, required=True, help="the file that holds the recorder's address")
    parser.add_argument("--end-within", type=float, required=True, help="seconds that the last may take, once written")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    asked = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: asked.set())
    recorder = Recorder(options.recorder, key_of(ADMIN_KEY_VARIABLE))
    delivered = options.records / DELIVERED
    with suppress(OSError):  # a disk that is full has no room for records either
        options.records.mkdir(parents=True, exist_ok=True)  # nginx's container may begin later
        if not delivered.exists():
            replace_file(delivered, f"{time.time():.0f}")
    shipper = Shipper(Spool(options.records, socket.gethostname()), recorder, delivered)
    while not asked.is_set():
        shipper.ship()
        shipper.rest()
    shipper.drain(options.records / LOCK, options.end_within)


def _is_held(lock: Path) -> bool:
    try:
        with lock.open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        return False
    return False


if __name__ == "__main__":
    main()
