"""``exec``: one more command in a container that runs.

The command is a child of ours. Without a terminal it has our own standard streams, so nothing has
to be copied; with one, its other end is here, and we pass on what is typed and printed.

Next: ``ps.py``.
"""

from __future__ import annotations

import fcntl
import os
import select
import signal
import struct
import termios

import click

from ..engine.home import default_home
from ..errors import StateError
from .common import PLAIN, container_argument, find
from .signals import Mailbox
from .terminal import DETACH_KEYS, Escape, Raw, detach_keys, require, size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..execute import Running


@click.command(context_settings=PLAIN)
@click.option("-i", "--interactive", is_flag=True, help="Pass standard input on.")
@click.option("-t", "--tty", is_flag=True, help="Give it a terminal.")
@click.option("-d", "--detach", is_flag=True, help="Do not wait for its end.")
@click.option("-e", "--env", multiple=True, metavar="NAME=VALUE", help="Set a variable.")
@click.option("--env-file", multiple=True, metavar="FILE", help="Read variables from a file.")
@click.option("-u", "--user", default="", metavar="USER[:GROUP]", help="Who runs it.")
@click.option("-w", "--workdir", default="", metavar="DIRECTORY", help="Where it starts.")
@click.option("--privileged", is_flag=True, help="Give it every capability.")
@click.option("--detach-keys", "keys", default=DETACH_KEYS, help=f"Lets go ({DETACH_KEYS}).")
@container_argument()
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED, metavar="COMMAND…")
def exec_command(
    name: str,
    command: tuple[str, ...],
    env: tuple[str, ...],
    env_file: tuple[str, ...],
    user: str,
    workdir: str,
    keys: str,
    *,
    interactive: bool,
    tty: bool,
    detach: bool,
    privileged: bool,
) -> int:
    """Run a command in a running container.

    \b
      minirun exec web ps
      minirun exec -it web sh
      minirun exec -u nobody -w /tmp -e DEBUG=1 web env
    """  # noqa: D301
    from ..engine.command import Command, run

    if not detach:
        require(interactive=interactive, tty=tty)
    home = default_home()
    record = find(home, name)
    if record.state.status == "paused":
        message = f"container {record.name} is paused: unpause it before exec"
        raise StateError(message, hint=f"minirun unpause {record.name}")
    if record.state.status != "running":
        short = record.id[:12]
        raise StateError(f"container {short} is not running", hint=f"minirun start {record.name}")
    wanted = Command(command, _environment(env, env_file), user, workdir, tty, privileged)
    stdin = 0 if interactive and not tty and not detach else -1
    mailbox = Mailbox(proxy=True)
    with run(home, record, wanted, stdin=stdin, silent=detach) as running:
        if detach:
            return 0
        return _Foreground(running, mailbox, keys, typing=interactive and tty).follow()


def _environment(env: tuple[str, ...], files: tuple[str, ...]) -> tuple[str, ...]:
    from ..container.readflags import Surroundings, from_flags

    around = Surroundings(os.environ, os.getcwd())
    return from_flags({"env": env, "env_file": files}, (), around).env


class _Foreground:
    """Waits for a command, being its terminal and passing signals on meanwhile."""

    def __init__(self, running: Running, mailbox: Mailbox, keys: str, *, typing: bool) -> None:
        self._running = running
        self._mailbox = mailbox
        self._escape = Escape(detach_keys(keys))
        self._sources = {running.console} if running.console >= 0 else set()
        self._typing = typing

    def follow(self) -> int:
        """Return the exit code; 0 after the detach keys."""
        pidfd = os.pidfd_open(self._running.pid)
        self._tell_size()
        with Raw(wanted=self._typing):
            while True:
                ready = self._wait(pidfd)
                if self._mailbox.fd in ready:
                    self._pass_signals(pidfd)
                if self._running.console in ready:
                    self._copy_output()
                if self._typing and 0 in ready and self._type():
                    return 0
                if pidfd in ready:
                    return self._end()

    def _wait(self, pidfd: int) -> set[int]:
        poll = select.poll()
        for fd in (pidfd, self._mailbox.fd, *self._sources, *([0] if self._typing else [])):
            poll.register(fd, select.POLLIN)
        return {fd for fd, _ in poll.poll()}

    def _end(self) -> int:
        """Print what is left and collect the command."""
        if self._sources:
            os.set_blocking(self._running.console, False)
            while self._copy_output():
                continue
        _, status = os.waitpid(self._running.pid, 0)
        code = os.waitstatus_to_exitcode(status)
        return code if code >= 0 else 128 - code

    def _copy_output(self) -> bool:
        try:
            data = os.read(self._running.console, 65536)
        except OSError:  # EIO: nobody has it open any more; EAGAIN: no more for now
            data = b""
            self._sources.clear()
        while data:
            data = data[os.write(1, data) :]
            if not data:
                return True
        return False

    def _type(self) -> bool:
        """Pass on what is typed; return whether it was the detach keys."""
        typed = os.read(0, 65536)
        if not typed:
            self._typing = False
            return False
        passed, detach = self._escape.feed(typed)
        while passed:
            passed = passed[os.write(self._running.console, passed) :]
        return detach

    def _pass_signals(self, pidfd: int) -> None:
        for number in self._mailbox.take():
            if number == signal.SIGWINCH:
                self._tell_size()
                continue
            try:
                signal.pidfd_send_signal(pidfd, number)
            except ProcessLookupError:
                return

    def _tell_size(self) -> None:
        found = size()
        if found and self._running.console >= 0:
            packed = struct.pack("4H", *found, 0, 0)
            fcntl.ioctl(self._running.console, termios.TIOCSWINSZ, packed)
