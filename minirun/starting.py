"""``start``: the word that init waits for, and what becomes of it.

    start ── one byte, FIFO ``start`` ──▶ init ── execve ──▶ the program
      ▲                                    │
      └── FIFO ``result``: end of file ────┘ or why there is no program

See: runtime.md, Start; fifo(7). Next: ``deletion.py``.
"""

from __future__ import annotations

import errno
import os
import select

from .errors import MinirunError, StateError
from .record import replace
from .state import hook_state

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .lifecycle import Container
    from .spec import Hook


def start(container: Container) -> None:
    """Let the created process become its program; see ``Container.start``."""
    with container.directory.lock():
        state = container.state()
        if state.status != "created":
            raise StateError(
                f"cannot start a container in the {state.status} state",
                hint="only a created container can be started, and only once",
            )
        _give_the_word(container)
    run_poststart(container, container.directory.read_hooks("poststart"))


def _give_the_word(container: Container) -> None:
    """Write the byte that init waits for, and wait until it has become its program."""
    result = os.open(container.directory.file("result"), os.O_RDONLY | os.O_NONBLOCK)
    try:
        word = os.open(container.directory.file("start"), os.O_WRONLY | os.O_NONBLOCK)
        try:
            os.write(word, b"s")
        finally:
            os.close(word)
        report = _read_report(result)
    except OSError as error:
        if error.errno not in (errno.ENXIO, errno.EPIPE):
            raise
        raise StateError(
            "cannot start a container whose process was killed",
            hint="delete it, and create it again",
        ) from error
    finally:
        os.close(result)
    _raise_if_told(report)


def await_program(result_fd: int) -> None:
    """Wait until init is its program.

    Raises:
        MinirunError: it could not be executed; exit code 126 or 127.
    """
    _raise_if_told(_read_report(result_fd))


def _read_report(result_fd: int) -> bytes:
    """Wait until init is its program, or is no more; return what went wrong before, or b""."""
    poll = select.poll()
    poll.register(result_fd, select.POLLIN)
    poll.poll()
    return os.read(result_fd, 65536)


def _raise_if_told(report: bytes) -> None:
    """Raise what init has reported, if it has."""
    if report:
        from .runner import revive_late

        raise revive_late(report)


def run_poststart(container: Container, hooks: tuple[Hook, ...]) -> None:
    """Run poststart hooks; one that fails ends the container (runtime-spec 1.3)."""
    if not hooks:
        return
    from .hooks import run_hooks

    state = replace(container.directory.read(), status="running")
    try:
        run_hooks("poststart", hooks, hook_state(state))
    except MinirunError:
        from .deletion import kill_everything

        kill_everything(container, state)
        raise
