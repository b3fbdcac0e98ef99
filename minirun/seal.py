"""Run from a copy of the interpreter that nobody can write to (CVE-2019-5736).

A process that is about to become the container's is, for a moment, the runtime inside the
container: its /proc/PID/exe leads to the runtime's own file. An image whose entrypoint is
``/proc/self/exe``, or a script that names it as its interpreter, can get hold of that file and
overwrite it on the host, and the next container starts the attacker's program as root.

So whatever goes near a container executes from a memfd: a file without a name, sealed against every
change. Then /proc/PID/exe leads to that copy, which is gone with the process.

The other way, a read-only clone of the mount that the interpreter is on, copies nothing. But the
kernel lets go of such a mount only after an RCU grace period: with an interpreter of 7 MB the clone
took 29 ms to the second start of Python, the memfd 23 ms.

See: memfd_create(2), F_ADD_SEALS in fcntl(2), execveat(2). Next: ``oci_boot.py``.
"""

from __future__ import annotations

import fcntl
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Sequence
    from typing import NoReturn
else:
    import _signal as signal  # the C half has all that is needed

#: Neither grown, nor shrunk, nor written, nor unsealed.
_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
#: No user site, no environment variables, no site-packages, UTF-8 whatever the locale.
ISOLATED = ("-I", "-S", "-X", "utf8")


def is_sealed() -> bool:
    """Return whether this interpreter runs from a sealed copy; asks the kernel, not a variable."""
    fd = os.open("/proc/self/exe", os.O_RDONLY | os.O_CLOEXEC)
    try:
        return fcntl.fcntl(fd, fcntl.F_GET_SEALS) == _SEALS
    except OSError:
        return False  # EINVAL: an ordinary file cannot be sealed
    finally:
        os.close(fd)


def execute_sealed(arguments: Sequence[str]) -> NoReturn:
    """Become an isolated, sealed interpreter, with SIGINT blocked.

    Ctrl-C waits until the program unblocks it: an interpreter that starts would answer it with a
    traceback.

    Args:
        arguments: what follows the interpreter's own options: a program's path and its arguments.

    Raises:
        OSError: no memory for the copy.
    """
    fd = _sealed_copy()
    signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT,))
    # From argv[0] the interpreter finds its library: a memfd is nowhere.
    os.execve(fd, (sys.executable, *ISOLATED, *arguments), os.environ)


def _sealed_copy() -> int:
    """Return a memfd with the interpreter's bytes. See: memfd_create(2), File sealing."""
    source = os.open("/proc/self/exe", os.O_RDONLY | os.O_CLOEXEC)
    copy = os.memfd_create("minirun", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    left = os.fstat(source).st_size
    while left:
        left -= os.sendfile(copy, source, None, left)
    os.close(source)
    fcntl.fcntl(copy, fcntl.F_ADD_SEALS, _SEALS)
    return copy
