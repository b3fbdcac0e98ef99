"""A scheduler that is killed around every effect, and always comes back.

    python -m tests.scheduler.lives DEATHS_FILE ARGUMENTS_OF_SERVE…

Each life is a process of its own that dies by SIGKILL around the first effect that it does. The
first that comes to an effect dies before it, when it has been decided and committed; the second as
soon as it was asked for, while other threads may still work on it; the third when it is done, which
nobody has noted yet. The file tells how often each effect was died for.

All that a life needs is imported before the first is born, which makes it cheap. The hook is put
around the controller here, and nowhere in the scheduler's own code.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from enum import IntEnum
from pathlib import Path
from types import FrameType
from typing import NoReturn

import scheduler.serve  # noqa: F401 - imported so that no life has to
from scheduler.actions import Effect, Remove, Start, Stop
from scheduler.cli import perform
from scheduler.controller import Controller
from scheduler.observed import Phase
from scheduler.runtime import Runtime


class Death(IntEnum):
    """When a life ends."""

    BEFORE = 0
    MEANWHILE = 1
    AFTER = 2


def die_around_first_effect(deaths: Path) -> None:
    """Let this process be killed around the first effect that its controller does."""
    do = Controller._do

    def deadly(self: Controller, effect: Effect) -> None:
        death = _next_death(deaths, effect)
        if death is not Death.BEFORE:
            do(self, effect)
        while death is Death.AFTER and not _is_done(self._runtime, effect):
            time.sleep(0.001)
        os.kill(os.getpid(), signal.SIGKILL)

    Controller._do = deadly  # type: ignore[method-assign]


def _next_death(deaths: Path, effect: Effect) -> Death:
    """Return how this life ends, and write down that it did."""
    key = f"{type(effect).__name__} {getattr(effect, 'id', 'web')}"
    counts = json.loads(deaths.read_text()) if deaths.exists() else {}
    before = counts.get(key, 0)
    fresh = deaths.with_suffix(".new")
    fresh.write_text(json.dumps(counts | {key: before + 1}))
    fresh.replace(deaths)  # whoever reads it sees all of it
    return Death(min(before, Death.AFTER))


def _is_done(runtime: Runtime, effect: Effect) -> bool:
    """Return whether the work that an effect asked for has ended; the gateway's has at once."""
    if not isinstance(effect, Start | Stop | Remove):
        return True
    replica = runtime.replicas().get(effect.id)
    if isinstance(effect, Start):
        return replica is not None and replica.phase is not Phase.STARTING
    return replica is None or (isinstance(effect, Stop) and replica.has_ended)


class Lives:
    """One life after the other, until told to end."""

    def __init__(self, deaths: Path, arguments: list[str]) -> None:
        self._deaths = deaths
        self._arguments = arguments
        self._child = 0
        self._over = False

    def end(self, number: int, _frame: FrameType | None) -> None:
        """Pass a signal on, and let no other life begin."""
        self._over = True
        if self._child:
            os.kill(self._child, number)

    def run(self) -> int:
        """Live; return 0 when it was ended, and 1 when a life failed."""
        signal.signal(signal.SIGTERM, self.end)
        while not self._over:
            self._child = os.fork()
            if self._child == 0:
                self._live()
            _, status = os.waitpid(self._child, 0)
            self._child = 0
            if os.waitstatus_to_exitcode(status) != -signal.SIGKILL:
                break
        return 0 if self._over else 1

    def _live(self) -> NoReturn:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        die_around_first_effect(self._deaths)
        os._exit(perform(("serve", *self._arguments)))


if __name__ == "__main__":
    sys.exit(Lives(Path(sys.argv[1]), sys.argv[2:]).run())
