"""Our tar reader and writer against each other, and against the standard library's."""

from __future__ import annotations

import bz2
import contextlib
import doctest
import gzip
import io
import lzma
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from minirun.errors import ImageError
from minirun.image import streams, tarheader
from minirun.image.tarheader import DIRECTORY, HARDLINK, REGULAR, SYMLINK
from minirun.image.tarstream import Entry, TarReader
from minirun.image.tarwriter import TarWriter

Member = tuple[Entry, bytes]


def write(members: list[Member], clamp_s: int | None = None) -> bytes:
    out = io.BytesIO()
    writer = TarWriter(out.write, clamp_s)
    for entry, data in members:
        writer.add(entry, [data])
    writer.close()
    return out.getvalue()


def read(raw: bytes) -> list[Member]:
    reader = TarReader(io.BytesIO(raw))
    return [(entry, reader.read(1 << 30)) for entry in reader]


_TEXT = st.text(st.characters(exclude_characters="\0/", exclude_categories=["Cs"]), min_size=1)
_NAME = st.lists(_TEXT.filter(lambda t: t not in (".", "..")), min_size=1, max_size=6).map("/".join)
_LONG = st.tuples(_NAME, st.integers(0, 300)).map(lambda pair: pair[0] + "n" * pair[1])
_COMMON: dict[str, st.SearchStrategy[Any]] = {
    "mode": st.integers(0, 0o7777),
    "uid": st.integers(0, 2**32),
    "gid": st.integers(0, 2**32),
    "mtime_ns": st.integers(-(2**33), 2**34).map(lambda s: s * 10**9),
    "xattrs": st.dictionaries(
        st.text("abcdef.-", min_size=1).map("user.{}".format), st.binary(min_size=1), max_size=2
    ),
}


@st.composite
def members(draw: st.DrawFn) -> Member:
    kind = draw(st.sampled_from([REGULAR, DIRECTORY, SYMLINK, HARDLINK, "3", "4", "6"]))
    data = draw(st.binary(max_size=1500)) if kind == REGULAR else b""
    values: dict[str, Any] = {key: draw(strategy) for key, strategy in _COMMON.items()}
    entry = Entry(
        draw(_LONG) + ("/" if kind == DIRECTORY else ""),
        kind,
        size=len(data),
        linkname=draw(_LONG) if kind in (SYMLINK, HARDLINK) else "",
        device=(draw(st.integers(0, 4095)), draw(st.integers(0, 2**20 - 1))),
        **values,
    )
    return entry, data


@settings(deadline=None, max_examples=150)
@given(st.lists(members(), max_size=5))
def test_reader_gives_back_what_the_writer_was_given(given_members: list[Member]) -> None:
    assert read(write(given_members)) == given_members


@settings(deadline=None, max_examples=100)
@given(st.lists(members(), max_size=5))
def test_writer_is_understood_by_tarfile(given_members: list[Member]) -> None:
    with tarfile.open(fileobj=io.BytesIO(write(given_members))) as archive:
        found = [(m.name, m.uid, m.gid, m.mode, int(m.mtime), m.size) for m in archive]
    assert found == [
        (e.name.rstrip("/"), e.uid, e.gid, e.mode, e.mtime_ns // 10**9, len(d))
        for e, d in given_members
    ]


@settings(deadline=None, max_examples=100)
@given(
    _LONG.filter(lambda name: not name.endswith("/")),
    st.binary(max_size=2000),
    st.integers(0, 2**35),
    st.sampled_from([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]),
)
def test_reader_understands_tarfile(name: str, data: bytes, uid: int, form: int) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as archive:
        member = tarfile.TarInfo(name)
        member.uid, member.size, member.mtime = uid, len(data), 2**34
        archive.addfile(member, io.BytesIO(data))
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, name
        archive.addfile(link)
    (entry, content), (second, _) = read(out.getvalue())
    assert (entry.name, entry.uid, entry.mtime_ns, content) == (name, uid, 2**34 * 10**9, data)
    assert second.linkname == name


@pytest.mark.parametrize("form", ["gnu", "posix"])
def test_reader_understands_sparse_files_of_gnu_tar(tmp_path: Path, form: str) -> None:
    with (tmp_path / "holes").open("wb") as file:
        for i in range(40):  # more extents than fit into one header
            file.seek(i * 100_000)
            file.write(b"%d" % i * 5000)
        file.truncate(5_000_000)
    argv = ["tar", "-C", str(tmp_path), "--sparse", f"--format={form}", "-cf", "-", "holes"]
    raw = subprocess.run(argv, check=True, capture_output=True).stdout
    ((entry, stored),) = read(raw)
    content = bytearray(entry.size)
    at = 0
    for offset, length in entry.extents or ():
        content[offset : offset + length] = stored[at : at + length]
        at += length
    assert entry.name == "holes"
    assert len(stored) < entry.size
    assert bytes(content) == (tmp_path / "holes").read_bytes()


def test_writer_adds_a_pax_header_only_where_needed() -> None:
    plain = write([(Entry("a/" * 60 + "b", REGULAR), b"")])
    assert b"PaxHeaders" not in plain
    assert b"PaxHeaders" in write([(Entry("\N{SNOWMAN}", REGULAR), b"")])


def test_writer_clamps_times_and_nothing_else() -> None:
    old, new = Entry("old", REGULAR, mtime_ns=5 * 10**9), Entry("new", REGULAR, mtime_ns=9 * 10**9)
    clamped = [entry.mtime_ns // 10**9 for entry, _ in read(write([(old, b""), (new, b"")], 7))]
    assert clamped == [5, 7]


def test_writer_refuses_a_file_that_changed_its_size() -> None:
    for data in (b"abc", b"a"):
        with pytest.raises(ImageError, match="'f' changed its size"):
            write([(Entry("f", REGULAR, size=2), data)])


def _header(**changes: bytes) -> bytes:
    """Return a header block with some fields replaced and a right checksum."""
    fields = {"name": (0, 100), "uid": (108, 8), "size": (124, 12), "type": (156, 1)}
    block = bytearray(write([(Entry("f", REGULAR), b"")])[:512])
    for key, value in changes.items():
        at, width = fields[key]
        block[at : at + width] = value.ljust(width, b"\0")
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def _pax(*records: bytes) -> bytes:
    body = b"".join(records)
    padded = body + bytes(-len(body) % 512)
    return _header(type=b"x", size=b"%011o" % len(body)) + padded + _header() + bytes(1024)


@pytest.mark.parametrize(
    ("raw", "problem"),
    [
        (b"x" * 512, "wrong checksum"),
        (_header()[:300], "truncated inside a header"),
        (_header(size=b"00000001000") + b"ab", "truncated inside a file"),
        (_header(size=b"\xff" * 12), "negative size"),
        (_header(size=b"\x80" + b"\xff" * 11), "is impossible"),
        (_header(size=b"1_0"), "bad size"),
        (_header(size=b"+10"), "bad size"),
        (_header(uid=b"\xff" * 8), "negative uid"),
        (_header(type=b"D"), "GNU incremental directory"),
        (_header(type=b"V"), "GNU volume label"),
        (_header(type=b"?"), "type '\\?' \\(unknown\\)"),
        (bytes(512) + b"x" * 512, "goes on after a zero block"),
        (_pax(b"5 a\n"), "malformed PAX"),
        (_pax(b"99 path=x\n"), "malformed PAX"),
        (_pax(b"0 path=x\n"), "malformed PAX"),
        (_pax(b"-1 path=x\n"), "bad record length"),
        (_pax(b"12 path=a\0b\n"), "NUL byte"),
        (_pax(b"11 size=-1\n"), "bad size"),
        (_pax(b"29 size=99999999999999999999\n"), "impossible"),
        (_pax(b"8 uid=x\n"), "bad uid"),
        (_pax(b"22 GNU.sparse.major=9\n"), "unknown version of PAX sparse"),
        (_pax(b"23 GNU.sparse.offset=0\n"), "0.0 is not supported"),
        (_header(type=b"x", size=b"77777777777") + bytes(512), "too long"),
        (_header(type=b"L", size=b"00000000004") + b"abc\0" + bytes(508), "extension header"),
    ],
)
def test_reader_refuses_damage_by_name(raw: bytes, problem: str) -> None:
    with pytest.raises(ImageError, match=problem):
        read(raw)


@settings(deadline=None, max_examples=300)
@given(st.data())
def test_reader_raises_nothing_but_image_errors(data: st.DataObject) -> None:
    raw = bytearray(write([data.draw(members()), data.draw(members())]))
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(ImageError):
        read(bytes(raw))


@pytest.mark.parametrize("count", [1, 3])
def test_decompress_reads_gzip_of_several_members_and_padding(count: int) -> None:
    raw = gzip.compress(b"x" * 3_000_000) * count + bytes(100)
    stream = streams.decompress(io.BytesIO(raw))
    assert b"".join(streams.chunks_of(stream)) == b"x" * 3_000_000 * count


@pytest.mark.parametrize("kind", ["gzip", "bz2", "lzma", "zstd"])
def test_decompress_says_that_a_stream_is_damaged(kind: str) -> None:
    checked_zstd = zstandard.ZstdCompressor(write_checksum=True)
    compress: dict[str, Callable[[bytes], bytes]] = {
        "gzip": gzip.compress,
        "bz2": bz2.compress,
        "lzma": lzma.compress,
        "zstd": checked_zstd.compress,
    }
    raw = bytearray(compress[kind](bytes(range(256)) * 999))
    assert (
        b"".join(streams.chunks_of(streams.decompress(io.BytesIO(raw)))) == bytes(range(256)) * 999
    )
    raw[len(raw) // 2] ^= 0xFF
    with pytest.raises(ImageError, match="corrupt"):
        list(streams.chunks_of(streams.decompress(io.BytesIO(raw))))
    with pytest.raises(ImageError, match=r"truncated|corrupt"):
        list(streams.chunks_of(streams.decompress(io.BytesIO(gzip.compress(b"x" * 99)[:-9]))))


def test_guarded_refuses_a_decompression_bomb() -> None:
    class Zeros:
        def read(self, size: int, /) -> bytes:
            return bytes(size)

    guarded = streams.Guarded(Zeros(), lambda: 1000, 1 << 40, 2000)
    with pytest.raises(ImageError, match="more than 2000 times its size"):
        for _ in streams.chunks_of(guarded):
            pass


def test_docstrings_are_true() -> None:
    assert doctest.testmod(tarheader).failed == 0
