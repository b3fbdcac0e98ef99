"""A shim that is forked before anybody knows what for.

What a start must import takes longer than the start itself, and so does reading a command line. On
two processors they need not wait for each other: a command that will surely start a container
forks its shim first, and both go about their imports. The order, which container it is, follows
later over the socket that stays their conversation. End of file instead means that there was none
to start.

Next: ``supervise.py``.
"""

from __future__ import annotations

import _socket
import os
import signal

from ..quickjson import dumps, loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from .place import Place

_spare = -1
_LARGEST = 65536


def prepare() -> None:
    """Fork a shim that waits for its order. Call it early, in a process with one thread."""
    global _spare
    ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_STREAM)
    if os.fork() == 0:
        ours.close()
        _wait_for_order(theirs.detach())
    theirs.close()
    _spare = ours.detach()


def give_order(place: Place, narrate: str) -> int:
    """Tell the spare shim, or a new one, what to start; return the socket to hear it from.

    Args:
        place: of the container.
        narrate: see ``narrate.narrator``.
    """
    global _spare
    if _spare < 0:
        prepare()
    client, _spare = _spare, -1
    order = {"data": place.data, "root": place.root, "id": place.id, "narrate": narrate}
    os.write(client, dumps(order).encode() + b"\n")
    return client


def _wait_for_order(client: int) -> NoReturn:
    """Import what a start needs, then wait, then be the shim."""
    try:
        os.setsid()  # Ctrl-C is for the command, which then hangs up
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        from . import ending, run
        from .place import Place
        from .supervise import supervise

        del ending, run
        order = os.read(client, _LARGEST)
        if order:
            held = loads(order)
            place = Place(held["data"], held["root"], held["id"])
            supervise(place, client, held["narrate"])
    finally:
        os._exit(0)
