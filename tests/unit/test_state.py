"""The state directory: ids, files replaced whole, locks, and whose process a pid is."""

from __future__ import annotations

import fcntl
import os
import socket
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from minirun.decode import decode, encode
from minirun.errors import NotFoundError, StateError
from minirun.quickjson import dumps, loads
from minirun.roots import DEFAULT_ROOT, default_root
from minirun.spec import Hook, Spec
from minirun.state import (
    Directory,
    State,
    check_id,
    is_alive,
    process_start_time,
    replace_file,
    timestamp,
)


@pytest.fixture
def directory(tmp_path: Path) -> Directory:
    made = Directory(str(tmp_path), "web")
    os.mkdir(made.path)
    return made


def has_waiter(lock: str) -> bool:
    """Return True as soon as the kernel lists somebody who waits, False after ten seconds."""
    inode = f":{os.stat(lock).st_ino} "
    end = time.monotonic() + 10
    while time.monotonic() < end:
        if any(
            "->" in line and inode in line for line in Path("/proc/locks").read_text().splitlines()
        ):
            return True
        os.sched_yield()
    return False


@pytest.mark.parametrize("name", ["a", "web-1", "A_b.c+d", "0", "_x", "+x", "a" * 1024])
def test_check_id_accepts_a_plain_name(name: str) -> None:
    check_id(name)


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", ".hidden", "-rf", "a/b", "../a", "a b", "a\n", "a\0", "é", "²", "a" * 1025],
)
def test_check_id_refuses_what_is_no_plain_name(name: str) -> None:
    with pytest.raises(StateError, match="invalid container ID format") as caught:
        check_id(name)
    assert "an id has letters" in caught.value.hint
    assert len(caught.value.message) < 400


def test_default_root_is_where_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/7")
    monkeypatch.setenv("MINIRUN_ROOT", "/elsewhere")
    assert default_root() == "/elsewhere"
    monkeypatch.delenv("MINIRUN_ROOT")
    assert default_root() == (DEFAULT_ROOT if os.geteuid() == 0 else "/run/user/7/minirun")


def test_state_survives_its_json() -> None:
    state = State("web", "/b", "running", 7, 8, annotations={"k": "é"}, cgroup="/minirun/web")
    assert decode(State, loads(dumps(encode(state)))) == state


def test_directory_reads_what_it_wrote(directory: Directory) -> None:
    assert not directory.exists()
    directory.write(State("web", "/bundle"))
    assert directory.exists()
    assert directory.read() == State("web", "/bundle")
    assert os.stat(directory.file("state.json")).st_mode & 0o777 == 0o600


def test_directory_read_names_the_missing_container(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="container gone: container does not exist") as caught:
        Directory(str(tmp_path), "gone").read()
    assert "ps --all" in caught.value.hint


def test_directory_keeps_spec_and_hooks(directory: Directory) -> None:
    assert directory.read_hooks("poststop") == ()  # create was killed before it wrote any
    hooks = {"poststop": [{"path": "/bin/true", "timeout": 3}]}
    spec = decode(Spec, {"ociVersion": "1.3.0", "root": {"path": "rootfs"}, "hooks": hooks})
    directory.write_spec(spec)
    assert directory.read_spec() == spec
    assert directory.read_hooks("poststop") == (Hook("/bin/true", timeout=3),)


def test_replace_file_keeps_the_old_when_it_fails(tmp_path: Path) -> None:
    old = tmp_path / "taken"
    (old / "inside").mkdir(parents=True)  # a rename cannot replace a directory
    with pytest.raises(IsADirectoryError):
        replace_file(str(old), "new")
    assert os.listdir(tmp_path) == ["taken"]


def test_replace_file_never_changes_what_a_reader_holds(tmp_path: Path) -> None:
    path = tmp_path / "file"
    replace_file(str(path), "old", 0o640)
    with path.open() as reader:
        replace_file(str(path), "new")
        assert reader.read() == "old"
    assert path.read_text() == "new"


def test_lock_keeps_others_out_until_its_end(directory: Directory) -> None:
    with directory.lock(claim=True):
        other = os.open(directory.file("lock"), os.O_RDONLY)
        with pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(other)


def test_lock_of_no_container_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="container gone"):
        Directory(str(tmp_path), "gone").lock().__enter__()
    assert os.listdir(tmp_path) == []


def test_lock_claim_says_why_it_cannot(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StateError, match=r"file/web: not a directory") as caught:
        Directory(f"{tmp_path}/file", "web").lock(claim=True).__enter__()
    assert "--root" in caught.value.hint


@pytest.mark.parametrize("claim", [False, True])
def test_lock_is_not_taken_on_a_removed_directory(directory: Directory, claim: bool) -> None:
    """What if the lock that somebody waits for goes away with its container?"""
    held: list[bool] = []

    def wait() -> None:
        try:
            with directory.lock(claim=claim):
                held.append(os.path.exists(directory.file("lock")))
        except NotFoundError:
            held.append(False)

    waiter = threading.Thread(target=wait)
    with directory.lock(claim=True):
        waiter.start()
        assert has_waiter(directory.file("lock"))
        directory.remove()
    waiter.join(10)
    assert held == [claim]


def test_remove_leaves_nothing_and_can_be_repeated(directory: Directory) -> None:
    directory.write(State("web", "/bundle"))
    os.mkfifo(directory.file("start"))
    os.makedirs(directory.file("rootfs/empty"))
    with directory.lock(claim=True):
        directory.remove()
    directory.remove()
    assert not os.path.exists(directory.path)


def test_remove_never_touches_files_below(directory: Directory) -> None:
    """What if somebody's mount was left there?"""
    foreign = Path(directory.file("rootfs/data"))
    foreign.mkdir(parents=True)
    (foreign / "precious").write_text("")
    with pytest.raises(OSError, match="not empty"):
        directory.remove()
    assert (foreign / "precious").exists()


def test_process_start_time_reads_past_any_name() -> None:
    ours, theirs = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        ours.close()
        theirs.recv(1)
        Path("/proc/self/comm").write_text("a) Z 0 (b")
        theirs.send(b"renamed")
        theirs.recv(1)
        os._exit(0)
    theirs.close()
    before = process_start_time(pid)
    ours.send(b"x")
    renamed = ours.recv(9)
    seen = (process_start_time(pid), is_alive(pid, before), is_alive(pid, before + 1))
    ours.close()
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    zombie = process_start_time(pid)
    os.waitpid(pid, 0)
    assert renamed == b"renamed"
    assert seen == (before, True, False)  # the last: the number belongs to somebody else
    assert before > process_start_time(os.getpid()) > 0
    assert (zombie, process_start_time(pid), is_alive(pid, 0)) == (0, 0, False)


def test_timestamp_is_rfc3339_with_nanoseconds() -> None:
    text = timestamp()
    assert len(text) == len("2024-01-01T00:00:00.000000000Z")
    written = datetime.fromisoformat(text[:19]).replace(tzinfo=UTC)
    assert abs((datetime.now(UTC) - written).total_seconds()) < 60
