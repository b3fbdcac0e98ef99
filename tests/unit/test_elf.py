"""The ELF reader against readelf's facts about this host's own files, and against damage."""

from __future__ import annotations

import contextlib
import struct
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minirun.image import elf


def _made(runpath: str = "", needed: tuple[str, ...] = (), interpreter: str = "") -> bytes:
    """Return a small 64-bit ELF file: one PT_LOAD at address 0x1000 that holds everything."""
    strings = b"\0"
    tags: list[tuple[int, int]] = []
    for kind, texts in ((1, needed), (29, (runpath,) if runpath else ())):
        for text in texts:
            tags.append((kind, len(strings)))
            strings += text.encode() + b"\0"
    header, one = 64, 56
    at_strings = header + 3 * one
    at_interpreter = at_strings + len(strings)
    at_dynamic = at_interpreter + len(interpreter) + 1
    tags += [(5, 0x1000 + at_strings), (0, 0)]
    dynamic = b"".join(struct.pack("<qQ", *tag) for tag in tags)
    size = at_dynamic + len(dynamic)

    def segment(kind: int, offset: int, length: int) -> bytes:
        return struct.pack("<IIQQQQQQ", kind, 4, offset, 0x1000 + offset, 0, length, length, 8)

    ident = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
    ident += struct.pack("<HHIQQQIHHHHHH", 3, 62, 1, 0, header, 0, 0, header, one, 3, 0, 0, 0)
    segments = segment(1, 0, size) + segment(2, at_dynamic, len(dynamic))
    segments += segment(3 if interpreter else 0, at_interpreter, len(interpreter) + 1)
    return ident + segments + strings + interpreter.encode() + b"\0" + dynamic


def test_parse_reads_a_made_file() -> None:
    data = _made("$ORIGIN/../lib:/opt/lib", ("libc.so.6", "libm.so.6"), "/lib64/ld.so")
    found = elf.parse(data)
    assert found == elf.Elf(
        machine=62,
        bits=64,
        interpreter="/lib64/ld.so",
        needed=("libc.so.6", "libm.so.6"),
        runpath=("$ORIGIN/../lib", "/opt/lib"),
    )


def test_parse_reads_this_interpreter() -> None:
    found = elf.parse(Path(sys.executable).resolve().read_bytes())
    assert found.interpreter.startswith("/lib")
    assert "libc.so.6" in found.needed


def test_parse_reads_a_soname() -> None:
    libc = next(Path("/").glob("lib/*-linux-gnu/libc.so.6"))
    found = elf.parse(libc.read_bytes())
    assert found.soname == "libc.so.6"


@pytest.mark.parametrize("data", [b"", b"#!/bin/sh\n", b"\x7fELF", b"\x7fELF\x02\x01"])
def test_parse_refuses_what_is_not_elf(data: bytes) -> None:
    with pytest.raises(elf.ElfError):
        elf.parse(data)


@given(st.integers(0, 400), st.binary(min_size=1, max_size=8))
def test_parse_survives_damage(at: int, junk: bytes) -> None:
    """What if a header lies? An ElfError, or facts: never another exception, never a hang."""
    whole = _made("/x", ("libc.so.6",), "/lib64/ld.so")
    damaged = whole[:at] + junk + whole[at + len(junk) :]
    with contextlib.suppress(elf.ElfError):
        elf.parse(damaged[: len(whole)])


@given(st.integers(0, 400))
def test_parse_survives_truncation(length: int) -> None:
    whole = _made("/x", ("libc.so.6",), "/lib64/ld.so")
    with contextlib.suppress(elf.ElfError):
        elf.parse(whole[:length])
