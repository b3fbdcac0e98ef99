"""``attach``, and ``start`` with ``-a``: sit down at a container that exists.

Next: ``exec.py``.
"""

from __future__ import annotations

import click

from ..engine.home import default_home
from ..errors import StateError, UsageError
from . import signals
from .common import container_argument, find
from .terminal import DETACH_KEYS, require

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..container.entry import ContainerRecord
    from .client import View


@click.command()
@click.option("--no-stdin", is_flag=True, help="Only look.")
@click.option("--sig-proxy/--no-sig-proxy", default=True, help="Pass signals on (default).")
@click.option("--detach-keys", default=DETACH_KEYS, help=f"What lets go ({DETACH_KEYS}).")
@container_argument()
def attach_command(name: str, detach_keys: str, *, no_stdin: bool, sig_proxy: bool) -> int:
    """See and type what a running container does, until it ends."""
    from ..engine.start import attach

    home = default_home()
    record = find(home, name)
    if record.state.status == "paused":
        raise StateError("cannot attach to a paused container", hint=f"minirun unpause {name}")
    view = _view(record, stdin=not no_stdin, proxy=sig_proxy, keys=detach_keys)
    require(interactive=view.stdin, tty=view.tty)
    session = attach(home, record.id)
    from .client import Client

    return Client(home, record.id, view, signals.Mailbox(proxy=sig_proxy)).follow(session)


def start_attached(names: tuple[str, ...], *, interactive: bool) -> int:
    """Start one container and stay with it."""
    from ..engine.restart import start_again
    from ..engine.start import attach
    from .client import Client

    if len(names) != 1:
        raise UsageError("you cannot start and attach multiple containers at once")
    home = default_home()
    record = find(home, names[0])
    view = _view(record, stdin=interactive, proxy=True, keys=DETACH_KEYS)
    require(interactive=view.stdin, tty=view.tty)
    mailbox = signals.Mailbox(proxy=True)
    session = start_again(home, record) or attach(home, record.id)
    return Client(home, record.id, view, mailbox).follow(session)


def _view(record: ContainerRecord, *, stdin: bool, proxy: bool, keys: str) -> View:
    from .client import View

    options = record.options
    return View(
        stdin=stdin and options.interactive,
        tty=options.tty,
        proxy=proxy,
        keys=keys,
        memory_bytes=options.resources.memory_bytes,
    )
