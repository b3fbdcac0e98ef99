"""Logs: docker's format, rotation, and a reader that neither rotation nor kill -9 can confuse."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minirun.container import clock, logreader
from minirun.container.follow import Follower
from minirun.container.logreader import Entry, Selection
from minirun.container.logs import MAX_ENTRY_BYTES, LogWriter
from minirun.container.security import LogOptions
from minirun.errors import HostError, UsageError

T0 = 1_700_000_000_000_000_000


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "log.json")


def write(path: str, *chunks: bytes, options: LogOptions | None = None) -> None:
    writer = LogWriter(path, options or LogOptions())
    for index, chunk in enumerate(chunks):
        writer.write("stdout", chunk, T0 + index)
    writer.close()


def texts(path: str, **selection: object) -> list[str]:
    return [entry.log for entry in logreader.read(path, Selection(**selection))]  # type: ignore[arg-type]


def test_line_is_dockers_json(path: str) -> None:
    write(path, b'say "hi"\n')
    line = Path(path).read_text()
    expected = (
        '{"log":"say \\"hi\\"\\n","stream":"stdout","time":"2023-11-14T22:13:20.000000000Z"}\n'
    )
    assert line == expected


def test_lines_are_put_together_and_streams_kept_apart(path: str) -> None:
    writer = LogWriter(path)
    for stream, chunk in (
        ("stdout", b"a"),
        ("stderr", b"x\n"),
        ("stdout", b"b\nc"),
        ("stdout", b""),
    ):
        writer.write(stream, chunk)
    writer.close()
    found = [(entry.stream, entry.log) for entry in logreader.read(path)]
    assert found == [("stderr", "x\n"), ("stdout", "ab\n"), ("stdout", "c")]


@pytest.mark.parametrize("size", [MAX_ENTRY_BYTES - 1, MAX_ENTRY_BYTES, MAX_ENTRY_BYTES * 3 + 5])
def test_long_line_becomes_parts_of_16_kib(path: str, size: int) -> None:
    write(path, b"a" * size + b"\nnext\n")
    found = texts(path)
    assert "".join(found) == "a" * size + "\nnext\n"
    assert all(len(entry) <= MAX_ENTRY_BYTES for entry in found)
    assert found[-1] == "next\n"


@pytest.mark.parametrize("before", ["", "a", "aa", "aaa"])
def test_cut_does_not_split_a_character(path: str, before: str) -> None:
    write(path, before.encode() + "€🐦".encode() * 10_000 + b"\n")
    assert "".join(texts(path)) == before + "€🐦" * 10_000 + "\n"


@given(st.lists(st.binary(max_size=50), max_size=8))
def test_any_bytes_are_logged(
    tmp_path_factory: pytest.TempPathFactory, chunks: list[bytes]
) -> None:
    path = str(tmp_path_factory.mktemp("log") / "log.json")
    write(path, *chunks)
    assert "".join(texts(path)) == b"".join(chunks).decode("utf-8", "replace")


def test_rotation_keeps_the_newest_files(path: str) -> None:
    options = LogOptions(max_size_bytes=500, max_files=3)
    write(path, *(b"line %03d\n" % n for n in range(100)), options=options)
    found = texts(path)
    assert found == [f"line {n:03}\n" for n in range(100)][-len(found) :]
    assert 10 < len(found) < 100
    assert {file.name for file in Path(path).parent.iterdir()} == {
        *("log.json", "log.json.1", "log.json.2"),
    }


def test_rotation_with_one_file_starts_over(path: str) -> None:
    write(path, *(b"%d\n" % n for n in range(50)), options=LogOptions(max_size_bytes=300))
    assert [file.name for file in Path(path).parent.iterdir()] == ["log.json"]
    assert len(Path(path).read_bytes()) < 400


@pytest.mark.parametrize("tail", [0, 1, 5, 30, 1000])
def test_tail_counts_over_rotated_files(path: str, tail: int) -> None:
    options = LogOptions(max_size_bytes=400, max_files=50)
    write(path, *(b"%d\n" % n for n in range(60)), options=options)
    assert texts(path, tail=tail) == [f"{n}\n" for n in range(60)][60 - min(tail, 60) :]


def test_tail_of_a_large_file(path: str) -> None:
    write(path, *(b"x" * 1000 + b"\n" for _ in range(300)))
    assert len(texts(path, tail=200)) == 200


def test_since_and_until(path: str) -> None:
    write(path, *(b"%d\n" % n for n in range(10)))
    bounds = {"since": clock.stamp(T0 + 3), "until": clock.stamp(T0 + 5)}
    assert texts(path, **bounds) == ["3\n", "4\n", "5\n"]
    assert texts(path, tail=6, **bounds) == ["4\n", "5\n"]


def test_timestamps_come_first() -> None:
    entry = Entry("a\n", "stdout", "T")
    assert (entry.text(), entry.text(timestamps=True)) == ("a\n", "T a\n")


def test_torn_line_is_no_line_and_the_next_writer_heals_it(path: str) -> None:
    write(path, b"one\n")
    with Path(path).open("ab") as file:
        file.write(b'{"log":"tw')
    assert texts(path) == ["one\n"]
    write(path, b"three\n")
    assert texts(path) == ["one\n", "three\n"]


def test_foreign_lines_are_skipped(path: str) -> None:
    Path(path).write_bytes(b'null\n{}\n{"log":1,"stream":"a","time":"b"}\n\xff\n[]\n')
    assert texts(path) == []


def test_reading_a_log_that_does_not_exist(path: str) -> None:
    assert texts(path) == []
    assert list(logreader.follow(path, lambda: False)) == []


def test_log_is_never_written_through_a_link(path: str, tmp_path: Path) -> None:
    Path(path).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(HostError):
        LogWriter(path)
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("max_files", [1, 3, 100])
def test_follower_loses_nothing_under_rotation(path: str, max_files: int) -> None:
    """With files enough every line arrives; with fewer, in order and without doubles."""
    lines = 400
    writer = LogWriter(path, LogOptions(max_size_bytes=2000, max_files=max_files))
    done = threading.Event()

    def produce() -> None:
        for number in range(lines):
            writer.write("stdout", b"%d\n" % number)
        writer.close()
        done.set()

    producer = threading.Thread(target=produce)
    stream = logreader.follow(path, lambda: not done.is_set())
    producer.start()
    found = [int(entry.log) for entry in stream]
    producer.join()
    assert found == sorted(set(found))
    assert found[-1] == lines - 1
    if max_files == 100:
        assert found == list(range(lines))


def test_follower_waits_for_a_file_that_comes_later(path: str) -> None:
    alive = [True, True, True, False]
    writer: list[LogWriter] = []

    def running() -> bool:
        if not writer:
            writer.append(LogWriter(path))
        writer[0].write("stdout", b"late\n")
        return alive.pop(0)

    assert [entry.log for entry in logreader.follow(path, running)] == ["late\n"] * 4
    writer[0].close()


def test_follower_begins_with_the_tail(path: str) -> None:
    write(path, b"a\nb\nc\n")
    found = logreader.follow(path, lambda: False, Selection(tail=1))
    assert [entry.log for entry in found] == ["c\n"]


def test_follower_closes_what_it_opened(path: str) -> None:
    import os

    write(path, b"a\nb\n")
    before = len(os.listdir("/proc/self/fd"))
    stream = Follower(path).follow(lambda: True)
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    assert len(os.listdir("/proc/self/fd")) == before


# ---- clock --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1700000000", "2023-11-14T22:13:20.000000000Z"),
        ("1700000000.5", "2023-11-14T22:13:20.500000000Z"),
        ("2023-11-14T22:13:20Z", "2023-11-14T22:13:20.000000000Z"),
        ("2023-11-14T23:13:20.123456789+01:00", "2023-11-14T22:13:20.123456789Z"),
        ("10s", "2023-11-14T22:13:10.000000000Z"),
    ],
)
def test_moment(text: str, expected: str) -> None:
    assert clock.moment(text, T0) == expected


@pytest.mark.parametrize("text", ["", "yesterday", "2023-13-01", "-5", "9" * 40, "1-1-1"])
def test_moment_refuses(text: str) -> None:
    with pytest.raises(UsageError):
        clock.moment(text, T0)


@given(st.integers(0, 2**62))
def test_stamps_sort_as_their_times(nanoseconds: int) -> None:
    assert clock.stamp(nanoseconds) < clock.stamp(nanoseconds + 1)


def test_entries_are_json_for_any_reader(path: str) -> None:
    write(path, "žluťoučký\n".encode())
    assert json.loads(Path(path).read_text())["log"] == "žluťoučký\n"
