"""The warm fork server: a single-threaded process that has imported everything, and forks.

    client ── {"id": …} + fd ──▶ launcher ── order + fd ──▶ spare shim ── fork ──▶ init

A program with threads must neither fork nor unshare, so the scheduler asks here; and a command that
finds a launcher saves itself the imports that a start needs. The launcher keeps no state: a shim
that was forked does not need it any more, and killing it loses nothing.

Whoever can connect can start containers, so the socket belongs to the launcher's user alone, and
the kernel is asked who is there. See: unix(7), SO_PEERCRED. Next: ``shim/spare.py``.
"""

from __future__ import annotations

import _socket
import gc
import os
import select
import struct

from .errors import MinirunError, StateError
from .quickjson import loads
from .shim import listen
from .shim.place import Place
from .shim.spare import Spare, fork_shim, rehearse
from .state import check_id

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Callable
    from typing import NoReturn
else:
    # The C half has all that is needed; the Python half makes every fork dearer.
    import _signal as signal

_LARGEST = 65536
#: How long nobody must ask for anything before a spare shim is forked.
PAUSE_MS = 30
#: How often a start is rehearsed before there is one.
REHEARSALS = 16


def preload() -> None:
    """Import what a start will need, get warm, then move it all out of the collector's way."""
    import encodings.ascii

    from . import creation, deletion, execute, lifecycle, lock, network, seccomp, starting
    from .cgroups import disabled, v1, v2
    from .container import removal, volumes
    from .seccomp import library
    from .shim import ending, health, run

    del creation, deletion, execute, lifecycle, lock, network, seccomp, starting, disabled, v1, v2
    del removal, volumes, library, ending, health, run, encodings
    # The interpreter rewrites code that has run some eight times into a faster form. Done here,
    # no shim has to do it, nor to copy the pages that are written to.
    for _ in range(REHEARSALS):
        rehearse()
    gc.collect()
    gc.freeze()


def serve(path: str, ready: Callable[[], object] = lambda: None) -> None:
    """Listen at ``path`` and fork a shim for each request, until SIGTERM or SIGINT.

    Args:
        path: of the socket.
        ready: called once it listens.

    Raises:
        StateError: another launcher listens there.
    """
    preload()
    _refuse_second(path)
    listener = listen.listen(path)
    # Children are reaped by the kernel: nobody asks how a shim ended.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _end)
    ready()
    try:
        _serve(listener, path)
    except _Ended:
        os.unlink(path)


def _serve(listener: _socket.socket, path: str) -> NoReturn:
    """Serve one client after another; in a pause, get a shim ready for the next.

    Not at once: the next fork would take the processor that the last container starts on.
    """
    spare: Spare | None = None
    root = os.path.dirname(path)
    poll = select.poll()
    poll.register(listener.fileno(), select.POLLIN)
    while True:
        asked = poll.poll(None if spare else PAUSE_MS)
        spare = _serve_one(listener, spare) if asked else Spare(root)


class _Ended(Exception):
    """Somebody asked the launcher to end."""


def _end(_number: int, _frame: object) -> None:
    raise _Ended


def _refuse_second(path: str) -> None:
    try:
        os.makedirs(os.path.dirname(path), 0o711, exist_ok=True)
        os.close(listen.connect(path))
    except OSError:
        return
    raise StateError(f"a launcher listens at {path} already", hint="one for each state root")


def _serve_one(listener: _socket.socket, spare: Spare | None) -> Spare | None:
    """Accept one client, do what it asks, hang up; return the spare shim if it is left."""
    link = _socket.socket(fileno=listen.accept(listener))
    link.settimeout(1.0)  # a client that connects and says nothing holds nobody up for long
    fds: list[int] = []
    try:
        if _is_ours(link):
            place = _hear(link, fds)
            taken, spare = spare, None
            if not (taken and taken.take(place, fds[0])):
                fork_shim(place, fds[0])
            link.send(b"k")
    except (OSError, ValueError, MinirunError):
        return spare  # a malformed request: the client sees the end of the conversation
    finally:
        for fd in fds:
            os.close(fd)
        link.close()
    return spare


def _is_ours(link: _socket.socket) -> bool:
    """Whether the client has our uid, or is root."""
    raw = link.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, 12)
    _, uid, _ = struct.unpack("3i", raw)
    return uid in (0, os.geteuid())


def _hear(link: _socket.socket, fds: list[int]) -> Place:
    """Return what a client asks for; what it sends along goes into ``fds``.

    Raises:
        ValueError: it is no request.
        StateError: the id is none.
    """
    space = _socket.CMSG_SPACE(4)
    data, ancillary, _, _ = link.recvmsg(_LARGEST, space, _socket.MSG_CMSG_CLOEXEC)
    for _level, _kind, payload in ancillary:
        fds.extend(number for (number,) in struct.iter_unpack("i", payload))
    try:
        request = loads(data)
        data_root, root, container_id = (request[name] for name in ("data", "root", "id"))
    except (TypeError, KeyError, RecursionError) as error:
        raise ValueError("not a request") from error
    if len(fds) != 1 or not all(isinstance(text, str) for text in (data_root, root, container_id)):
        raise ValueError("not a request")
    check_id(container_id)
    return Place(data_root, root, container_id)
