"""End a container, wait for its end, freeze it, thaw it.

The order of ``stop`` matters: first the record learns that a person wants it (so no restart policy
brings it back), then the program is asked, and only when the time is over it is killed. ``stop``
returns when the shim has written the end down, so that whoever asks next is told the truth.

Signals go through a pidfd that was verified to be that very process. Next: ``remove.py``.
"""

from __future__ import annotations

import os
import select
import signal
import time

from ..container.entry import EXITED, PAUSED, RESTARTING, RUNNING
from ..errors import HostError, MinirunError, NotFoundError, StateError
from ..record import replace
from ..state import is_alive
from .start import attach
from .status import current, is_up

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..container.entry import ContainerRecord
    from .home import Home

#: The shim has this long to write the end down after the process is gone.
_RECORD_S = 10.0
_LOOK_S = 0.01


def stop(
    home: Home, record: ContainerRecord, timeout_s: int | None = None, signum: int = 0
) -> None:
    """Ask the program to end, kill it when it does not, return when it has ended.

    Args:
        home: where it is kept.
        record: which one; nothing happens to one that does not run.
        timeout_s: how long to ask before killing, -1 for ever; None takes the container's own.
        signum: what to ask with; 0 takes the container's own.
    """
    if not is_up(record):
        return
    record = _want_stopped(home, record)
    if record.state.status == RESTARTING:
        _end_restarting(home, record)
        return
    patience = record.stop_timeout_s if timeout_s is None else timeout_s
    pidfd = open_process(record)
    if pidfd >= 0:
        try:
            if record.state.status == PAUSED:
                home.place(record.id).container().resume()  # frozen, it cannot hear
            _send(pidfd, signum or record.stop_signal)
            if not _ended(pidfd, patience):
                _send(pidfd, signal.SIGKILL)
                _ended(pidfd, -1)
        finally:
            os.close(pidfd)
    wait(home, record)


def kill(home: Home, record: ContainerRecord, signum: int) -> None:
    """Send one signal.

    Raises:
        StateError: the container is not running.
    """
    pidfd = open_process(record)
    if pidfd < 0:
        short = record.id[:12]
        raise StateError(
            f"cannot kill container {record.name}: container {short} is not running",
            hint="minirun ps -a shows what each container does",
        )
    try:
        if signum == signal.SIGKILL:
            _want_stopped(home, record)
        _send(pidfd, signum)
        if signum == signal.SIGKILL and record.state.status == PAUSED:
            home.place(record.id).container().resume()
    finally:
        os.close(pidfd)


def wait(home: Home, record: ContainerRecord) -> int:
    """Wait until the container has ended for good; return its exit code."""
    while True:
        try:
            record = current(home, home.containers.read(record.id))
        except NotFoundError:
            return record.state.exit_code  # --rm: it went with its record
        if not is_up(record):
            return record.state.exit_code
        try:
            session = attach(home, record.id)
        except StateError:
            time.sleep(_LOOK_S)  # the shim is between two runs, or its standby about to listen
            continue
        try:
            ending = session.wait_until_over()
        except ConnectionResetError:
            ending = None
        finally:
            session.close()
        if ending is not None:
            return int(ending["exit_code"])


def pause(home: Home, record: ContainerRecord) -> None:
    """Stop every process of the container where it is."""
    _require(record, RUNNING, "pause")
    home.place(record.id).container().pause()
    _set_if(home, record, RUNNING, PAUSED)


def unpause(home: Home, record: ContainerRecord) -> None:
    """Let them go on."""
    _require(record, PAUSED, "unpause")
    home.place(record.id).container().resume()
    _set_if(home, record, PAUSED, RUNNING)


def _require(record: ContainerRecord, status: str, verb: str) -> None:
    if record.state.status != status:
        raise StateError(
            f"cannot {verb} container {record.name}: it is {record.state.status}, not {status}",
            hint="minirun ps -a shows what each container does",
        )


def _set_if(home: Home, record: ContainerRecord, before: str, after: str) -> None:
    """Change the status, unless the container has ended meanwhile."""

    def change(found: ContainerRecord) -> ContainerRecord:
        if found.state.status != before:
            return found
        return replace(found, state=replace(found.state, status=after))

    home.containers.update(record.id, change)


def open_process(record: ContainerRecord) -> int:
    """Return a pidfd of the container's first process, or -1 when it is gone."""
    try:
        pidfd = os.pidfd_open(record.state.pid) if record.state.pid else -1
    except ProcessLookupError:
        return -1
    # Once the pidfd is ours the number cannot come to mean somebody else.
    if pidfd >= 0 and not is_alive(record.state.pid, record.state.pid_start_time):
        os.close(pidfd)
        return -1
    return pidfd


def _send(pidfd: int, signum: int) -> None:
    try:
        signal.pidfd_send_signal(pidfd, signum)
    except ProcessLookupError:
        return  # it was faster
    except OSError as error:
        text = os.strerror(error.errno or 0).lower()
        raise MinirunError(f"cannot send signal {signum}: {text}") from error


def _ended(pidfd: int, seconds: float) -> bool:
    """Wait for the end of a process; -1 waits for ever."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(None if seconds < 0 else seconds * 1000))


def _want_stopped(home: Home, record: ContainerRecord) -> ContainerRecord:
    """Write down that no restart is wanted; a ``--rm`` container has none, full disk or not."""
    try:
        return home.containers.set_state(record.id, stopped_by_user=True)
    except HostError:
        if not record.options.remove:
            raise
        return record


def _end_restarting(home: Home, record: ContainerRecord) -> None:
    """End a shim that sits out the delay before a restart: it holds nothing but that decision."""
    state = record.state
    if is_alive(state.shim_pid, state.shim_start_time):
        pidfd = os.pidfd_open(state.shim_pid)
        try:
            _send(pidfd, signal.SIGKILL)
            _ended(pidfd, _RECORD_S)
        finally:
            os.close(pidfd)
    found = home.containers.read(record.id)
    if found.state.status != RESTARTING:  # it had begun again just before
        stop(home, found)
        return
    from .remove import tidy

    tidy(home, record.id)
    home.containers.set_state(record.id, status=EXITED)
