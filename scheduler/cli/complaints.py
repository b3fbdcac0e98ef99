"""Where every error ends: one line, perhaps a hint, an exit code. Never a traceback.

    1 the answer is no (diff, rollout status)   125 minisched itself   130 Ctrl-C   141 nobody reads

Next: ``output.py``.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from minirun import MinirunError

EXIT_OURS = 125
EXIT_INTERRUPTED = 130
EXIT_BROKEN_PIPE = 141


def explained(work: Callable[[], int]) -> int:
    """Do the work and return its exit code, or say what went wrong and return that code."""
    try:
        return work()
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
        complain(where + (error.strerror or str(error)).lower())
    except Exception as error:  # noqa: BLE001 - the edge: nobody must see a traceback
        if type(error).__module__.startswith("click"):
            return _usage(error)
        _debug()
        text = f"a mistake of minisched: {type(error).__name__}: {error}"
        complain(text, "please report it with the output of MINIRUN_DEBUG=1")
    return EXIT_OURS


def complain(message: str, hint: str = "") -> None:
    """Print an error as every command prints it."""
    text = f"minisched: {message}\n" + (f"hint: {hint}\n" if hint else "")
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
    except (OSError, ValueError):
        return  # standard error is closed: the exit code has to do


def _usage(error: Exception) -> int:
    """Say what click found in the line; Ctrl-C at a prompt arrives here as well."""
    kind = type(error).__name__
    if kind == "Abort":
        complain("interrupted")
        return EXIT_INTERRUPTED
    if kind == "Exit":
        return int(getattr(error, "exit_code", 0))
    if kind == "NoArgsIsHelpError":
        sys.stderr.write(f"{error}\n")
        return EXIT_OURS
    said = getattr(error, "format_message", lambda: str(error))()
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "minisched"
    complain(said[:1].lower() + said[1:].rstrip("."), f"see {path} --help")
    return EXIT_OURS


def _debug() -> None:
    if os.environ.get("MINIRUN_DEBUG") == "1":
        import traceback

        traceback.print_exc()


def _silence_stdout() -> None:
    """Keep the interpreter from complaining a second time when it flushes."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
