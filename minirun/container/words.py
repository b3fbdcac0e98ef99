"""The words of a command line: whole numbers, one-of-these, key=value, signals, names of modes.

Every parser of this package reads a ``str``, returns a value and raises UsageError, nothing else:
a command line is untrusted input like any other. Digits are ASCII digits (``"٣".isdigit()`` is true
in Python, and a limit that a reader cannot see is a hole), and numbers have a length limit because
Python refuses to convert very long ones with another exception.

Pure. Next: ``sizes.py``.
"""

from __future__ import annotations

from ..errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

LETTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
DIGITS = frozenset("0123456789")
NAME_FIRST = LETTERS | DIGITS
NAME_REST = NAME_FIRST | frozenset("_.-")

UNLIMITED = 2**64 - 1
"""RLIM_INFINITY, what ``-1`` means in a --ulimit."""

# Numbers 1 to 31 are the same on x86_64 and aarch64. See signal(7).
_SIGNALS = (
    *("HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV"),
    *("USR2", "PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU"),
    *("URG", "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS"),
)
SIGNALS = {name: number for number, name in enumerate(_SIGNALS, start=1)}
_ALIASES = {"IOT": 6, "CLD": 17, "POLL": 29}
# glibc keeps 32 and 33 for itself, so RTMIN is 34.
RTMIN, RTMAX = 34, 64

_ULIMITS = (
    *("as", "core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice", "nofile"),
    *("nproc", "rss", "rtprio", "rttime", "sigpending", "stack"),
)


def is_digits(text: str) -> bool:
    """Return whether the text is one or more ASCII digits.

    >>> is_digits("42"), is_digits("٣"), is_digits("")
    (True, False, False)
    """
    return text.isascii() and text.isdigit()


def integer(text: str, what: str, low: int, high: int) -> int:
    """Return the whole number, which must be in [low, high].

    >>> integer("7", "--cpu-shares", 2, 262144)
    7
    """
    sign, digits = (-1, text[1:]) if text[:1] == "-" else (1, text)
    if not is_digits(digits) or len(digits) > 20:
        raise UsageError(f"invalid {what} {text!r}", hint="give a whole number")
    number = sign * int(digits)
    if not low <= number <= high:
        raise UsageError(f"invalid {what} {text!r}", hint=f"give a number from {low} to {high}")
    return number


def one_of(text: str, what: str, allowed: Iterable[str]) -> str:
    """Return the text when it is one of the allowed words."""
    if text not in allowed:
        raise UsageError(f"invalid {what} {text!r}", hint="one of: " + ", ".join(sorted(allowed)))
    return text


def boolean(text: str, what: str) -> bool:
    """Return what Go's ParseBool returns, as docker's flags do."""
    if text in ("1", "t", "T", "true", "TRUE", "True"):
        return True
    if text in ("0", "f", "F", "false", "FALSE", "False"):
        return False
    raise UsageError(f"invalid {what} {text!r}", hint="true or false")


def no_nul(text: str, what: str) -> str:
    """Return the text; no string of a kernel interface can hold a NUL byte."""
    if "\0" in text:
        raise UsageError(f"invalid {what} {text!r}: it holds a NUL byte")
    return text


def key_value(text: str, what: str) -> tuple[str, str]:
    """Split ``key=value``; both must be there, the value may be empty.

    >>> key_value("net.core.somaxconn=1024", "--sysctl")
    ('net.core.somaxconn', '1024')
    """
    key, equals, value = no_nul(text, what).partition("=")
    if not key or not equals:
        raise UsageError(f"invalid {what} {text!r}", hint="written key=value")
    return key, value


def absolute_path(text: str, what: str) -> str:
    """Return the path without redundant slashes; it must be absolute and hold no ``..``.

    >>> absolute_path("/data//models/", "mount target")
    '/data/models'
    """
    if not no_nul(text, what).startswith("/"):
        raise UsageError(f"invalid {what} {text!r}", hint="give an absolute path")
    parts = [part for part in text.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise UsageError(f"invalid {what} {text!r}", hint="a path here may not hold '..'")
    return "/" + "/".join(parts)


def signal_number(text: str) -> int:
    """Return the number of a signal given as ``9``, ``KILL``, ``sigkill`` or ``RTMIN+3``.

    >>> signal_number("SIGTERM"), signal_number("rtmin+1"), signal_number("RTMAX-1")
    (15, 35, 63)
    """
    if is_digits(text):
        return integer(text, "signal", 1, RTMAX)
    name = text.upper().removeprefix("SIG") if text.isascii() else ""
    for base, start, sign in (("RTMIN", RTMIN, 1), ("RTMAX", RTMAX, -1)):
        if name.startswith(base):
            return _realtime(text, name.removeprefix(base), start, sign)
    number = SIGNALS.get(name) or _ALIASES.get(name)
    if number is None:
        raise UsageError(f"invalid signal {text!r}", hint="a name like TERM, or a number 1 to 64")
    return number


def _realtime(text: str, offset: str, start: int, sign: int) -> int:
    """Return ``start`` moved by an offset written ``+n`` after RTMIN or ``-n`` after RTMAX."""
    if not offset:
        return start
    mark = "+" if sign > 0 else "-"
    if offset[0] != mark or not is_digits(offset[1:]) or len(offset) > 3:
        raise UsageError(f"invalid signal {text!r}", hint="written RTMIN+n or RTMAX-n")
    number = start + sign * int(offset[1:])
    if not RTMIN <= number <= RTMAX:
        raise UsageError(f"invalid signal {text!r}", hint="n is at most 30")
    return number


def signal_name(number: int) -> str:
    """Return ``SIGTERM`` for 15, ``SIGRTMIN+1`` for 35.

    >>> signal_name(9), signal_name(34)
    ('SIGKILL', 'SIGRTMIN')
    """
    if 1 <= number <= len(_SIGNALS):
        return "SIG" + _SIGNALS[number - 1]
    if number == RTMIN:
        return "SIGRTMIN"
    return f"SIGRTMIN+{number - RTMIN}" if RTMIN < number <= RTMAX else f"SIG{number}"


def ulimit(text: str) -> tuple[str, int, int]:
    """Return (name, soft, hard) of ``name=soft[:hard]``; -1 is unlimited.

    >>> ulimit("nofile=1024:2048"), ulimit("core=0")
    (('nofile', 1024, 2048), ('core', 0, 0))
    """
    name, value = key_value(text, "ulimit")
    one_of(name, "ulimit", _ULIMITS)
    soft, *rest = (integer(part, "ulimit", -1, UNLIMITED) for part in value.split(":"))
    if len(rest) > 1:
        raise UsageError(f"invalid ulimit {text!r}", hint="written name=soft[:hard]")
    soft, hard = (UNLIMITED if n == -1 else n for n in (soft, rest[0] if rest else soft))
    if soft > hard:
        raise UsageError(f"invalid ulimit {text!r}", hint="the soft limit may not exceed the hard")
    return name, soft, hard
