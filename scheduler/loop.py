"""The thread that keeps looking: ticks of the controller, as soon as there is news.

    a wish, an exit, a probe, a held request ──▶ wake ──▶ tick ──▶ … until nothing is left to do

It looks without news as well, twice a second: a time to try again has come, a window has moved, or
news was lost. A tick that fails is told of and repeated; nothing it was to do is forgotten.

Next: ``serve.py``.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from threading import Event, Thread

from minirun import MinirunError, ScheduleError

from .actions import Outcome
from .controller import Controller
from .observed import Observed

#: Without news; after a tick that did something; after one that failed.
IDLE_S, BUSY_S, FAILED_S = 0.5, 0.02, 1.0
#: News comes in bursts while replicas start, and one look takes in all there is.
PACE_S = 0.01
#: So much of a processor, at most: what starts at the moment needs it more.
SHARE = 0.1
log = logging.getLogger(__name__)


class Loop:
    """The control loop's thread.

    Args:
        controller: what looks, decides and acts.
        wake: set by whoever has news.
    """

    def __init__(self, controller: Controller, wake: Event) -> None:
        self._controller = controller
        self._wake = wake
        self._stopping = False
        self._problem = ""
        self._thread = Thread(target=self._run, name="control-loop", daemon=True)

    def start(self) -> None:
        """Take over from an earlier controller, look once, and begin.

        Raises:
            MinirunError: what the earlier one has left cannot be written.
        """
        self._controller.resume()
        self._controller.observe()
        self._thread.start()

    def stop(self) -> None:
        """End after the tick that is under way."""
        self._stopping = True
        self._wake.set()
        self._thread.join()

    def observed(self) -> Observed:
        """Return the last look at the world."""
        assert self._controller.last is not None, "start looks before anybody asks"
        return self._controller.last

    def problem(self) -> str:
        """Return why the last tick failed, "" when it did not."""
        return self._problem if self._thread.is_alive() else "the control loop has ended"

    def _run(self) -> None:
        pause_s = 0.0
        while not self._stopping:
            self._wake.wait(pause_s)
            self._wake.clear()
            began = time.monotonic()
            pause_s = self._tick(self._controller.tick)
            # A host with thousands of replicas must have time for something else, too.
            time.sleep(min(BUSY_S, max(PACE_S, (time.monotonic() - began) / SHARE)))

    def _tick(self, tick: Callable[[], Outcome]) -> float:
        """Look once, and return for how long nobody has to look again without news."""
        try:
            outcome = tick()
        except ScheduleError as error:
            if error.status == 409:  # a person was faster: what was decided is void
                return 0.0
            return self._failed(error)
        except (MinirunError, OSError) as error:
            return self._failed(error)
        if self._problem:
            log.info("the control loop works again")
        self._problem = ""
        has_more = outcome.entries or (outcome.effects and not self._controller.is_stuck)
        return BUSY_S if has_more else IDLE_S

    def _failed(self, error: Exception) -> float:
        if self._problem != str(error):
            log.error("the control loop: %s", error)
        self._problem = str(error)
        return FAILED_S
