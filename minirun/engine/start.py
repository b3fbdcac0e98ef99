"""Start a container that was made: fork its shim, or ask the launcher to, and talk to it.

A fork by the launcher starts in milliseconds, because everything is imported and the interpreter
is warm; a fork by a command that has just parsed its line has to pay for that first. What happens
after the fork is the same.

Next: ``../shim/supervise.py``, where the child goes; ``../launcher.py``.
"""

from __future__ import annotations

import _socket
import os
import select

from ..errors import MinirunError, StateError
from ..quickjson import dumps, loads
from ..shim import frames, listen
from ..shim.spare import fork_shim

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from .home import Home


class Session:
    """The client's end of a conversation with a shim.

    Args:
        fd: a connected socket; owned from now on.
    """

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._splitter = frames.Splitter()
        self._pending: list[tuple[int, bytes]] = []

    def frames(self, timeout_s: float | None = None) -> Iterator[tuple[int, bytes]]:
        """Yield (kind, payload) as they come, until the shim hangs up.

        Raises:
            TimeoutError: nothing came in time.
        """
        while True:
            while self._pending:
                yield self._pending.pop(0)
            if timeout_s is not None and not select.select([self.fd], [], [], timeout_s)[0]:
                raise TimeoutError
            data = os.read(self.fd, 65536)
            if not data:
                return
            self._pending.extend(self._splitter.feed(data))

    @property
    def held(self) -> bool:
        """Whether frames have arrived that nobody has taken yet: poll(2) does not know of them."""
        return bool(self._pending)

    def take(self) -> list[tuple[int, bytes]] | None:
        """Return the frames of one read, or those held back before; None at the end."""
        if self._pending:
            held, self._pending = self._pending, []
            return held
        try:
            data = os.read(self.fd, 65536)
        except ConnectionResetError:
            return None
        return list(self._splitter.feed(data)) if data else None

    def send(self, data: bytes) -> None:
        """Send frames to the shim."""
        while data:
            data = data[os.write(self.fd, data) :]

    def wait_until_started(self) -> int:
        """Return the pid of the container's process.

        Raises:
            MinirunError: it could not be started; with the right exit code.
        """
        for kind, payload in self.frames():
            if kind == frames.STARTED:
                return int(loads(payload)["pid"])
            if kind == frames.FAILED:
                facts = loads(payload)
                raise MinirunError(facts["error"], hint=facts["hint"], exit_code=facts["exit_code"])
        raise StateError(
            "the shim ended before the container was started",
            hint="it was killed, perhaps for memory: see dmesg",
        )

    def wait_until_over(self) -> dict[str, Any] | None:
        """Return how the container ended; None when the shim is gone and its standby must be asked.

        Output that arrives meanwhile is dropped; see ``cli`` for a client that shows it.
        """
        for kind, payload in self.frames():
            if kind == frames.EXITED:
                held: dict[str, Any] = loads(payload)
                return held
        return None

    def abandon(self) -> None:
        """Hang up once the shim has started the container or given up: then it can be removed."""
        peer = _socket.socket(fileno=self.fd)
        try:
            peer.shutdown(_socket.SHUT_WR)  # a shim that waits for Enter does so no more
            self.wait_until_started()
        except (MinirunError, OSError):
            return  # so much the better
        finally:
            peer.close()

    def close(self) -> None:
        """Hang up; the container goes on."""
        os.close(self.fd)


def start(home: Home, container_id: str, *, narrate: str = "") -> Session:
    """Start a container and return the conversation with its shim.

    Args:
        home: where it is kept.
        container_id: made by ``create``; not running.
        narrate: ``live`` sends a STEP frame after each step, ``step`` also waits for a NEXT frame.

    Raises:
        OSError: no process could be forked.
    """
    ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_STREAM)
    client = theirs.fileno()
    if narrate or not _is_launched(home, container_id, client):
        fork_shim(home.place(container_id), client, narrate)
    theirs.close()
    return Session(ours.detach())


def _is_launched(home: Home, container_id: str, client: int) -> bool:
    try:
        return ask_launcher(home, container_id, client)
    except OSError:
        return False


def attach(home: Home, container_id: str) -> Session:
    """Return a conversation with the shim of a running container.

    Raises:
        StateError: it has none: it is not running.
    """
    try:
        return Session(listen.connect(home.place(container_id).socket))
    except OSError as error:
        raise StateError(
            "container not running", hint="minirun start starts it, minirun logs shows its output"
        ) from error


def launcher_socket(home: Home) -> str:
    """Return where the launcher of this home listens."""
    return f"{home.root}/.launcher.sock"


def ask_launcher(home: Home, container_id: str, client: int) -> bool:
    """Let the launcher start a container; whether it said yes.

    Args:
        home: where it is kept.
        container_id: made by ``create``; not running.
        client: the shim's end of the conversation. Where the answer is not yes, the shim may be
            there all the same: then it has it.

    Raises:
        OSError: no launcher listens, or it ended meanwhile.
    """
    import array

    request = dumps({"data": home.data, "root": home.root, "id": container_id}).encode()
    rights = array.array("i", [client]).tobytes()
    end = _socket.socket(fileno=listen.connect(launcher_socket(home)))
    try:
        end.sendmsg([request], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, rights)])
        return end.recv(1) == b"k"
    finally:
        end.close()
