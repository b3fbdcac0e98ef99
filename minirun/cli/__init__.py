"""``minirun``: the command that people type. The only place that prints or exits.

    main ─ seal? ─▶ run, create: fastline.py ─▶ running.py      no click on the way to a container
                 ├▶ launcher: launching.py                      nor in what is forked for each
                 └▶ the rest: app.py ─▶ one module per noun or verb group, imported when named

Every command has the same shape: read the line, call ``engine``, show the result with
``output.py``. Whatever is raised below ends in ``complaints.py``, as one line, a hint and an exit
code; MINIRUN_DEBUG=1 shows the traceback as well.

A process that starts a container, or enters one, first becomes a sealed copy of the interpreter
(``../seal.py``): for a moment it will be inside, and an image must not find our files there.

Next: ``app.py``.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Callable, Sequence
    from typing import NoReturn
else:
    # The C half has all that is needed; the Python half builds enums for 3 ms.
    import _signal as signal

#: Verbs after which a process of ours is inside a container for a moment.
_GO_INSIDE = frozenset(("run", "start", "restart", "exec", "build", "launcher"))
#: Verbs that look at nothing of this user's: they need no namespace.
_ANYWHERE = frozenset(("explain", "version", "completion", "search", "--version", "--help"))
#: Verbs whose line is read without click, which costs 40 ms to import.
_FAST = frozenset(("run", "create"))


def main() -> NoReturn:
    """Run one command and exit; nothing that matters is left to tidy up, so exit at once."""
    _end_at_ctrl_c()
    _open_closed_streams()
    words = sys.argv[1:]
    if os.geteuid() != 0 and words and words[0] not in _ANYWHERE and "--help" not in words:
        _enter_namespace()
    if words and words[0] in _GO_INSIDE and "--help" not in words:
        _seal()
    code = perform(words)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            continue  # whoever read it is gone
    os._exit(code)


def _end_at_ctrl_c() -> None:
    """Let Ctrl-C end us as it ends any program; Python would answer it with a traceback.

    What our caller ignores, as nohup does, stays ignored. One that came while Python started has
    waited: scripts/entries.py and ``seal.py`` block it.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGINT,))


def _answer_ctrl_c() -> None:
    """From here on Ctrl-C is an exception, which somebody catches."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_DFL:
        sys.unraisablehook = _come_again
        signal.signal(signal.SIGALRM, signal.default_int_handler)
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _come_again(lost: sys.UnraisableHookArgs) -> None:
    """Let a Ctrl-C come once more that came where Python cannot raise: as an alarm, in a moment.

    Each import has such a place, the callback that drops its lock.
    """
    if lost.exc_type is KeyboardInterrupt:
        signal.setitimer(signal.ITIMER_REAL, 0.001)
    else:
        sys.__unraisablehook__(lost)


def _open_closed_streams() -> None:
    """Put /dev/null where a standard stream is closed, before a socket gets its number."""
    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free number: this one
            os.set_inheritable(fd, True)
    sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115 - open to the end
    sys.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115


def _enter_namespace() -> None:
    """Become root of our own ids; whoever is refused hears why, and how that is changed."""
    from .complaints import explained

    def enter() -> int:
        from ..rootless import enter

        enter()
        return 0

    if code := explained(enter):
        os._exit(code)


def _seal() -> None:
    """Become the sealed copy, unless we are it, or a sealed launcher will fork for us."""
    from ..seal import execute_sealed, is_sealed

    if not is_sealed():
        here = os.path.join(os.path.dirname(os.path.abspath(__file__)), "__main__.py")
        # -I forgets where our libraries are: hand the list over.
        path = os.pathsep.join(entry for entry in sys.path if entry)
        execute_sealed((here, path, *sys.argv[1:]))


def perform(words: Sequence[str]) -> int:
    """Run one command; return its exit code."""
    from .complaints import explained

    def work() -> int:
        command = _command(list(words))
        _answer_ctrl_c()
        try:
            return command()
        finally:
            _end_at_ctrl_c()

    return explained(work)


def _command(words: list[str]) -> Callable[[], int]:
    """Return what the words ask for; most of what it needs is imported by now."""
    if words and words[0] in _FAST:
        from .fastline import parse

        line = parse(words[1:])
        if line is not None:
            from .running import run

            return lambda: run(line, only_create=words[0] == "create")
    if words == ["launcher"]:
        from .launching import launch

        return launch
    from .app import invoke

    return lambda: invoke(words)
