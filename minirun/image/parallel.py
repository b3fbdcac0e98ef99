"""Several transfers at once, of which the first that fails stops the others.

Next: ``adopt.py``.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeVar

    T = TypeVar("T")


class Stop(threading.Event):
    """An event that also wakes those who cannot wait for it: threads inside of a system call."""

    def __init__(self) -> None:
        super().__init__()
        self._calls: list[Callable[[], object]] = []

    def on_set(self, call: Callable[[], object]) -> None:
        """Have something called, once, by whoever sets the event."""
        self._calls.append(call)

    def set(self) -> None:
        """Set the event, and make the calls."""
        super().set()
        while self._calls:
            self._calls.pop()()


#: As Docker's. Hashing and inflating run outside the GIL, so more would only share the line.
AT_ONCE = 3


def in_parallel(work: Callable[[T], object], jobs: Sequence[T], stop: Stop) -> None:
    """Do all jobs in threads, which have ended when this returns or raises.

    Args:
        work: does one job.
        jobs: in the order in which to begin.
        stop: is set at the first failure; long jobs look at it.
    """
    with ThreadPoolExecutor(AT_ONCE, "minirun-transfer") as pool:
        futures = [pool.submit(work, job) for job in jobs]
        try:
            done, _ = wait(futures, return_when=FIRST_EXCEPTION)
            for future in done:
                future.result()
        except BaseException:
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
