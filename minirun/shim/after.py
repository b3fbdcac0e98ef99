"""What a shim does once the container's process is gone: write down how, clean up, start again.

The order matters. The ending is judged while the control group still exists, and written down
before anything is removed, so a shim that is killed on the way leaves its standby enough to go on.

Next: ``lean.py``.
"""

from __future__ import annotations

import os
import select
import time
from contextlib import suppress

from ..container.entry import EXITED, RESTARTING
from ..container.restart import Ended, delay_ms
from ..errors import MinirunError
from . import frames

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from .ending import Ending
    from .place import Place
    from .supervise import Shim

_HANG_UP_S = 5.0


def end(shim: Shim) -> None:
    """Find out how it ended, and whether there will be another start; then see ``conclude``."""
    from .ending import judge, wait_status

    assert shim.running is not None and shim.streams is not None  # noqa: PT018
    shim.ending = judge(shim.running, wait_status(shim.running, shim.pidfd))
    shim.streams.drain()
    if shim.prober is not None:
        shim.prober.stop()
        shim.prober = None
    delay = _delay(shim, shim.ending)
    if delay is None:
        _settle(shim, shim.ending)
        _finish(shim, shim.ending)
    shim.restarts += 1
    shim.delay_ms = delay
    shim.restart_at = time.monotonic() + delay / 1000
    shim.close_streams()
    if shim.standby is not None:
        shim.standby.renew()  # by one that knows all this: a kill -9 must not end the restarts


def wait_and_restart(shim: Shim) -> None:
    """Clean up, sit out the delay, then start again unless somebody said stop meanwhile.

    A standby that takes over in the delay begins here too, so everything may be done twice.
    """
    assert shim.ending is not None and shim.restart_at is not None  # noqa: PT018
    assert shim.standby is not None
    _settle(shim, shim.ending)
    while (left := shim.restart_at - time.monotonic()) > 0:
        poll = select.poll()
        poll.register(shim.standby.pidfd, select.POLLIN)
        shim.standby.replace_if_dead(dict(poll.poll(left * 1000)))
    store = shim.place.store
    stopped = store.read(shim.place.id).state.stopped_by_user
    shim.standby.dismiss()
    shim.standby = None
    if stopped:
        store.set_state(shim.place.id, status=EXITED)
        os._exit(0)
    shim.begin()


def _settle(shim: Shim, ending: Ending) -> None:
    """Write down the ending and clean up.

    Each is tried whatever became of the one before: the disk may be full, or the container may have
    been removed by force, and still nothing of it may stay and its clients must hear the end.
    """
    from .ending import write_down

    status = EXITED if shim.restart_at is None else RESTARTING
    with suppress(MinirunError, OSError):
        write_down(shim.place, ending, status, shim.restarts)
    shim.note("oom" if ending.oom_killed else "die", exitCode=str(ending.exit_code))
    with suppress(MinirunError, OSError):
        tear_down(shim.place)


def tear_down(place: Place) -> None:
    """Take away what the start made; heavy to import, and needed at the two ends only."""
    from .run import tear_down as tear

    tear(place)


def _delay(shim: Shim, ending: Ending) -> int | None:
    """Return how long to wait before another start, or None when there is none."""
    try:
        record = shim.place.store.read(shim.place.id)
    except (MinirunError, OSError):
        return None  # removed by force while it ran
    ended = Ended(
        ending.exit_code,
        time.monotonic() - shim.started,
        record.state.stopped_by_user,
        shim.restarts,
        shim.delay_ms,
    )
    return delay_ms(record.options.restart, ended)


def _finish(shim: Shim, ending: Ending) -> NoReturn:
    """Remove what ``--rm`` says, tell the clients, go."""
    if shim.standby is not None:
        shim.standby.dismiss()
    assert shim.streams is not None
    try:
        with suppress(FileNotFoundError):
            os.unlink(shim.place.socket)
        if shim.place.store.read(shim.place.id).options.remove:
            from ..container.removal import remove_files

            remove_files(shim.place.store, shim.place.id)
            shim.note("destroy")
    except (MinirunError, OSError):
        pass  # nothing left to remove: the clients must hear the end all the same
    facts = {"exit_code": ending.exit_code, "reason": ending.reason, "error": ending.error}
    shim.streams.tell(frames.report(frames.EXITED, facts))
    for peer in shim.streams.peers:
        peer.drain(_HANG_UP_S)
    os._exit(0)
