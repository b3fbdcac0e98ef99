"""A shim that is forked before anybody asks for one.

Most of what a fork costs comes after it: each page that either side touches is copied. None of
that depends on which container the shim is for. So a launcher that has nothing to do keeps one
shim ahead: forked, gone from its side, and warm, because it has rehearsed a start. What follows
over a socket is the order: a container, and the client's end of the conversation. End of file
instead means that the launcher is gone.

Next: ``birth.py``.
"""

from __future__ import annotations

import _socket
import os
import struct
from contextlib import suppress

from ..errors import MinirunError
from ..quickjson import dumps, loads
from .birth import leave_caller, supervise
from .place import Place

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

_LARGEST = 65536


def fork_shim(place: Place, client: int, narrate: str = "") -> None:
    """Fork the shim of a container, which keeps nothing that we have open but its client.

    Args:
        place: of the container.
        client: see ``supervise``.
        narrate: see ``narrate.narrator``.
    """
    if os.fork() == 0:
        try:
            supervise(place, client, narrate)
        finally:
            os._exit(1)


class Spare:
    """A shim without a container.

    Args:
        root: the state root that its container will most probably have.
    """

    def __init__(self, root: str) -> None:
        self._order, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
        if os.fork() == 0:
            try:
                _wait_for_order(theirs, root)
            finally:
                os._exit(1)
        theirs.close()

    def take(self, place: Place, client: int) -> bool:
        """Give it a container; False where it has died meanwhile. It is a spare no more."""
        order = dumps({"data": place.data, "root": place.root, "id": place.id}).encode()
        rights = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, struct.pack("i", client))]
        try:
            self._order.sendmsg([order], rights, _socket.MSG_NOSIGNAL)
        except OSError:
            return False
        finally:
            self._order.close()
        return True


def _wait_for_order(order: _socket.socket, root: str) -> NoReturn:
    """Get warm, then wait, then be the shim."""
    leave_caller(order.fileno())
    rehearse()
    _rehearse_filter(root)
    space = _socket.CMSG_SPACE(4)
    data, ancillary, _, _ = order.recvmsg(_LARGEST, space, _socket.MSG_CMSG_CLOEXEC)
    if not data or not ancillary:
        os._exit(0)
    (client,) = struct.unpack("i", ancillary[0][2])
    held = loads(data)
    supervise(Place(held["data"], held["root"], held["id"]), client)


def _rehearse_filter(root: str) -> None:
    """Have the default filter read; the first spare of all compiles it, while nobody waits."""
    from ..capabilities import DEFAULT
    from ..seccomp import default_filter

    with suppress(MinirunError):  # the start that needs it says so
        default_filter(DEFAULT, f"{root}/.seccomp")


def rehearse() -> None:
    """Do everything of a start that has no effect, with a container that is not there."""
    from ..creation import Creation
    from ..decode import decode, encode
    from ..host import known
    from ..lifecycle import Container, Request
    from ..oci.spec import default
    from ..spec import Spec
    from ..validate import validate

    spec = decode(Spec, loads(dumps(default())))
    dumps(encode(spec))
    container = Container("/nonexistent", "rehearsal", known())
    validate(spec, container.host)
    Creation(container, spec, Request("rehearsal", "/nonexistent")).plan()
