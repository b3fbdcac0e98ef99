"""Run a container's health check when it is due, one at a time, in a process of its own.

The probe is a command inside the container. A child of the shim runs it and waits, so a probe that
hangs holds up nothing, and the memory that running a command takes is given back when it ends.

Next: ``lean.py``.
"""

from __future__ import annotations

import os
import select
import time

from ..container.entry import PAUSED
from ..container.health import TIMED_OUT, Health, Result, after, next_probe_ns
from ..record import replace
from ..state import timestamp

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Container
    from typing import NoReturn

    from ..container.command import HealthCheck
    from ..container.entry import ContainerRecord
    from .place import Place
else:
    # The C half has all that is needed; the Python half makes every fork dearer.
    import _signal as signal

_MOST_OUTPUT = 4096
#: What a probe has for killing its command.
_LAST_WORD_MS = 1000


def prober_for(
    place: Place, record: ContainerRecord, started: float, due_ns: int = 0
) -> Prober | None:
    """Return what runs the container's health check; None when it has none.

    Args:
        place: of the container.
        record: the container's.
        started: when it started, in seconds of the monotonic clock.
        due_ns: when the next probe is due, on the same clock; 0 to begin with the first.
    """
    check, health = record.health_check, record.state.health or Health()
    return Prober(place, check, health, int(started * 1e9), due_ns) if check else None


class Prober:
    """The state of one container's checks.

    Args:
        place: where the result is written.
        check: what to run, and when.
        health: what was found out so far.
        born_ns: when the container was started.
        due_ns: when the next probe is due; 0 to plan it from now.
    """

    def __init__(
        self, place: Place, check: HealthCheck, health: Health, born_ns: int, due_ns: int
    ) -> None:
        self._place = place
        self._check = check
        self._health = health
        self._born = born_ns
        now = time.monotonic_ns()
        self.due_ns = due_ns or now + next_probe_ns(self._health, check, now - born_ns)
        self._began, self._began_ns = "", 0
        self._output = -1
        self._pid = -1
        self.pidfd = -1
        if not self._health.log:
            place.store.set_state(place.id, health=self._health)

    def wait_ms(self) -> float:
        """Return how long until the next thing to do: start a probe, or kill one."""
        limit = self._began_ns + self._check.timeout_ns if self.pidfd >= 0 else self.due_ns
        return max(0.0, (limit - time.monotonic_ns()) / 1e6)

    def proceed(self, ready: Container[int]) -> None:
        """Start a probe that is due, take the result of one that ended, kill one that hangs."""
        now = time.monotonic_ns()
        if self.pidfd < 0:
            if now >= self.due_ns:
                self._start(now)
        elif self.pidfd in ready:
            self._finish()
        elif now >= self._began_ns + self._check.timeout_ns:
            self._give_up()
            self._finish(timed_out=True)

    def stop(self) -> None:
        """End a probe that is under way: the container is gone."""
        if self.pidfd >= 0:
            signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)
            os.waitpid(self._pid, 0)
            os.close(self.pidfd)
            os.close(self._output)
            self.pidfd = -1

    def _give_up(self) -> None:
        """Ask the probe to take its command along, and do not wait long for that."""
        signal.pidfd_send_signal(self.pidfd, signal.SIGTERM)
        poll = select.poll()
        poll.register(self.pidfd, select.POLLIN)
        if not poll.poll(_LAST_WORD_MS):
            signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)

    def _start(self, now: int) -> None:
        if self._place.store.read(self._place.id).state.status == PAUSED:
            self.due_ns = now + self._check.interval_ns  # nothing inside could answer
            return
        self._began, self._began_ns = timestamp(), now
        self._output = os.memfd_create("probe")
        self._pid = os.fork()
        if self._pid == 0:
            _probe(self._place, self._check.args, self._output)
        self.pidfd = os.pidfd_open(self._pid)

    def _finish(self, *, timed_out: bool = False) -> None:
        """Take the result and plan the next probe."""
        _, status = os.waitpid(self._pid, 0)
        text = os.pread(self._output, _MOST_OUTPUT, 0).decode(errors="replace")
        os.close(self.pidfd)
        os.close(self._output)
        self.pidfd = -1
        code = TIMED_OUT if timed_out else abs(os.waitstatus_to_exitcode(status))
        if timed_out:
            text = f"Health check exceeded timeout ({self._check.timeout_ns / 1e9:g} s)"
        age = self._began_ns - self._born
        result = Result(self._began, timestamp(), code, text)
        self._health = after(self._health, result, self._check, age)
        store = self._place.store
        store.update(
            self._place.id, lambda r: replace(r, state=replace(r.state, health=self._health))
        )
        self.due_ns = time.monotonic_ns() + next_probe_ns(self._health, self._check, age)


def _probe(place: Place, args: tuple[str, ...], output: int) -> NoReturn:
    """Run the command inside and exit with its code; SIGTERM takes the command along."""
    code = 1
    try:
        # From here on SIGTERM waits in a pipe, however long the way into the container takes.
        told, tell = os.pipe()
        os.set_blocking(tell, False)
        signal.set_wakeup_fd(tell)
        signal.signal(signal.SIGTERM, lambda *_: None)
        from ..errors import MinirunError
        from ..execute import ExecRequest, execute

        null = os.open("/dev/null", os.O_RDONLY)
        container = place.container()
        process = container.directory.read_spec().process
        assert process is not None
        command = replace(process, args=args, terminal=False, console_size=None)
        try:
            running = execute(container, command, ExecRequest(stdio=(null, output, output)))
        except MinirunError as error:
            os.write(output, str(error).encode())
        else:
            code = _wait_for(running.pid, told)
    finally:
        os._exit(code)


def _wait_for(pid: int, told: int) -> int:
    """Return the command's exit code; when told to end, kill it first."""
    pidfd = os.pidfd_open(pid)
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    poll.register(told, select.POLLIN)
    if pidfd not in dict(poll.poll()):
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    return abs(os.waitstatus_to_exitcode(status))
