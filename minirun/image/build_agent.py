"""Pass what a RUN step says to an ssh agent of the host.

The step gets a socket of its own, with the owner and mode that its mount asks for; the host's
socket and its folder stay out of its sight. A child process carries the bytes, for as long as the
step runs. See: ssh-agent(1). Next: ``build_lend.py``.
"""

from __future__ import annotations

import os
import selectors
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from .. import kernel
from ..flags import PR_SET_PDEATHSIG

_PIECE_BYTES = 1 << 16


@contextmanager
def agent_socket(path: str, agent: str, *, mode: int, uid: int, gid: int) -> Iterator[None]:
    """Have a socket at ``path`` that leads to an agent.

    Args:
        path: in a folder that only root can enter; it may be longer than a socket's name can be.
        agent: the agent's own socket.
        mode: of the new socket.
        uid: its owner.
        gid: its group.
    """
    folder, name = os.path.split(path)
    with socket.socket(socket.AF_UNIX) as listener:
        fd = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            listener.bind(f"/proc/self/fd/{fd}/{name}")
        finally:
            os.close(fd)
        os.chown(path, uid, gid)
        os.chmod(path, mode)
        listener.listen(16)
        pid = os.fork()
        if pid == 0:
            _serve(listener, agent)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def _serve(listener: socket.socket, agent: str) -> None:
    """Carry bytes until killed; never returns."""
    try:
        kernel.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        with selectors.DefaultSelector() as ready:
            ready.register(listener, selectors.EVENT_READ)
            while True:
                for key, _ in ready.select():
                    if key.data is None:
                        _accept(ready, listener, agent)
                    else:
                        _carry(ready, key)
    finally:
        os._exit(1)


def _accept(ready: selectors.BaseSelector, listener: socket.socket, agent: str) -> None:
    near, _ = listener.accept()
    far = socket.socket(socket.AF_UNIX)
    try:
        far.connect(agent)
    except OSError:  # the agent is gone: to the step, so is this one
        near.close()
        far.close()
        return
    ready.register(near, selectors.EVENT_READ, far)
    ready.register(far, selectors.EVENT_READ, near)


def _carry(ready: selectors.BaseSelector, key: selectors.SelectorKey) -> None:
    """Pass on what one side says; when it hangs up, so does the other."""
    source, target = key.fileobj, key.data
    if not isinstance(source, socket.socket) or source.fileno() < 0:
        return
    data = b""
    with suppress(OSError):
        data = source.recv(_PIECE_BYTES)
        target.sendall(data)
    if not data:
        for side in (source, target):
            ready.unregister(side)
            side.close()
