"""``run`` and ``create``, once their line has been read.

    line ─▶ RunOptions ─▶ what is IMAGE? ─▶ create ─▶ start ─▶ client.py, or the id and good-bye

Until the container is made nothing needs to be undone; from then on whatever goes wrong, or Ctrl-C,
removes it again. Imports no click. Next: ``client.py``.
"""

from __future__ import annotations

import os
import sys

from ..container.readflags import Surroundings, from_flags
from ..engine.create import create
from ..engine.home import default_home
from ..engine.images import resolve
from ..engine.start import start
from ..errors import MinirunError, UsageError
from . import signals
from .complaints import Quit, complain
from .flags import OWN
from .terminal import DETACH_KEYS, require

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from typing import Any

    from ..container.entry import ContainerRecord
    from ..container.options import RunOptions
    from ..engine.home import Home
    from ..engine.start import Session
    from ..image.arrival import Event
    from ..image.build_progress import Board
    from ..image.obtain import Obtain
    from .fastline import Line
    from .signals import Mailbox


def run(line: Line, *, only_create: bool = False) -> int:
    """Make a container and, unless told otherwise, start it; return the exit code."""
    own = {name: line.flags.get(name.replace("-", "_")) for name in OWN}
    given = {k: v for k, v in line.flags.items() if k.replace("_", "-") not in OWN}
    options = from_flags(given, line.command, Surroundings(os.environ, os.getcwd()))
    if not only_create and not options.detach:
        require(interactive=options.interactive, tty=options.tty)
    _check_cidfile(options)
    home = default_home()
    obtain = _obtain(own, options.platform)
    target = resolve(home, line.image, _progress_of(own), obtain, None if own["quiet"] else _say)
    signals.hold()
    try:
        record = create(home, options, target)
    except BaseException:
        _let_go()
        raise
    try:
        _write_cidfile(options, record.id)
        _note(home, "create", record)
        if only_create:
            _let_go()
            sys.stdout.write(f"{record.id}\n")
            return 0
        return _start(home, record, own)
    except _NotStarted as failed:
        _remove(home, record)
        raise failed.reason from failed.reason.__cause__
    except KeyboardInterrupt:
        _remove(home, record)
        raise


class _NotStarted(Exception):
    """The container never ran: nothing of it shall stay."""

    def __init__(self, reason: MinirunError | Quit) -> None:
        super().__init__(reason)
        self.reason = reason


def _start(home: Home, record: ContainerRecord, own: dict[str, Any]) -> int:
    """Start the container and stay with it, unless it is detached."""
    narrate = "step" if own["step"] else "live" if own["explain"] else ""
    stay = None if record.options.detach else _client(home, record, own["detach-keys"])
    if narrate:
        session = _start_narrated(home, record, narrate)
    mailbox = signals.Mailbox(proxy=record.options.sig_proxy)
    if not narrate:
        _heed(mailbox)
        session = start(home, record.id)
        _wait(session, session.wait_until_started)
    if stay:
        return stay(mailbox, session)
    session.close()
    _heed(mailbox)
    sys.stdout.write(f"{record.id}\n")
    return 0


def _start_narrated(home: Home, record: ContainerRecord, how: str) -> Session:
    from .narration import tell

    session = start(home, record.id, narrate=how)

    def told() -> None:
        _let_go()  # meanwhile there is time to interrupt
        tell(session, wait=how == "step")

    _wait(session, told)
    return session


def _heed(mailbox: Mailbox) -> None:
    """Give up where somebody has asked for it meanwhile."""
    if pressed := signals.ENDING.intersection(mailbox.take()):
        raise _NotStarted(Quit(128 + max(pressed)))


def _client(
    home: Home, record: ContainerRecord, keys: str | None
) -> Callable[[Mailbox, Session], int]:
    """Return what stays with the container; whoever leaves at once need not import it.

    Call it before the start: what is imported after a fork writes to pages that are then copied.
    """
    from .client import Client, View

    options = record.options
    view = View(
        stdin=options.interactive and (not options.attach or "stdin" in options.attach),
        tty=options.tty,
        proxy=options.sig_proxy,
        shown=tuple(name for name in options.attach if name != "stdin") or ("stdout", "stderr"),
        keys=keys or DETACH_KEYS,
        memory_bytes=options.resources.memory_bytes,
    )
    return lambda mailbox, session: Client(home, record.id, view, mailbox).follow(session)


def _wait(session: Session, started: Callable[[], object]) -> None:
    """Wait until the program runs."""
    try:
        started()
    except MinirunError as error:
        session.close()
        raise _NotStarted(error) from error
    except KeyboardInterrupt:
        try:
            signals.hold()
        finally:
            session.abandon()
        raise


def _remove(home: Home, record: ContainerRecord) -> None:
    """Take back what was made; the shim may have been faster."""
    from ..engine.remove import discard

    discard(home, record.id)
    if record.options.cidfile:
        try:
            os.unlink(record.options.cidfile)
        except OSError:
            return


def _let_go() -> None:
    """Let ending signals through again."""
    import signal

    signal.pthread_sigmask(signal.SIG_UNBLOCK, signals.ENDING)


def _say(why: str) -> None:
    """Tell a person what IMAGE was taken for; a script that names an image hears nothing."""
    if sys.stderr is not None and sys.stderr.isatty():
        sys.stderr.write(f"{why}\n")


def _progress_of(own: dict[str, Any]) -> Callable[[], Board]:
    def make() -> Board:
        from .progress import chosen

        return chosen("quiet" if own["quiet"] else "auto")

    return make


def _obtain(own: dict[str, Any], platform: str) -> Obtain:
    """Return how IMAGE is come by; nothing heavy is imported before it has to be pulled."""
    from ..container.words import one_of
    from ..image.obtain import MISSING, POLICIES, Obtain

    policy = one_of(own["pull"] or MISSING, "pull policy", POLICIES)
    return Obtain(policy, platform, None if own["quiet"] else _announced)


def _announced(name: str) -> AbstractContextManager[Callable[[Event], None]]:
    from .transfer import announced

    return announced(name)


def _check_cidfile(options: RunOptions) -> None:
    if options.cidfile and os.path.lexists(options.cidfile):
        message = f"the cid file {options.cidfile} exists already"
        raise UsageError(message, hint="remove it, or give another name")


def _write_cidfile(options: RunOptions, container_id: str) -> None:
    if not options.cidfile:
        return
    try:
        with open(options.cidfile, "x", encoding="ascii") as file:
            file.write(container_id)
    except OSError as error:
        text = os.strerror(error.errno or 0).lower()
        raise _NotStarted(UsageError(f"cid file {options.cidfile}: {text}")) from error


def _note(home: Home, action: str, record: ContainerRecord) -> None:
    """Write the event down; a diary that cannot be written stops nothing."""
    from ..container.events import Event, EventLog

    attributes = {"name": record.name, "image": record.image}
    try:
        EventLog(home.data).append(Event("container", action, record.id, attributes))
    except MinirunError as error:
        complain(f"warning: no event was written: {error}")
