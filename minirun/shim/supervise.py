"""The shim's loop: start the container, watch it, write down how it ended, start it again or not.

One thread, one poll(2). Everything that must outlive a kill -9 of this process is either in a file
or in a descriptor that the standby holds too.

Next: ``standby.py``.
"""

from __future__ import annotations

import _socket
import os
import select
import signal
import time

from .. import kernel
from ..container.entry import EXITED, RESTARTING
from ..container.events import Event, EventLog
from ..container.logs import LogWriter
from ..container.restart import Ended, delay_ms
from ..errors import MinirunError, NotFoundError
from ..flags import PR_SET_NAME
from ..record import replace
from . import frames, listen
from .narrate import narrator
from .standby import Standby
from .streams import Streams

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from ..runner import Observer
    from .ending import Ending
    from .health import Prober
    from .place import Place, Running
    from .streams import Ends

#: A detached shim that nobody watches sheds the weight of the program it was forked from.
SHED_AFTER_S = 1.0


def supervise(place: Place, client: int, narrate: str = "") -> NoReturn:
    """Be the shim of a container until it is over. Call it in a freshly forked process.

    Args:
        place: where the container is kept.
        client: a connected socket that hears ``started`` and everything after; -1 for none.
        narrate: see ``narrate.narrator``.
    """
    try:
        _leave_caller(client)
        shim = Shim(place, client)
        shim.begin(narrator(client, narrate))
        shim.loop()
    finally:
        os._exit(0)


def _leave_caller(client: int) -> None:
    """Own session, no terminal, no descriptors of the caller, deaf to the keyboard's signals."""
    if os.getsid(0) != os.getpid():
        os.setsid()
    null = os.open("/dev/null", os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    keep = client if client >= 0 else 2
    kernel.close_range(3, keep - 1, cloexec=False) if keep > 3 else None
    kernel.close_range(max(keep + 1, 3), 2**31 - 1, cloexec=False)
    become_shim()


def become_shim() -> None:
    """Name the process, and leave signals of a terminal to the container."""
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGTERM, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    buffer, address = kernel.buffer_address(b"minirun-shim\0")
    kernel.prctl(PR_SET_NAME, address)
    del buffer


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
        self.lean = False
        self.started = time.monotonic()

    # ── a start ───────────────────────────────────────────────────────────────────────────────

    def begin(self, observe: Observer | None = None) -> None:
        """Start the container; a failure is reported, written down and the end of this process."""
        from .run import start

        try:
            self.running = start(self.place, observe)
            self.streams = self._open_streams(self.running.ends)
        except (MinirunError, OSError) as error:
            self._give_up(error)
        self.pidfd = os.pidfd_open(self.running.pid)
        self.started = time.monotonic()
        self.streams.peers.extend(self.first)
        self.listener = self.listener or listen.listen(self.place.file("attach.sock"))
        self._note("start")
        self.streams.tell(frames.report(frames.STARTED, {"pid": self.running.pid}))
        self.first = []
        self.watch()

    def _open_streams(self, ends: Ends) -> Streams:
        """Return the streams with the log opened behind what is already there."""
        store = self.place.store
        options = store.read(self.place.id).options.log
        return Streams(ends, LogWriter(store.log_path(self.place.id), options))

    def watch(self) -> None:
        """Fork the standby and plan the first health check."""
        from .health import prober_for

        self.standby = Standby(self)
        self.prober = prober_for(self.place)

    def _give_up(self, error: Exception) -> NoReturn:
        """Tell the client and the record that there is no container."""
        code = error.exit_code if isinstance(error, MinirunError) else 125
        hint = error.hint if isinstance(error, MinirunError) else ""
        facts = {"error": str(error), "hint": hint, "exit_code": code}
        try:
            record = self.place.store.set_state(
                self.place.id, status=EXITED, exit_code=code, reason="error", error=str(error)
            )
            if record.options.remove:
                self.place.store.remove(self.place.id)
        finally:
            for peer in self.first:
                peer.send(frames.report(frames.FAILED, facts))
                peer.drain(1.0)
            os._exit(1)

    # ── the loop ──────────────────────────────────────────────────────────────────────────────

    def resume(self, running: Running, pidfd: int, listener: _socket.socket) -> None:
        """Be the shim of a container that was started by this process's former self."""
        self.running, self.pidfd, self.listener = running, pidfd, listener
        self.streams = self._open_streams(running.ends)
        self.lean = True
        self.watch()

    def loop(self) -> NoReturn:
        """Serve until the container is over."""
        while True:
            ended = self._wait()
            if ended:
                self._end()

    def _wait(self) -> bool:
        """Handle what happened; returns whether the container's process has ended."""
        assert self.streams is not None
        poll = self._register(self.streams)
        ready = dict(poll.poll(self._timeout_ms()))
        for fd in self.streams.readable & ready.keys():
            self.streams.pump(fd)
        if self.streams.waiting_to_type in ready:
            self.streams.flush_input()
        for peer in tuple(self.streams.peers):
            if peer.fd in ready:
                self._serve(peer, ready[peer.fd])
        if self.listener is not None and self.listener.fileno() in ready:
            self._accept(self.listener)
        if self.standby is not None:
            self.standby.replace_if_dead(ready)
        if self.prober is not None:
            self.prober.proceed(ready)
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
        for peer in streams.peers:
            poll.register(peer.fd, select.POLLIN | (select.POLLOUT if peer.wants_to_write else 0))
        if self.standby is not None:
            poll.register(self.standby.pidfd, select.POLLIN)
        if self.prober is not None and self.prober.pidfd >= 0:
            poll.register(self.prober.pidfd, select.POLLIN)
        return poll

    def _timeout_ms(self) -> float | None:
        """Return how long nothing but events matters."""
        waits = []
        if not self.lean and self.streams is not None and not self.streams.peers:
            waits.append(max(0.0, self.started + SHED_AFTER_S - time.monotonic()) * 1000)
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
            self.streams.type(payload)
            if not payload and self.standby is not None:
                self.standby.renew()  # it holds the pipe's other copy: the end must be seen
        elif kind == frames.RESIZE:
            self.streams.resize(payload)
        elif kind == frames.SIGNAL and len(payload) == 1 and 0 < payload[0] <= signal.SIGRTMAX:
            try:
                signal.pidfd_send_signal(self.pidfd, payload[0])
            except ProcessLookupError:
                return

    def _shed_if_idle(self) -> None:
        """Become small; see ``lean.py``."""
        assert self.streams is not None
        alone = not self.streams.peers and not self.streams.waiting_to_type >= 0
        probing = self.prober is not None and self.prober.pidfd >= 0
        if self.lean or not alone or probing:
            return
        if time.monotonic() - self.started >= SHED_AFTER_S:
            from .lean import shed

            shed(self)

    # ── the end ───────────────────────────────────────────────────────────────────────────────

    def _end(self) -> None:
        """Write down how it ended, remove what it had, and decide about another start."""
        from .ending import judge, wait_status, write_down
        from .run import tear_down

        assert self.running is not None and self.streams is not None  # noqa: PT018
        ending = judge(self.running, wait_status(self.running.pid, self.pidfd))
        self.streams.drain()
        if self.prober is not None:
            self.prober.stop()
        try:
            write_down(self.place, ending)
            self._note("oom" if ending.oom_killed else "die", exitCode=str(ending.exit_code))
            tear_down(self.place)
            again = self._delay_before_restart(ending)
        except NotFoundError:  # removed by force while it ran
            again = None
        if self.standby is not None:
            self.standby.dismiss()
        if again is None:
            self._finish(ending)
        self._wait_and_restart(again or 0)

    def _finish(self, ending: Ending) -> NoReturn:
        """Remove what ``--rm`` says, tell the clients, go."""
        assert self.streams is not None
        try:
            if self.place.store.read(self.place.id).options.remove:
                from ..container.removal import remove_files

                remove_files(self.place.store, self.place.id)
                self._note("destroy")
            else:
                os.unlink(self.place.file("attach.sock"))
        except (MinirunError, OSError):
            pass  # nothing left to remove: the clients must hear the end all the same
        facts = {"exit_code": ending.exit_code, "reason": ending.reason, "error": ending.error}
        self.streams.tell(frames.report(frames.EXITED, facts))
        for peer in self.streams.peers:
            peer.drain(5.0)
        os._exit(0)

    def _delay_before_restart(self, ending: Ending) -> int | None:
        record = self.place.store.read(self.place.id)
        ended = Ended(
            ending.exit_code,
            time.monotonic() - self.started,
            record.state.stopped_by_user,
            self.restarts,
            self.delay_ms,
        )
        return delay_ms(record.options.restart, ended)

    def _wait_and_restart(self, delay: int) -> None:
        """Sit out the delay, then start again unless somebody said stop meanwhile."""
        self.restarts += 1
        self.delay_ms = delay
        store = self.place.store
        store.update(
            self.place.id,
            lambda r: replace(
                r, state=replace(r.state, status=RESTARTING, restart_count=self.restarts)
            ),
        )
        time.sleep(delay / 1000)
        self._close_streams()
        if store.read(self.place.id).state.stopped_by_user:
            store.set_state(self.place.id, status=EXITED)
            os._exit(0)
        self.begin()

    def _close_streams(self) -> None:
        """Let go of the last run's descriptors; its clients stay for the next."""
        assert self.streams is not None
        self.first = self.streams.peers
        self.streams.close()
        os.close(self.pidfd)

    def _note(self, action: str, **attributes: str) -> None:
        """Write an event; a diary that cannot be written stops nothing."""
        try:
            EventLog(self.place.data).append(Event("container", action, self.place.id, attributes))
        except MinirunError:
            return
