"""What the caller gets back beside an exit code: a pid file, a terminal, a pidfd, its descriptors.

See: unix(7), SCM_RIGHTS; sd_listen_fds(3). Next: ``create.py``.
"""

from __future__ import annotations

import os

from .. import kernel
from ..errors import MinirunError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .words import Call


def write_pid_file(path: str, pid: int) -> None:
    """Write the pid and nothing else: Go's Atoi accepts no newline. Whole or not at all."""
    from ..state import replace_file

    if path:
        replace_file(os.path.abspath(path), str(pid), 0o644)


def remove_pid_file(path: str) -> None:
    """Take it back: conmon judges by the file whether the process was started."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        return


def send_console(path: str, master: int) -> None:
    """Hand the terminal's master to whoever listens there. See: runc's docs/terminals.md."""
    _send_descriptor(path, master, b"/dev/ptmx", "console socket")


def send_pidfd(path: str, pid: int) -> None:
    """Hand a pidfd of the process to whoever listens there."""
    pidfd = os.pidfd_open(pid)
    try:
        _send_descriptor(path, pidfd, b"pidfd", "pidfd socket")
    finally:
        os.close(pidfd)


def _send_descriptor(path: str, fd: int, name: bytes, what: str) -> None:
    """One message, one descriptor, a name that is not empty."""
    import _socket
    import struct

    rights = struct.pack("i", fd)
    end = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
    try:
        end.connect(path)
        end.sendmsg([name], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, rights)])
    except OSError as error:
        words = os.strerror(error.errno or 0).lower()
        raise MinirunError(
            f"{what} {path}: {words}", hint="somebody must listen on it: recvtty"
        ) from error
    finally:
        end.close()


def require_console(call: Call, *, terminal: bool, detach: bool) -> None:
    """Refuse a terminal that nobody would drive, and a socket that nobody would get.

    Raises:
        UsageError: in runc's words.
    """
    given = call.text("console-socket")
    if terminal and detach and not given:
        raise UsageError("cannot allocate tty if runc will detach without setting console socket")
    if given and not (terminal and detach):
        raise UsageError("cannot use console socket if runc will not detach or allocate tty")


def kept_descriptors(call: Call) -> tuple[int, tuple[str, ...]]:
    """Return how many descriptors from 3 on the program inherits, and what its environment says.

    All others are marked close-on-exec here, before anything else happens: what the caller left
    open by mistake is the way out of CVE-2024-21626.

    Raises:
        UsageError: one of them is not open, so that one of ours would take its place.
    """
    kept = call.number("preserve-fds")
    environment: tuple[str, ...] = ()
    listening = os.environ.get("LISTEN_FDS", "")
    if listening.isdecimal() and int(listening):
        kept += int(listening)
        environment = (f"LISTEN_FDS={listening}", "LISTEN_PID=1")
    for fd in range(3, 3 + kept):
        if not _is_inherited(fd):
            raise UsageError(f"please check that preserved-fd {fd} (of {kept}) is present")
    kernel.close_range(3 + kept, 2**31 - 1, cloexec=True)
    return kept, environment


def _is_inherited(fd: int) -> bool:
    """Whether the caller gave us a descriptor: those of our own are closed on exec, all of them."""
    try:
        return os.get_inheritable(fd)
    except OSError:
        return False
