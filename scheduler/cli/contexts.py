"""Which schedulers there are: a small file in the user's configuration folder.

    $XDG_CONFIG_HOME/minisched/contexts.json   {"current": "lab", "contexts": {"lab": {…}}}

It holds tokens, so it is its owner's alone (0600), and is replaced as a whole. What is asked is
found in this order: MINISCHED_ADDRESS, MINISCHED_CONTEXT, the context in use, the local socket.

Next: ``context.py``.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

from minirun import MinirunError

LOCAL = "local"


@dataclass(frozen=True, slots=True)
class Context:
    """One scheduler: its address, and what it takes to be let in."""

    address: str
    token: str = ""
    ca_file: str = ""


@dataclass(frozen=True, slots=True)
class Contexts:
    """All of them; ``local`` is always there, and is this host's own socket."""

    named: Mapping[str, Context]
    current: str = LOCAL

    def find(self, name: str) -> Context:
        """Return one by its name.

        Raises:
            MinirunError: there is none.
        """
        if name not in self.named:
            hint = f"there is: {', '.join(sorted(self.named))}; minisched context add makes one"
            raise MinirunError(f"no such context: {name!r}", hint=hint)
        return self.named[name]

    def using(self, name: str) -> Contexts:
        """Return these with another in use."""
        self.find(name)
        return replace(self, current=name)

    def having(self, name: str, context: Context) -> Contexts:
        """Return these and one more, or another under its name."""
        return replace(self, named={**self.named, name: context})

    def without(self, name: str) -> Contexts:
        """Return these less one; the local one comes into use where that was."""
        self.find(name)
        if name == LOCAL:
            raise MinirunError(f"the context {LOCAL!r} is this host and stays")
        rest = {key: context for key, context in self.named.items() if key != name}
        return Contexts(rest, LOCAL if self.current == name else self.current)


def path() -> Path:
    """Return where the file is. See: XDG Base Directory Specification."""
    folder = os.environ.get("XDG_CONFIG_HOME", "")
    base = Path(folder) if folder.startswith("/") else Path.home() / ".config"
    return base / "minisched" / "contexts.json"


def load() -> Contexts:
    """Return what the file says.

    Raises:
        MinirunError: it is not what ``save`` writes.
    """
    from ..client import own_address

    local = {LOCAL: Context(own_address())}
    try:
        text = path().read_text()
    except (FileNotFoundError, NotADirectoryError):
        return Contexts(local)
    try:
        return _read(json.loads(text), local)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        hint = "correct it, or remove it and add the contexts again"
        raise MinirunError(f"{path()} is damaged: {error}", hint=hint) from error


def _read(value: dict[str, dict[str, dict[str, str]]], local: dict[str, Context]) -> Contexts:
    known = [item.name for item in fields(Context)]
    found = {
        name: Context(**{key: str(held[key]) for key in known if key in held})
        for name, held in value["contexts"].items()
    }
    current = str(value["current"])
    named = {**local, **found}
    return Contexts(named, current if current in named else LOCAL)


def save(contexts: Contexts) -> None:
    """Replace the file."""
    file = path()
    file.parent.mkdir(parents=True, exist_ok=True)
    named = {name: asdict(held) for name, held in contexts.named.items() if name != LOCAL}
    text = json.dumps({"current": contexts.current, "contexts": named}, indent=2) + "\n"
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with open(fd, "w") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(fd)
    draft.replace(file)


def chosen() -> Context:
    """Return what the user asks for: see the order above."""
    if address := os.environ.get("MINISCHED_ADDRESS", ""):
        return Context(
            address, os.environ.get("MINISCHED_TOKEN", ""), os.environ.get("MINISCHED_CA_FILE", "")
        )
    contexts = load()
    name = os.environ.get("MINISCHED_CONTEXT", "") or contexts.current
    return contexts.find(name)
