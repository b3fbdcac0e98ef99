"""How a forked process becomes a shim: it lets go of whoever forked it, and takes a name.

Next: ``supervise.py``.
"""

from __future__ import annotations

import gc
import os

from .. import kernel
from ..descriptors import close_all_but
from ..flags import PR_SET_NAME
from .narrate import narrator
from .supervise import Shim

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from typing import NoReturn

    from .place import Place
else:
    # The C half has all that is needed; the Python half makes every fork dearer.
    import _signal as signal


def supervise(place: Place, client: int, narrate: str = "") -> NoReturn:
    """Be the shim of a container until it is over. Call it in a freshly forked process.

    Args:
        place: where the container is kept.
        client: a connected socket that hears ``started`` and everything after; -1 for none.
        narrate: see ``narrate.narrator``.
    """
    try:
        leave_caller(client)
        shim = Shim(place, client)
        shim.begin(narrator(client, narrate))
        shim.loop()
    finally:
        os._exit(0)


def leave_caller(client: int) -> None:
    """Own session, no terminal, deaf to the keyboard, and no descriptor but the client's."""
    if os.getsid(0) != os.getpid():
        os.setsid()
    signal.set_wakeup_fd(-1)  # the caller's pipe: its number will soon be somebody else's
    null = os.open("/dev/null", os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    close_all_but((0, 1, 2, client))
    gc.freeze()  # the collector would touch, and so copy, every page of the caller's heap
    become_shim()


def become_shim() -> None:
    """Name the process, and leave signals of a terminal to the container."""
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGTERM, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    buffer, address = kernel.buffer_address(b"minirun-shim\0")
    kernel.prctl(PR_SET_NAME, address)
    del buffer
