"""A command line as runc's callers write it, without argparse's 15 milliseconds.

``--name value``, ``--name=value`` and, as Go programs have it, ``-name value`` all mean the same;
``-b`` is a short name. Options may come before or after the container's id, except where what
follows the id belongs to somebody else (``exec``, ``ps``). ``--`` ends them.

    >>> values, rest = parse(["-d", "--bundle=/b", "web"], {"detach": FLAG, "bundle": VALUE}, SHORT)
    >>> values["bundle"], values["detach"], rest
    ('/b', True, ['web'])

Pure. Next: ``../oci_cli.py``.
"""

from __future__ import annotations

from ..errors import UsageError
from ..record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    Values = dict[str, "str | bool | list[str]"]

#: Kinds of options: on or off; one value, the last given; every value given.
FLAG, VALUE, LIST = "flag", "value", "list"

#: What a letter means: the first of these names that the verb knows.
SHORT = {
    "a": "all",
    "b": "bundle",
    "c": "cap",
    "d": "detach",
    "e": "env",
    "f": "force format",
    "g": "additional-gids",
    "h": "help",
    "p": "process",
    "q": "quiet",
    "r": "resources",
    "t": "tty",
    "u": "user",
    "v": "version",
}
_TRUTH = {"true": True, "1": True, "t": True, "false": False, "0": False, "f": False}


class Call(Record):
    """One command: what the globals say, what the verb's options say, and the words after them.

    Args:
        verb: its name.
        root: the state root.
        cgroup_manager: see ``cgroups.open_driver``.
        criu: path of criu, or its name.
        debug: whether each step is told.
        options: values by long name; what was not given is absent.
        words: the container's id, and whatever follows.
    """

    verb: str
    root: str
    cgroup_manager: str
    criu: str
    debug: bool
    options: Mapping[str, str | bool | list[str]]
    words: tuple[str, ...]

    def text(self, name: str, default: str = "") -> str:
        """Return an option's value."""
        return str(self.options.get(name, default))

    def flag(self, name: str) -> bool:
        """Return whether an option is on."""
        return bool(self.options.get(name, False))

    def many(self, name: str) -> list[str]:
        """Return each value of an option that may be given several times."""
        found = self.options.get(name, [])
        return found if isinstance(found, list) else [str(found)]

    def number(self, name: str, default: int = 0) -> int:
        """Return an option's value as an integer from 0 on.

        Raises:
            UsageError: it is none.
        """
        text = self.text(name, str(default))
        if not is_number(text):
            raise UsageError(f"--{name}: {text!r} is not a number")
        return int(text)

    def container_id(self) -> str:
        """Return the only word there may be.

        Raises:
            UsageError: there is none, or more than one.
        """
        if len(self.words) != 1:
            raise UsageError(
                f'"{self.verb}" requires exactly 1 argument, the container\'s id: '
                f"{len(self.words)} given"
            )
        return self.words[0]


def is_number(text: str) -> bool:
    """Tell whether a word is a plain number, of a length that int() takes."""
    return text.isascii() and text.isdecimal() and len(text) < 20


def parse(
    argv: Sequence[str],
    options: Mapping[str, str],
    short: Mapping[str, str],
    *,
    spread: bool = True,
) -> tuple[Values, list[str]]:
    """Return the options by long name, and the other words.

    Args:
        argv: what follows the program, or the verb.
        options: {long name: kind}.
        short: {letter: long names}.
        spread: whether options may follow the first other word.

    Raises:
        UsageError: an option is unknown or lacks its value; in the words of Go's flag package,
            which podman searches for.
    """
    values: Values = {}
    rest: list[str] = []
    words = list(argv)
    while words:
        word = words.pop(0)
        if word == "--":
            return values, rest + words
        if not word.startswith("-") or word == "-":
            rest.append(word)
            if not spread:
                return values, rest + words
            continue
        written, equals, given = word.lstrip("-").partition("=")
        names = (written, *short.get(written, "").split())
        name = next((known for known in names if known in options), written)
        if name not in options:
            raise UsageError(f"flag provided but not defined: -{written}")
        _take(values, name, options[name], [given] if equals else None, words)
    return values, rest


def _take(values: Values, name: str, kind: str, given: list[str] | None, words: list[str]) -> None:
    """Store one option; its value is what was given with it, or else the next word."""
    if kind == FLAG:
        text = given[0].lower() if given else "true"
        if text not in _TRUTH:
            raise UsageError(f'invalid boolean value "{text}" for -{name}')
        values[name] = _TRUTH[text]
        return
    if given is None and not words:
        raise UsageError(f"flag needs an argument: -{name}")
    value = given[0] if given is not None else words.pop(0)
    if kind == VALUE:
        values[name] = value
        return
    held = values.setdefault(name, [])
    assert isinstance(held, list)
    held.append(value)
