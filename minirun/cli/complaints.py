"""Where every error ends: one line, perhaps a hint, an exit code. Never a traceback.

    125 minirun itself   126 not executable   127 not found   130 Ctrl-C   141 nobody reads

Next: ``output.py``.
"""

from __future__ import annotations

import os
import sys

from ..errors import EXIT_MINIRUN, MinirunError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

EXIT_INTERRUPTED = 130
EXIT_BROKEN_PIPE = 141

_HINTS = {
    "EACCES": "run as root",
    "EPERM": "run as root",
    "ENOSPC": "free some disk space: minirun system df shows who uses it",
    "EROFS": "MINIRUN_DATA and MINIRUN_ROOT must name directories that can be written",
    "EMFILE": "raise the limit: ulimit -n",
    "ENOENT": "see what there is with ls; a relative path starts at the current directory",
}


class Quit(Exception):
    """End with this code, without another word."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


def explained(work: Callable[[], int]) -> int:  # noqa: PLR0911 - one per kind of end
    """Do the work and return its exit code, or say what went wrong and return that code."""
    try:
        return work()
    except Quit as quit_:
        return quit_.code
    except BrokenPipeError:
        _silence_stdout()
        return EXIT_BROKEN_PIPE
    except KeyboardInterrupt:
        complain("interrupted")
        return EXIT_INTERRUPTED
    except MinirunError as error:
        _debug()
        complain(error.message, error.hint)
        return error.exit_code
    except OSError as error:
        _debug()
        where = f"{error.filename}: " if error.filename else ""
        complain(where + os.strerror(error.errno or 0).lower(), _hint(error))
    except Exception as error:  # noqa: BLE001 - the edge: nobody must see a traceback
        if type(error).__module__.startswith("click"):
            return _usage(error)
        _debug()
        text = f"a mistake of minirun: {type(error).__name__}: {error}"
        complain(text, "please report it with the output of MINIRUN_DEBUG=1")
    return EXIT_MINIRUN


def complain(message: str, hint: str = "") -> None:
    """Print an error as every command prints it."""
    text = f"minirun: {message}\n" + (f"hint: {hint}\n" if hint else "")
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
    except (OSError, ValueError):
        return  # standard error is closed: the exit code has to do


def _usage(error: Exception) -> int:
    """Say what click found in the line; Ctrl-C at a prompt arrives here as well."""
    if type(error).__name__ == "Abort":
        complain("interrupted")
        return EXIT_INTERRUPTED
    if type(error).__name__ == "Exit":
        return int(getattr(error, "exit_code", 0))
    if type(error).__name__ == "NoArgsIsHelpError":
        sys.stderr.write(f"{error}\n")
        return EXIT_MINIRUN
    said = getattr(error, "format_message", lambda: str(error))()
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "minirun"
    complain(said[:1].lower() + said[1:].rstrip("."), f"see {path} --help")
    return EXIT_MINIRUN


def _hint(error: OSError) -> str:
    import errno

    return _HINTS.get(errno.errorcode.get(error.errno or 0, ""), "")


def _debug() -> None:
    if os.environ.get("MINIRUN_DEBUG") == "1":
        import traceback

        traceback.print_exc()


def _silence_stdout() -> None:
    """Keep the interpreter from complaining a second time when it flushes."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
