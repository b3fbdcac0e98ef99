"""The shared libraries that a set of programs needs, found as ld.so would find them.

For each name in DT_NEEDED, in this order: DT_RPATH of the object and of those that loaded it (only
where there is no DT_RUNPATH), DT_RUNPATH, the cache that ldconfig wrote, the default directories.
LD_LIBRARY_PATH is left out on purpose: an image must not depend on a variable of the shell that
captured it.

Reads the host's files, changes nothing. Next: ``capture.py``. See: ld.so(8), ldconfig(8).
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable
from dataclasses import dataclass

from ..errors import HostError
from . import elf

CACHE = "/etc/ld.so.cache"
_CACHE_MAGIC = b"glibc-ld.so.cache1.1"
#: The last two hold on every glibc; the first two are what Debian compiles in before them.
_DEFAULT_DIRS = ("/lib/{triplet}", "/usr/lib/{triplet}", "/lib64", "/usr/lib64", "/lib", "/usr/lib")
_TRIPLETS = {62: "x86_64-linux-gnu", 183: "aarch64-linux-gnu"}


@dataclass(frozen=True, slots=True)
class Library:
    """A library as it was found: the name that is asked for, and the file that answers."""

    name: str
    path: str


@dataclass(frozen=True, slots=True)
class _Object:
    """A file whose needs are being followed, and the RPATHs inherited from its loaders."""

    path: str
    facts: elf.Elf
    rpath: tuple[str, ...]


class Linker:
    """Finds libraries for one machine; reads the cache once.

    Args:
        machine: e_machine of the program that will load them.
        bits: its word size.
    """

    def __init__(self, machine: int, bits: int) -> None:
        self._machine = (machine, bits)
        self._cache = read_cache(CACHE)
        triplet = _TRIPLETS.get(machine, "")
        self._defaults = tuple(d.format(triplet=triplet) for d in _DEFAULT_DIRS)

    def closure(self, paths: Iterable[str], *, missing_is_fine: bool = False) -> list[Library]:
        """Return every library that the files need, and that those need, sorted by name.

        Args:
            paths: ELF files; anything else among them is skipped.
            missing_is_fine: leave out a library that is nowhere.

        Raises:
            HostError: a needed library is nowhere.
        """
        found: dict[str, str] = {}
        waiting = [made for path in paths if (made := self._open(path, ()))]
        while waiting:
            using = waiting.pop()
            for name in using.facts.needed:
                if name in found:
                    continue
                path = self._find(name, using)
                if path is None and not missing_is_fine:
                    hint = f"check with: ldd {using.path}"
                    problem = f"library {name}, needed by {using.path}, was not found"
                    raise HostError(problem, hint=hint)
                if path is not None:
                    found[name] = path
                    waiting += [made for made in [self._open(path, using.rpath)] if made]
        return [Library(name, found[name]) for name in sorted(found)]

    def find(self, name: str) -> str | None:
        """Return the file that answers to a name in the cache or the default directories."""
        directories = [os.path.join(directory, name) for directory in self._defaults]
        listed: list[str] = self._cache.get(name, [])
        for path in [*listed, *directories]:
            if self._fits(path):
                return path
        return None

    def _find(self, name: str, using: _Object) -> str | None:
        for directory in using.facts.runpath or using.rpath:
            path = os.path.join(_expand(directory, using.path), name)
            if self._fits(path):
                return path
        return self.find(name)

    def _open(self, path: str, inherited: tuple[str, ...]) -> _Object | None:
        with open(path, "rb") as file:
            data = file.read()
        if not elf.is_elf(data):
            return None
        facts = elf.parse(data)
        own = () if facts.runpath else tuple(_expand(d, path) for d in facts.rpath)
        return _Object(path, facts, own + inherited)

    def _fits(self, path: str) -> bool:
        """Return True when the file is there and is for this machine."""
        try:
            with open(path, "rb") as file:
                head = file.read(20)
        except OSError:
            return False
        if not elf.is_elf(head) or len(head) < 20:
            return False
        machine = struct.unpack_from("<H" if head[5] == 1 else ">H", head, 18)[0]
        return (machine, 64 if head[4] == 2 else 32) == self._machine


def _expand(directory: str, path: str) -> str:
    """Replace $ORIGIN by the directory of the file that says it."""
    origin = os.path.dirname(os.path.realpath(path))
    return directory.replace("${ORIGIN}", origin).replace("$ORIGIN", origin)


def read_cache(path: str) -> dict[str, list[str]]:
    """Return name → files of ldconfig's cache, or {} where there is none.

    Entries for particular processors (glibc-hwcaps) are left out: the image may start elsewhere.
    The layout is glibc's: a header of 48 bytes, entries of 24, then the strings; offsets count
    from the header, which may follow a table in an older format.
    """
    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError:
        return {}
    start = data.find(_CACHE_MAGIC)
    if start < 0:
        return {}
    cache: dict[str, list[str]] = {}
    (count,) = struct.unpack_from("=I", data, start + len(_CACHE_MAGIC))
    for at in range(start + 48, start + 48 + 24 * count, 24):
        _flags, key, value, _os, hwcap = struct.unpack_from("=iIIIQ", data, at)
        if not hwcap:
            cache.setdefault(_text(data, start + key), []).append(_text(data, start + value))
    return cache


def _text(data: bytes, at: int) -> str:
    return os.fsdecode(data[at : data.index(b"\0", at)])
