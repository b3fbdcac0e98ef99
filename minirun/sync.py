"""The conversation between the processes of one start.

The processes of a start walk the same plan; each applies only the steps of its own lane. Whoever
holds the baton acts, everybody else waits:

    R runtime process          M intermediate             I container init
    ─────────────────          ──────────────             ────────────────
    apply R steps
    fork ────────────────────▶ born
    go(k) ───────────────────▶ apply M steps from k
          ◀─────────────────── done(j, facts)
    apply R steps
    go(k) ───────────────────▶ … fork ──────────────────▶ born
          ◀─────────────────── done(j, init pid), exit
    go(k) ──────────────────────────────────────────────▶ apply I steps from k
          ◀────────────────────────────────────────────── done(j, facts, fds)
    write state.json: created
    go(k) ──────────────────────────────────────────────▶ wait-for-start … execve

Where nothing is joined there is no M: the runtime forks init, and says go to it first. Where create
and start are one, the word that init would wait for is there before it, and the last go comes
before state.json: init becomes its program while that is written.

An error replaces ``done``: the step, the errno and the hint travel as data, never as a traceback.
End of file means that the other side is gone: a child that sees it ends itself, so no half-made
container outlives a killed runtime. One message is one datagram (SOCK_SEQPACKET), so there is
no framing; file descriptors ride along as SCM_RIGHTS.

``_socket`` is the C half of ``socket``: the Python half costs 4 ms to import.
Next: ``runner.py``.
"""

from __future__ import annotations

import _socket
import struct

from .errors import MinirunError, StepError
from .quickjson import dumps, loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

_LARGEST = 65536
_MOST_FDS = 32


class Gone(Exception):
    """The other side closed the channel."""


class Channel:
    """One end of the conversation. See: unix(7), socketpair(2)."""

    def __init__(self, end: _socket.socket) -> None:
        self._end = end

    @classmethod
    def pair(cls) -> tuple[Channel, Channel]:
        """Return two connected ends, both close-on-exec."""
        ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
        return cls(ours), cls(theirs)

    def fileno(self) -> int:
        """Return the fd, for poll(2)."""
        return self._end.fileno()

    def close(self) -> None:
        """Hang up."""
        self._end.close()

    def send(self, message: Mapping[str, Any], fds: Sequence[int] = ()) -> None:
        """Send one message and the fds that belong to it.

        Raises:
            Gone: nobody is there to read it.
        """
        ancillary = []
        if fds:
            rights = struct.pack(f"{len(fds)}i", *fds)
            ancillary = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, rights)]
        try:
            self._end.sendmsg([dumps(message).encode()], ancillary, _socket.MSG_NOSIGNAL)
        except (BrokenPipeError, ConnectionResetError) as error:
            raise Gone from error

    def receive(self) -> tuple[dict[str, Any], list[int]]:
        """Wait for one message; the fds that came with it are close-on-exec.

        Raises:
            Gone: the other side hung up.
            MinirunError: the other side reports a failure, or the message came cut off.
        """
        space = _socket.CMSG_SPACE(_MOST_FDS * 4)
        try:
            data, ancillary, flags, _ = self._end.recvmsg(_LARGEST, space, _socket.MSG_CMSG_CLOEXEC)
        except ConnectionResetError as error:
            raise Gone from error
        if not data:
            raise Gone
        fds: list[int] = []
        for _level, _kind, payload in ancillary:
            fds += [fd for (fd,) in struct.iter_unpack("i", payload[: len(payload) & ~3])]
        if flags & (_socket.MSG_TRUNC | _socket.MSG_CTRUNC):
            raise MinirunError(
                "a message between the processes of a start was cut off",
                hint="is the limit of open files too low? see ulimit -n",
            )
        message: dict[str, Any] = loads(data)
        if "error" in message:
            raise _revive(message)
        return message, fds

    def send_error(self, error: Exception, *, step: str, lane: str) -> None:
        """Report a failure to the other side, if it still listens."""
        report = {"step": step, "lane": lane, "error": str(error), "hint": "", "exit_code": 125}
        if isinstance(error, StepError):
            report["error"] = error.reason
        if isinstance(error, MinirunError):
            report["hint"], report["exit_code"] = error.hint, error.exit_code
        try:
            self.send(report)
        except Gone:
            return


def _revive(report: Mapping[str, Any]) -> MinirunError:
    """Return the exception that a failure report describes."""
    return StepError(
        report["step"],
        report["lane"],
        report["error"],
        hint=report["hint"],
        exit_code=report["exit_code"],
    )
