"""Everything that minirun raises on purpose, as one tree.

    MinirunError                 what failed, with which value; ``hint`` says what to do
    ├── UsageError               the command line contradicts itself or names something unknown
    ├── SpecError                a property of config.json; carries its JSON path
    ├── HostError                this host lacks a feature; names the feature and the remedy
    ├── StateError               an operation that the container's status does not allow
    ├── StepError                a Step of a plan failed; carries step id and lane
    ├── SyscallError (OSError)   one system call, as strace would print it
    ├── ImageError               an image, a layer, a Dockerfile or the store
    ├── NetworkError             an address, a port, a link
    └── ScheduleError            a deployment; carries the HTTP status

Messages are lowercase and have no full stop. They are printed in one place (``cli``, ``oci_cli`` or
the Flask error handler), never by the code that raises them. Exit codes follow Docker: 125 for
minirun itself, 126 for a command that cannot be executed, 127 for one that was not found.

Next: ``kernel.py``, the first to raise these.
"""

from __future__ import annotations

import errno as errno_names
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

EXIT_MINIRUN = 125
EXIT_NOT_EXECUTABLE = 126
EXIT_NOT_FOUND = 127


class MinirunError(Exception):
    """Something that a person can act on.

    Args:
        message: what failed, with the value at fault; lowercase, no full stop.
        hint: what to do about it, or "" where nothing useful can be said.
        exit_code: what the process should exit with when this error ends it.
    """

    def __init__(self, message: str, *, hint: str = "", exit_code: int = EXIT_MINIRUN) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.exit_code = exit_code

    def __str__(self) -> str:
        """Return the message alone: the hint is printed on a line of its own."""
        return self.message


class UsageError(MinirunError):
    """The caller asked for something contradictory or unknown."""


class SpecError(MinirunError):
    """A property of config.json is malformed, unknown or not supported here.

    Args:
        path: where, as in ``$.linux.resources.memory.limit``.
        problem: what is wrong with it.
    """

    def __init__(self, path: str, problem: str, *, hint: str = "") -> None:
        super().__init__(f"config.json: {path}: {problem}", hint=hint)
        self.path = path


class HostError(MinirunError):
    """This host lacks a feature that the container needs."""


class StateError(MinirunError):
    """The container's status does not allow the operation, or it does not exist."""


class NotFoundError(StateError):
    """No such container."""


class StepError(MinirunError):
    """A Step failed.

    Args:
        step: the step's id, as ``minirun explain`` prints it.
        lane: ``R``, ``M`` or ``I``: which process it ran in.
        message: the cause, usually the text of a SyscallError.
    """

    def __init__(
        self, step: str, lane: str, message: str, *, hint: str = "", exit_code: int = EXIT_MINIRUN
    ) -> None:
        super().__init__(f"{step} failed: {message}", hint=hint, exit_code=exit_code)
        self.reason = message
        self.step = step
        self.lane = lane


class SyscallError(MinirunError, OSError):
    """A system call returned an error.

    Args:
        call: the call as strace prints it, for example ``pivot_root('.', '.')``.
        errno: the error number; its name becomes part of the message.
    """

    def __init__(self, call: str, errno: int, *, hint: str = "") -> None:
        name = errno_names.errorcode.get(errno, str(errno))
        MinirunError.__init__(self, f"{call}: {name}", hint=hint)
        self.call = call
        self.errno = errno


class ImageError(MinirunError):
    """An image, a layer, a Dockerfile or the image store."""


class NetworkError(MinirunError):
    """An address, a port or a link."""


class ScheduleError(MinirunError):
    """A deployment cannot be accepted; ``status`` is the HTTP status to answer with."""

    def __init__(self, message: str, *, status: int, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.status = status


def in_words(error: Exception) -> tuple[str, str]:
    """Return an error's sentence and its hint, for whoever cannot raise it to where it is printed.

    >>> in_words(FileNotFoundError(2, "No such file or directory", "/x"))
    ('/x: no such file or directory', '')
    """
    if isinstance(error, MinirunError):
        return error.message, error.hint
    if not isinstance(error, OSError):
        return str(error), ""
    where = f"{error.filename}: " if error.filename else ""
    is_full = error.errno == errno_names.ENOSPC
    hint = "free some disk space: df -h shows where" if is_full else ""
    return where + os.strerror(error.errno or 0).lower(), hint


def take_back(error: BaseException, *undos: Callable[[], object]) -> None:
    """Undo what was done before an error, which stays the one that is told.

    An undo that fails keeps no other from being done. Told alone it would send people looking for
    the wrong fault, so it becomes part of the hint.

    Args:
        error: is under way; raise it again afterwards.
        undos: what to call, in this order.
    """
    for undo in undos:
        try:
            undo()
        except (MinirunError, OSError) as failed:
            if isinstance(error, MinirunError):
                left = f"something is left behind: {failed}"
                error.hint = f"{error.hint}; {left}" if error.hint else left
