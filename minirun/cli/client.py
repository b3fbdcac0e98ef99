"""The foreground of a container: what it prints we print, what we are told it hears.

The other end is the container's shim. Should the shim be killed, its standby takes over; then the
conversation goes on by a new connection, and the exit code is asked of the record at the latest.

Next: ``running.py``.
"""

from __future__ import annotations

import os
import select
import signal
import time

from ..engine.start import attach
from ..engine.status import current
from ..errors import MinirunError, NotFoundError, StateError
from ..quickjson import loads
from ..record import Record
from ..shim import frames
from .complaints import complain
from .signals import Mailbox
from .terminal import DETACH_KEYS, Escape, Raw, detach_keys, size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..engine.home import Home
    from ..engine.start import Session

#: How long a killed shim's standby gets until it listens.
_TAKEOVER_S = 5.0
#: How often somebody must ask before the container is killed without being asked.
_PATIENCE = 3


class View(Record):
    """What of the container is connected to us.

    Args:
        stdin: whether what we read goes to it.
        tty: whether it has a terminal, and ours becomes raw.
        proxy: whether signals go to it.
        shown: which of its streams we print.
        keys: what lets go of the terminal.
        memory_bytes: its limit, to tell when that is what ended it.
    """

    stdin: bool = False
    tty: bool = False
    proxy: bool = True
    shown: tuple[str, ...] = ("stdout", "stderr")
    keys: str = DETACH_KEYS
    memory_bytes: int = 0


class Client:
    """One conversation with the shim of a container.

    Args:
        home: where it is kept.
        container_id: which one.
        view: see there.
        mailbox: made before the container was started, so that no signal is lost.
    """

    def __init__(self, home: Home, container_id: str, view: View, mailbox: Mailbox) -> None:
        self._home = home
        self._id = container_id
        self._view = view
        self._mailbox = mailbox
        self._escape = Escape(detach_keys(view.keys) if view.tty else b"")
        self._reading = view.stdin
        self._asked = 0

    def follow(self, session: Session) -> int:
        """Stay connected until the container ends or the keys are pressed; return the exit code."""
        with Raw(wanted=self._view.tty and self._view.stdin):
            while True:
                self._tell_size(session)
                code = self._converse(session)
                if code is not None:
                    return code
                session.close()
                found = self._connect_again()
                if isinstance(found, int):
                    return found
                session = found

    def _converse(self, session: Session) -> int | None:
        """Pass everything on; None when the shim hangs up without a word."""
        while True:
            ready = self._wait(session)
            if self._mailbox.fd in ready:
                self._pass_signals(session)
            if 0 in ready and self._reading and self._type(session):
                return 0
            if session.held or session.fd in ready:
                heard = session.take()
                if heard is None:
                    return None
                for kind, payload in heard:
                    code = self._hear(kind, payload)
                    if code is not None:
                        return code

    def _wait(self, session: Session) -> dict[int, int]:
        poll = select.poll()
        poll.register(session.fd, select.POLLIN)
        poll.register(self._mailbox.fd, select.POLLIN)
        if self._reading:
            poll.register(0, select.POLLIN)
        return dict(poll.poll(0 if session.held else None))

    # ── from the container ────────────────────────────────────────────────────────────────────

    def _hear(self, kind: int, payload: bytes) -> int | None:
        """Print output; return the exit code once it is known."""
        if kind == frames.STDOUT and "stdout" in self._view.shown:
            _print(1, payload)
        elif kind == frames.STDERR and "stderr" in self._view.shown:
            _print(2, payload)
        elif kind == frames.EXITED:
            facts = loads(payload)
            self._explain(facts)
            return int(facts["exit_code"])
        elif kind == frames.FAILED:  # a restart by policy that went wrong
            facts = loads(payload)
            raise MinirunError(facts["error"], hint=facts["hint"], exit_code=facts["exit_code"])
        return None

    def _explain(self, facts: dict[str, object]) -> None:
        """Say what an exit code cannot."""
        if facts["reason"] == "oom":
            from ..container.sizes import human_size

            limit = human_size(self._view.memory_bytes) if self._view.memory_bytes else "the host's"
            hint = "raise --memory, or let the program use less"
            complain(f"the kernel killed the program for memory: the limit is {limit}", hint)
        elif facts["error"]:
            complain(str(facts["error"]))

    # ── to the container ──────────────────────────────────────────────────────────────────────

    def _type(self, session: Session) -> bool:
        """Pass input on; return whether the detach keys were in it."""
        try:
            typed = os.read(0, 65536)
        except OSError:  # standard input is closed, or the terminal is gone
            typed = b""
        if not typed:
            self._reading = False
            self._send(session, frames.frame(frames.STDIN))
            return False
        passed, detach = self._escape.feed(typed) if self._view.tty else (typed, False)
        if passed:
            self._send(session, frames.frame(frames.STDIN, passed))
        return detach

    def _pass_signals(self, session: Session) -> None:
        for number in self._mailbox.take():
            if number == signal.SIGWINCH:
                self._tell_size(session)
            elif number in (signal.SIGINT, signal.SIGTERM) and self._lose_patience():
                self._send(session, frames.frame(frames.SIGNAL, bytes([signal.SIGKILL])))
            else:
                self._send(session, frames.frame(frames.SIGNAL, bytes([number])))

    def _lose_patience(self) -> bool:
        """Count how often the end was asked for: PID 1 ignores a signal it has no handler for."""
        self._asked += 1
        if self._asked == _PATIENCE - 1:
            complain("the program does not react", "once more kills it; --init passes signals on")
        return self._asked >= _PATIENCE

    def _tell_size(self, session: Session) -> None:
        found = size() if self._view.tty else None
        if found:
            self._send(session, frames.resize(*found))

    def _send(self, session: Session, data: bytes) -> None:
        try:
            session.send(data)
        except OSError:
            return  # the shim is gone: reading will say so

    # ── when the shim was killed ──────────────────────────────────────────────────────────────

    def _connect_again(self) -> Session | int:
        """Return a conversation with the standby, or the exit code if all is over."""
        deadline = time.monotonic() + _TAKEOVER_S
        while time.monotonic() < deadline:
            try:
                record = current(self._home, self._home.containers.read(self._id))
            except NotFoundError as error:
                message = "the container was removed, and its exit code with it"
                raise StateError(message, hint="somebody else ran: minirun rm -f") from error
            if record.state.status in ("exited", "dead"):
                if record.state.error:
                    complain(record.state.error)
                return record.state.exit_code
            try:
                return attach(self._home, self._id)
            except StateError:
                time.sleep(0.01)
        raise StateError(
            f"container {self._id[:12]} runs without a shim", hint="minirun system reconcile"
        )


def _print(fd: int, data: bytes) -> None:
    """Write all of it; a stream that was closed when we started swallows it."""
    while data:
        try:
            data = data[os.write(fd, data) :]
        except BlockingIOError:
            select.select([], [fd], [])
        except BrokenPipeError:
            raise
        except OSError:
            return
