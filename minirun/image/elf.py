"""What an ELF file asks of the dynamic linker, read without running it.

``ldd`` answers the same question by executing the file's own loader; a capture must not run what
it copies. Four facts are enough to find the libraries of a program: the interpreter (PT_INTERP),
the names it needs (DT_NEEDED), where it says they are (DT_RUNPATH, or the older DT_RPATH), and
the machine, because a cache may list a library for two architectures under one name.

    ELF header ─▶ program headers ─▶ PT_INTERP   a path
                                  ─▶ PT_DYNAMIC  (tag, value) pairs ─▶ string table ─▶ names

Pure: bytes in, facts out. Next: ``capture_libraries.py``, which follows the names.
See: elf(5), ld.so(8).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from ..errors import ImageError

_MAGIC = b"\x7fELF"
_PT_LOAD, _PT_DYNAMIC, _PT_INTERP = 1, 2, 3
_DT_NULL, _DT_NEEDED, _DT_STRTAB, _DT_SONAME, _DT_RPATH, _DT_RUNPATH = 0, 1, 5, 14, 15, 29


class ElfError(ImageError):
    """The file is not ELF, or is cut off or damaged."""


@dataclass(frozen=True, slots=True)
class Elf:
    """The dynamic linking facts of one file.

    Args:
        machine: e_machine, as in elf.h: 62 is x86_64, 183 is aarch64.
        bits: 32 or 64.
        interpreter: the dynamic linker's path, "" for libraries and static programs.
        needed: the sonames it is linked with, in order.
        soname: its own name, "" when it has none.
        rpath: where to look for them before LD_LIBRARY_PATH, unexpanded.
        runpath: where to look after LD_LIBRARY_PATH; its presence disables rpath.
    """

    machine: int
    bits: int
    interpreter: str = ""
    needed: tuple[str, ...] = ()
    soname: str = ""
    rpath: tuple[str, ...] = ()
    runpath: tuple[str, ...] = ()


def is_elf(data: bytes) -> bool:
    """Return True when the bytes start as an ELF file does."""
    return data.startswith(_MAGIC)


def parse(data: bytes) -> Elf:
    """Return the dynamic linking facts of an ELF file.

    Args:
        data: the whole file.

    Raises:
        ElfError: not an ELF file, or its headers point outside of it.
    """
    if not is_elf(data):
        raise ElfError("not an ELF file")
    try:
        return _Reader(data).read()
    except (struct.error, IndexError, OverflowError) as error:
        raise ElfError("damaged ELF file: a header points past its end") from error


@dataclass(frozen=True, slots=True)
class _Segment:
    """One program header: which part of the file is mapped at which address."""

    kind: int
    offset: int
    address: int
    size: int


class _Reader:
    """Knows the byte order and the word size, and where the tables are."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._is_64 = data[4] == 2
        self._order = "<" if data[5] == 1 else ">"

    def _unpack(self, layout: str, offset: int) -> tuple[int, ...]:
        return struct.unpack_from(self._order + layout, self._data, offset)

    def read(self) -> Elf:
        machine = self._unpack("H", 18)[0]
        segments = self._segments()
        tags = [tag for s in segments if s.kind == _PT_DYNAMIC for tag in self._dynamic(s)]
        strings = self._strings_offset(segments, tags)

        def named(kind: int) -> tuple[str, ...]:
            return tuple(self._string(strings + value) for tag, value in tags if tag == kind)

        def paths(kind: int) -> tuple[str, ...]:
            return tuple(path for text in named(kind) for path in text.split(":") if path)

        interpreters = [self._string(s.offset) for s in segments if s.kind == _PT_INTERP]
        return Elf(
            machine=machine,
            bits=64 if self._is_64 else 32,
            interpreter=interpreters[0] if interpreters else "",
            needed=named(_DT_NEEDED),
            soname="".join(named(_DT_SONAME)[:1]),
            rpath=paths(_DT_RPATH),
            runpath=paths(_DT_RUNPATH),
        )

    def _segments(self) -> list[_Segment]:
        if self._is_64:
            table, size, count = self._unpack("Q", 32)[0], *self._unpack("HH", 54)
        else:
            table, size, count = self._unpack("I", 28)[0], *self._unpack("HH", 42)
        return [self._segment(table + number * size) for number in range(count)]

    def _segment(self, at: int) -> _Segment:
        if self._is_64:
            kind, _flags, offset, address, _physical, size = self._unpack("IIQQQQ", at)
        else:
            kind, offset, address, _physical, size = self._unpack("IIIII", at)
        return _Segment(kind, offset, address, size)

    def _dynamic(self, segment: _Segment) -> list[tuple[int, int]]:
        layout, step = ("qQ", 16) if self._is_64 else ("iI", 8)
        tags = []
        for at in range(segment.offset, segment.offset + segment.size, step):
            tag, value = self._unpack(layout, at)
            if tag == _DT_NULL:
                break
            tags.append((tag, value))
        return tags

    def _strings_offset(self, segments: list[_Segment], tags: list[tuple[int, int]]) -> int:
        """Return where the string table is in the file; DT_STRTAB holds its address in memory."""
        address = next((value for tag, value in tags if tag == _DT_STRTAB), None)
        if address is None:
            return 0
        for segment in segments:
            inside = segment.address <= address < segment.address + segment.size
            if segment.kind == _PT_LOAD and inside:
                return address - segment.address + segment.offset
        raise ElfError("damaged ELF file: no segment holds its string table")

    def _string(self, at: int) -> str:
        end = self._data.find(b"\0", at)
        if at >= len(self._data) or end < 0:
            raise ElfError("damaged ELF file: a name runs past its end")
        return self._data[at:end].decode("utf-8", "surrogateescape")
