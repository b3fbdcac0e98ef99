"""The shim's loop: start the container, watch it, write down how it ended, start it again or not.

One thread, one poll(2). Everything that must outlive a kill -9 of this process is either in a file
or in a descriptor that the standby holds too.

Next: ``after.py``, which the loop comes to at the end, and ``standby.py``.
"""

from __future__ import annotations

import _socket
import os
import select
import time
from contextlib import suppress

from ..container.entry import EXITED
from ..container.events import Event, EventLog
from ..container.logs import LogWriter
from ..errors import MinirunError, in_words
from . import after, frames, listen
from .lean import FIRST_IDLE_S, shed
from .standby import Standby
from .streams import Streams

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from typing import NoReturn

    from ..container.security import LogOptions
    from ..runner import Observer
    from .ending import Ending
    from .health import Prober
    from .place import Place, Running
    from .streams import Ends
else:
    # The C half has all that is needed; the Python half makes every fork dearer.
    import _signal as signal

#: A health check that is due this soon is waited for awake.
_SOON_MS = 2000.0


class Shim:
    """One container's supervisor.

    Args:
        place: where the container is kept.
        client: the first client, or -1.
    """

    def __init__(self, place: Place, client: int) -> None:
        self.place = place
        self.first = [frames.Peer(client)] if client >= 0 else []
        self.listener: _socket.socket | None = None
        self.running: Running | None = None
        self.streams: Streams | None = None
        self.pidfd = -1
        self.standby: Standby | None = None
        self.prober: Prober | None = None
        self.restarts = 0
        self.delay_ms = 0
        #: When to start again, while the delay before a restart runs.
        self.restart_at: float | None = None
        self.ending: Ending | None = None
        self.started = self.active = time.monotonic()
        self.idle_s = FIRST_IDLE_S

    # ── a start ───────────────────────────────────────────────────────────────────────────────

    def begin(self, observe: Observer | None = None) -> None:
        """Start the container; a failure is reported, written down and the end of this process."""
        from .health import prober_for
        from .run import start

        try:
            record = start(self.place, self._open, self._take_in_hand, observe)
        except (MinirunError, OSError) as error:
            self._give_up(error)
        assert self.running is not None and self.streams is not None  # noqa: PT018
        self.first = []
        self.started = self.active = time.monotonic()
        self.note("start")
        self.prober = prober_for(self.place, record, self.started)
        self.streams.tell(frames.report(frames.STARTED, {"pid": self.running.pid}))

    def _open(self, ends: Ends, options: LogOptions) -> None:
        """Open what a standby must share, ahead: what is written after a fork is copied first."""
        self.streams = self._open_streams(ends, options)
        self.streams.peers.extend(self.first)
        self.listener = self.listener or listen.listen(self.place.socket)

    def _take_in_hand(self, running: Running) -> None:
        """Fork a standby, before anybody is told that the container runs.

        From then on no kill -9 may lose it.
        """
        self.restart_at = self.ending = None
        self.running = running
        self.pidfd = os.pidfd_open(running.pid)
        self.standby = Standby.fork(self)

    def _open_streams(self, ends: Ends, options: LogOptions | None = None) -> Streams:
        """Return the streams with the log opened behind what is already there."""
        store = self.place.store
        options = options or store.read(self.place.id).options.log
        return Streams(ends, LogWriter(store.log_path(self.place.id), options))

    def watch(self, probe_due_ns: int = 0) -> None:
        """Fork the standby and plan the next health check."""
        self.standby = Standby.fork(self)
        if self.restart_at is None:
            self._plan_probes(probe_due_ns)

    def _plan_probes(self, due_ns: int) -> None:
        from .health import prober_for

        record = self.place.store.read(self.place.id)
        self.prober = prober_for(self.place, record, self.started, due_ns)

    def kept(self) -> set[int]:
        """Return the descriptors that cannot be opened again: what a standby holds for us."""
        peers = self.streams.peers if self.streams is not None else self.first
        ends = self.streams.ends.all() if self.streams is not None else ()
        listener = self.listener.fileno() if self.listener is not None else -1
        return {*ends, *(peer.fd for peer in peers), self.pidfd, listener}

    def _give_up(self, error: Exception) -> NoReturn:
        """Tell the client and the record that there is no container."""
        code = error.exit_code if isinstance(error, MinirunError) else 125
        said, hint = in_words(error)
        facts = {"error": said, "hint": hint, "exit_code": code}
        try:
            if self.standby is not None:
                self.standby.dismiss()
            record = self.place.store.set_state(
                self.place.id, status=EXITED, exit_code=code, reason="error", error=said
            )
            with suppress(FileNotFoundError):
                os.unlink(self.place.socket)
            if record.options.remove:
                self.place.store.remove(self.place.id)
        finally:
            for peer in self.first:
                peer.send(frames.report(frames.FAILED, facts))
                peer.drain(1.0)
            os._exit(1)

    # ── the loop ──────────────────────────────────────────────────────────────────────────────

    def resume(
        self, running: Running, pidfd: int, listener: _socket.socket, probe_due_ns: int
    ) -> None:
        """Take in hand a container that was started by this process's former self."""
        self.running, self.pidfd, self.listener = running, pidfd, listener
        self.streams = self._open_streams(running.ends)
        self._plan_probes(probe_due_ns)

    def take_over_streams(self) -> None:
        """Look again at what a predecessor has done to the log since we were forked from it."""
        if self.streams is not None:
            peers = self.streams.peers
            self.streams = self._open_streams(self.streams.ends)
            self.streams.peers = peers

    def loop(self) -> NoReturn:
        """Serve until the container is over."""
        while True:
            if self.restart_at is not None:
                after.wait_and_restart(self)
            elif self._wait():
                after.end(self)

    def _wait(self) -> bool:
        """Handle what happened; returns whether the container's process has ended."""
        assert self.streams is not None
        poll = self._register(self.streams)
        ready = dict(poll.poll(self._timeout_ms()))
        if ready:
            self.active = time.monotonic()
        # First, because what follows opens and closes: a number in ``ready`` may soon be another.
        if self.standby is not None:
            self.standby.replace_if_dead(ready)
        if self.prober is not None:
            self.prober.proceed(ready)
        for fd in self.streams.readable & ready.keys():
            self.streams.pump(fd)
        if self.streams.waiting_to_type in ready and self.streams.flush_input():
            self._forget_input()
        for peer in tuple(self.streams.peers):
            if peer.fd in ready:
                self._serve(peer, ready[peer.fd])
        if self.listener is not None and self.listener.fileno() in ready:
            self._accept(self.listener)
        self._shed_if_idle()
        return self.pidfd in ready

    def _register(self, streams: Streams) -> select.poll:
        """Return a poll object for everything that can happen next."""
        poll = select.poll()
        for fd in (*streams.readable, self.pidfd):
            poll.register(fd, select.POLLIN)
        if streams.waiting_to_type >= 0:
            both = streams.waiting_to_type in streams.readable
            poll.register(streams.waiting_to_type, select.POLLOUT | (select.POLLIN if both else 0))
        if self.listener is not None:
            poll.register(self.listener.fileno(), select.POLLIN)
        heard = 0 if streams.has_enough_input else select.POLLIN
        for peer in streams.peers:
            poll.register(peer.fd, heard | (select.POLLOUT if peer.wants_to_write else 0))
        if self.standby is not None:
            poll.register(self.standby.pidfd, select.POLLIN)
        if self.prober is not None and self.prober.pidfd >= 0:
            poll.register(self.prober.pidfd, select.POLLIN)
        return poll

    def _timeout_ms(self) -> float | None:
        """Return how long nothing but events matters."""
        waits = []
        if self._is_alone() and self.idle_s != float("inf"):
            waits.append(max(0.0, self.active + self.idle_s - time.monotonic()) * 1000)
        if self.prober is not None:
            waits.append(self.prober.wait_ms())
        return min(waits) if waits else None

    def _accept(self, listener: _socket.socket) -> None:
        fd = listen.accept(listener)
        assert self.streams is not None
        self.streams.peers.append(frames.Peer(fd))

    def _serve(self, peer: frames.Peer, events: int) -> None:
        """Do what a client asks for."""
        assert self.streams is not None
        if events & select.POLLOUT and not peer.flush():
            self.streams.drop(peer)
            return
        if not events & ~select.POLLOUT:
            return
        messages = peer.receive()
        if messages is None:
            self.streams.drop(peer)
            return
        for kind, payload in messages:
            self._obey(kind, payload)

    def _obey(self, kind: int, payload: bytes) -> None:
        """Handle one frame of a client."""
        assert self.streams is not None
        if kind == frames.STDIN:
            if self.streams.type(payload):
                self._forget_input()
        elif kind == frames.RESIZE:
            self.streams.resize(payload)
        elif kind == frames.SIGNAL and len(payload) == 1 and 0 < payload[0] <= signal.SIGRTMAX:
            try:
                signal.pidfd_send_signal(self.pidfd, payload[0])
            except ProcessLookupError:
                return

    def _forget_input(self) -> None:
        """The input was closed: the standby holds the pipe's other copy, and must let go too."""
        if self.standby is not None:
            self.standby.renew()

    def _is_alone(self) -> bool:
        """Whether nobody listens, nothing waits to be typed and no health check is near."""
        assert self.streams is not None
        if self.streams.peers or self.streams.waiting_to_type >= 0:
            return False
        return self.prober is None or (self.prober.pidfd < 0 and self.prober.wait_ms() > _SOON_MS)

    def _shed_if_idle(self) -> None:
        """Become small; see ``lean.py``."""
        if self._is_alone() and time.monotonic() - self.active >= self.idle_s:
            shed(self)
            self.watch(self.prober.due_ns if self.prober else 0)  # it could not be done

    # ── the end ───────────────────────────────────────────────────────────────────────────────

    def close_streams(self) -> None:
        """Let go of the last run's descriptors; its clients stay for the next."""
        assert self.streams is not None
        self.first = self.streams.peers
        self.streams.close()
        os.close(self.pidfd)
        self.streams, self.pidfd = None, -1

    def note(self, action: str, **attributes: str) -> None:
        """Write an event; a diary that cannot be written stops nothing."""
        try:
            EventLog(self.place.data).append(Event("container", action, self.place.id, attributes))
        except MinirunError:
            return
