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
    options = record.options
    narrate = "step" if own["step"] else "live" if own["explain"] else ""
    if options.detach:
        _let_go()
        session = start(home, record.id, narrate=narrate)
        _wait(session, narrate)
        session.close()
        sys.stdout.write(f"{record.id}\n")
        return 0
    from .client import Client, View

    shown = tuple(name for name in options.attach if name != "stdin") or ("stdout", "stderr")
    view = View(
        stdin=options.interactive and (not options.attach or "stdin" in options.attach),
        tty=options.tty,
        proxy=options.sig_proxy,
        shown=shown,
        keys=own["detach-keys"] or DETACH_KEYS,
        memory_bytes=options.resources.memory_bytes,
    )
    if narrate:
        _let_go()  # while it is told there is time to interrupt
        session = start(home, record.id, narrate=narrate)
        _wait(session, narrate)
    mailbox = signals.Mailbox(proxy=options.sig_proxy)
    if not narrate:
        if pressed := signals.ENDING.intersection(mailbox.take()):
            raise _NotStarted(Quit(128 + max(pressed)))
        session = start(home, record.id)
        _wait(session, "")
    return Client(home, record.id, view, mailbox).follow(session)


def _wait(session: Session, narrate: str) -> None:
    """Wait until the program runs."""
    try:
        if narrate:
            from .narration import tell

            tell(session, wait=narrate == "step")
        else:
            session.wait_until_started()
    except MinirunError as error:
        session.close()
        raise _NotStarted(error) from error
    except KeyboardInterrupt:
        session.close()  # the shim sees that nobody listens, and gives up
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
