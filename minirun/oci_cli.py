"""``minirun-oci``: the command that dockerd, containerd, podman and CRI-O call, speaking as runc.

    minirun-oci [globals] <verb> [options] <container id>

Reads the globals, finds the verb's module in ``oci/``, reads its options, runs it, and turns an
exception into one line and an exit code. This is where errors end; nothing below prints them.

It starts as fast as Python can: no third-party import, no argparse, each verb imported on its own.
It runs in an isolated interpreter, since the working directory is the bundle and the environment
the caller's: neither may choose what is imported. ``oci_boot.py`` sees to that.

See: runc(8). Next: ``oci/__init__.py``.
"""

from __future__ import annotations

import os
import sys

from . import __version__
from .errors import MinirunError, StepError, UsageError
from .oci import VERBS
from .oci.report import Report
from .oci.words import FLAG, SHORT, VALUE, Call, parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Sequence
    from types import ModuleType

    from .oci.words import Values
else:
    import _signal as signal  # the C half has all that is needed

GLOBALS = {
    "root": VALUE,
    "log": VALUE,
    "log-format": VALUE,
    "debug": FLAG,
    "systemd-cgroup": FLAG,
    "cgroup-manager": VALUE,
    "rootless": VALUE,
    "criu": VALUE,
    "version": FLAG,
    "help": FLAG,
}
SPEC_VERSION = "1.3.0"
EXIT_ERROR = 1
#: What exec exits with when the command could not be started: no command uses it, as with runc.
EXIT_EXEC = 255
EXIT_INTERRUPTED = 130
_WRAPPED = ("create", "run", "restore")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code.

    Args:
        argv: the words after the program's name; None, as the command that pip installs, means
            this process's own, and starts again in an isolated interpreter if this is none.
    """
    if argv is None and not sys.flags.isolated:
        from .seal import execute_sealed

        execute_sealed((os.path.join(os.path.dirname(__file__), "oci_boot.py"), *sys.argv[1:]))
    words = list(sys.argv[1:] if argv is None else argv)
    report = None
    verb = ""
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGINT,))  # now it is answered
        values, rest = parse(words, GLOBALS, SHORT, spread=False)
        if values.get("version"):
            return _say(version())
        if values.get("help") or not rest:
            return _say(usage())
        verb = rest[0]
        report = Report(
            str(values.get("log", "")),
            str(values.get("log-format", "text")),
            debug=bool(values.get("debug")),
        )
        return _dispatch(values, verb, rest[1:], report)
    except MinirunError as error:
        _tell(report, sentence(error, verb), error.hint)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        _tell(report, where + os.strerror(error.errno or 0).lower(), "")
    except KeyboardInterrupt:
        _tell(report, "interrupted", "")
        return EXIT_INTERRUPTED
    except Exception as error:  # the edge: nobody must see a traceback
        if "--debug" in words:
            raise
        text = f"a mistake of minirun-oci: {type(error).__name__}: {error}"
        _tell(report, text, "please report it with the output of --debug")
    return EXIT_EXEC if verb == "exec" else EXIT_ERROR


def _dispatch(values: Values, verb: str, words: list[str], report: Report) -> int:
    """Read the verb's own options and run it."""
    module = _module(verb)
    options = {**module.OPTIONS, "help": FLAG}
    spread = getattr(module, "SPREAD", True)
    chosen, rest = parse(words, options, SHORT, spread=spread)
    if chosen.get("help"):
        return _say(verb_usage(verb, module))
    call = Call(
        verb=verb,
        root=_root(values),
        cgroup_manager=_cgroup_manager(values),
        criu=str(values.get("criu", "criu")),
        debug=bool(values.get("debug")),
        options=chosen,
        words=tuple(rest),
    )
    code: int = module.main(call, report)
    return code


def _module(verb: str) -> ModuleType:
    if verb not in VERBS:
        raise UsageError(f"no such command: {verb!r}", hint="minirun-oci --help lists them")
    from importlib import import_module

    return import_module(f"minirun.oci.{VERBS[verb]}")


def _root(values: Values) -> str:
    if given := values.get("root"):
        return os.path.abspath(str(given))
    from .roots import default_root

    return default_root()


def _cgroup_manager(values: Values) -> str:
    """Return the manager; ``--systemd-cgroup`` is how runc spells one of them."""
    rootless = str(values.get("rootless", "auto"))
    if rootless not in ("auto", "true", "false"):
        raise UsageError(f"--rootless: {rootless!r}", hint="one of auto, true, false")
    if values.get("systemd-cgroup"):
        return "systemd"
    return str(values.get("cgroup-manager", "cgroupfs"))


def sentence(error: MinirunError, verb: str) -> str:
    """Return an error in the words that callers search for."""
    text = _in_words(str(error))
    if isinstance(error, StepError):
        # A program that is missing or cannot be executed is told as Go's exec package tells it.
        reason = error.reason if error.exit_code in (126, 127) else text
        text = f"unable to start container process: {reason}"
    elif error.exit_code in (126, 127):
        text = f"unable to start container process: {text}"
    if verb == "exec":
        return f"exec failed: {text}"
    return f"minirun-oci {verb} failed: {text}" if verb in _WRAPPED else text


def _in_words(text: str) -> str:
    """Add what a final errno means: podman tells 126 from 127 by these words."""
    import errno

    number = getattr(errno, text.rpartition(" ")[2], None)
    return f"{text}: {os.strerror(number).lower()}" if isinstance(number, int) else text


def _tell(report: Report | None, text: str, hint: str) -> None:
    """Before there is a log there is standard error."""
    (report or Report("", "text", debug=False)).error(text, hint)


def _say(text: str) -> int:
    sys.stdout.write(text)
    return 0


def version() -> str:
    """Return what ``docker info`` reads: one line with the word version, one with the commit."""
    return f"minirun-oci version {__version__}\ncommit: v{__version__}\nspec: {SPEC_VERSION}\n"


def usage() -> str:
    """Return the help page."""
    named = "".join(f"  --{name}\n" for name in GLOBALS)
    verbs = "".join(f"  {verb}\n" for verb in VERBS)
    return (
        f"minirun-oci [globals] <command> [options] <id>\n\ncommands:\n{verbs}\nglobals:\n{named}"
    )


def verb_usage(verb: str, module: ModuleType) -> str:
    """Return the help page of a verb."""
    lines = (module.__doc__ or "").partition("\n\n")[0]
    return f"minirun-oci {verb}: {lines}\n\noptions:\n" + "".join(
        f"  --{name}\n" for name in module.OPTIONS
    )


def run() -> None:
    """Be the command: exit at once, because there is nothing to tidy up that matters."""
    code = main()
    sys.stdout.flush()
    os._exit(code)
