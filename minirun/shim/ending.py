"""How a container ended, found out and written down before anything of it is removed.

Docker's convention: a code below 128 is the program's own, 128+n means signal n, 137 with
``oom_killed`` that the kernel killed it for memory.

Next: ``supervise.py``.
"""

from __future__ import annotations

import errno
import fcntl
import os
import select
import struct

from ..cgroups import open_driver
from ..errors import MinirunError
from ..host import probe
from ..record import Record
from ..state import timestamp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .place import Place, Running

#: See <linux/pidfd.h>; since Linux 6.15 with the exit code.
_PIDFD_GET_INFO = 0xC040FF0B
_PIDFD_INFO_EXIT = 1 << 3
UNKNOWN_CODE = 255
#: Between its end and its collection a process may be neither a zombie nor gone.
_COLLECTED_MS = 1000


class Ending(Record):
    """Why and how: ``reason`` is exit, signal, oom or error."""

    exit_code: int
    reason: str
    oom_killed: bool = False
    peak_memory_bytes: int = 0
    error: str = ""


def wait_status(running: Running, pidfd: int) -> int | None:
    """Return the wait status of a process that has ended; None when nobody can know any more.

    Its parent is told by wait(2). A standby that is not its parent looks at the zombie, or asks the
    pidfd once the new parent has collected that.
    """
    try:
        _, status = os.waitpid(running.pid, 0)
    except ChildProcessError:
        found = _look_at_zombie(running)
        return _ask_pidfd(pidfd) if found is None else found
    return status


def _look_at_zombie(running: Running) -> int | None:
    """Return the status of a process that nobody has collected yet. See: proc(5), field 52."""
    try:
        with open(f"/proc/{running.pid}/stat", encoding="utf-8", errors="replace") as file:
            fields = file.read().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    zombie = fields[0] == "Z" and int(fields[19]) == running.start_time
    return int(fields[49]) if zombie else None


def _ask_pidfd(pidfd: int) -> int | None:
    """Return the status that the kernel keeps with the pidfd. See: ioctl PIDFD_GET_INFO."""
    poll = select.poll()
    poll.register(pidfd, select.POLLHUP)  # collected
    poll.poll(_COLLECTED_MS)
    buffer = bytearray(struct.pack("=Q", _PIDFD_INFO_EXIT) + bytes(56))
    try:
        fcntl.ioctl(pidfd, _PIDFD_GET_INFO, buffer)
    except OSError as error:
        if error.errno in (errno.ENOTTY, errno.EINVAL, errno.ESRCH):
            return None
        raise
    mask, status = struct.unpack_from("=Q", buffer)[0], struct.unpack_from("=i", buffer, 60)[0]
    return int(status) if mask & _PIDFD_INFO_EXIT else None


def judge(running: Running, status: int | None) -> Ending:
    """Return the ending; reads the control group, so call it before that is removed."""
    killed, peak = _memory(running)
    if status is None:
        return Ending(
            UNKNOWN_CODE,
            "error",
            killed,
            peak,
            "the shim was killed, and this kernel (before 6.15) kept no exit code",
        )
    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        return Ending(code, "oom" if killed and code == 137 else "exit", killed, peak)
    return Ending(128 - code, "oom" if killed and code == -9 else "signal", killed, peak)


def _memory(running: Running) -> tuple[bool, int]:
    """Return whether the kernel killed something for memory, and the most that was used."""
    try:
        driver = open_driver(probe(), running.cgroup)
        return driver.oom_kills() > 0, driver.memory_peak()
    except (MinirunError, OSError):
        return False, 0


def write_down(place: Place, ending: Ending, status: str, restarts: int) -> None:
    """Record the ending. Idempotent.

    Args:
        place: of the container.
        ending: how.
        status: ``exited``, or ``restarting``.
        restarts: how many there were, the one to come included.
    """
    place.store.set_state(
        place.id,
        status=status,
        pid=0,
        pid_start_time=0,
        finished_at=timestamp(),
        exit_code=ending.exit_code,
        reason=ending.reason,
        error=ending.error,
        oom_killed=ending.oom_killed,
        peak_memory_bytes=ending.peak_memory_bytes,
        restart_count=restarts,
    )
