"""The launcher: starts on request, believes nobody, and is needed by nothing it started."""

from __future__ import annotations

import array
import contextlib
import json
import os
import select
import signal
import socket
import statistics
import time
from collections.abc import Iterator

import pytest

from minirun.engine.start import launcher_socket
from minirun.launcher import serve
from tests.integration.engine_lab import PATIENCE_S, Engine, eventually, hear, kill_hard
from tests.offspring import children

pytestmark = pytest.mark.requires("root", "overlay", "seccomp", "busybox")


@pytest.fixture
def launcher(engine: Engine) -> Iterator[int]:
    """Return the pid of a launcher for the engine's home."""
    pid = fork_launcher(engine)
    yield pid
    end_launcher(pid, signal.SIGTERM)
    assert not os.path.exists(launcher_socket(engine.home))


def fork_launcher(engine: Engine) -> int:
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(reader)
            null = os.open(os.devnull, os.O_RDWR)
            for fd in (0, 1, 2):
                os.dup2(null, fd)
            serve(launcher_socket(engine.home), lambda: os.write(writer, b"r"))
        finally:
            os._exit(0)
    os.close(writer)
    assert os.read(reader, 1) == b"r"
    os.close(reader)
    return pid


def end_launcher(pid: int, signum: int) -> None:
    os.kill(pid, signum)
    os.waitpid(pid, 0)


def ask(engine: Engine, data: bytes, fds: int = 1) -> bytes:
    """Send one request; return the launcher's answer, b"" when it hangs up."""
    with socket.socket(socket.AF_UNIX) as link:
        link.settimeout(5)
        link.connect(launcher_socket(engine.home))
        ours = [os.open(os.devnull, os.O_RDWR) for _ in range(fds)]
        try:
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", ours))]
            link.sendmsg([data], rights if fds else [])
            return link.recv(1)
        except ConnectionError:  # hung up with our words unread
            return b""
        finally:
            for fd in ours:
                os.close(fd)


def test_launcher_starts_containers_that_are_not_its_client_s(
    engine: Engine, launcher: int
) -> None:
    record = engine.create("sh", "-c", "echo hi; exit 3")
    heard = hear(engine.start(record), started=True)
    assert (heard.out, heard.code) == (b"hi\n", 3)


@pytest.mark.parametrize(
    "request_text",
    [
        "",
        "[]",
        "7",
        "{",
        "{}",
        "[" * 60000,
        json.dumps({"data": 1, "root": 2, "id": 3}),
        json.dumps({"data": "/nowhere", "root": "/nowhere", "id": "../../etc"}),
    ],
    ids=["empty", "array", "number", "torn", "no-keys", "deep", "numbers", "climbing-id"],
)
def test_launcher_refuses_nonsense_and_lives_on(
    engine: Engine, launcher: int, request_text: str
) -> None:
    open_before = len(os.listdir(f"/proc/{launcher}/fd"))
    assert ask(engine, request_text.encode()) == b""
    assert engine.run("true").code == 0
    # The one more is the way to the spare shim; the client's own goes when it has its answer.
    eventually(lambda: os.listdir(f"/proc/{launcher}/fd"), lambda fds: len(fds) <= open_before + 1)


def test_launcher_refuses_a_request_without_its_descriptor(engine: Engine, launcher: int) -> None:
    text = json.dumps({"data": engine.home.data, "root": engine.home.root, "id": "a"})
    assert ask(engine, text.encode(), fds=0) == b""


def test_launcher_refuses_other_users(engine: Engine, launcher: int) -> None:
    """What if the socket's mode were open? The kernel says who is there."""
    path = launcher_socket(engine.home)
    assert os.stat(path).st_mode & 0o777 == 0o600
    os.chmod(path, 0o666)
    record = engine.create("true")
    text = json.dumps({"data": engine.home.data, "root": engine.home.root, "id": record.id})
    pid = os.fork()
    if pid == 0:
        try:
            os.setresuid(1000, 1000, 1000)
            os._exit(len(ask(engine, text.encode())))
        finally:
            os._exit(9)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert engine.state(record).status == "created"


def test_launcher_is_alone_at_its_socket(engine: Engine, launcher: int) -> None:
    pid = os.fork()
    if pid == 0:
        try:
            serve(launcher_socket(engine.home))
        except Exception as error:  # noqa: BLE001 - told by the exit code
            os._exit(7 if "listens" in str(error) else 8)
        finally:
            os._exit(9)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7


def test_launcher_killed_loses_nothing(engine: Engine) -> None:
    pid = fork_launcher(engine)
    record = engine.detached(
        "sh", "-c", "trap 'echo bye; exit 4' TERM; while :; do sleep 0.05; done"
    )
    kill_hard(pid)
    again = engine.run("true")  # without one, and its socket still there
    assert again.code == 0
    os.kill(engine.state(record).pid, signal.SIGTERM)
    assert engine.end_of(record).exit_code == 4
    assert engine.logged(record) == "bye\n"
    end_launcher(fork_launcher(engine), signal.SIGTERM)  # takes the socket over


def test_launcher_starts_within_the_promised_time(engine: Engine, launcher: int) -> None:
    """Generous, because tests share the machine; benchmarks/ measures."""
    spent = []
    for _ in range(10):
        record = engine.create("true", remove=True)
        began = time.perf_counter()
        session = engine.start(record)
        session.wait_until_started()
        spent.append(time.perf_counter() - began)
        hear(session)
    assert statistics.median(spent) < 0.25


# ── the spare shim ────────────────────────────────────────────────────────────────────────────


def spare_of(launcher: int) -> int:
    """Return the pid of the shim that a launcher at rest keeps ahead."""
    return int(min(eventually(lambda: children(launcher), bool)))


def test_spare_becomes_the_next_shim(engine: Engine, launcher: int) -> None:
    spare = spare_of(launcher)
    record = engine.detached("sleep", "1000")
    assert engine.state(record).shim_pid == spare
    eventually(lambda: children(launcher), lambda pids: len(pids) == 2)  # it and the next


def test_spare_that_was_killed_is_not_missed(engine: Engine, launcher: int) -> None:
    kill_hard(spare_of(launcher))
    assert engine.run("true").code == 0


def test_spare_holds_nothing_open_but_its_order(launcher: int) -> None:
    """What if it kept the launcher's socket? Clients of a dead launcher would wait for ever."""
    spare = spare_of(launcher)
    links = eventually(lambda: open_files(spare), lambda found: len(found) == 4)
    assert sorted(link.partition(":")[0] for link in links) == ["/dev/null"] * 3 + ["socket"]


def test_spare_ends_with_its_launcher(engine: Engine) -> None:
    pid = fork_launcher(engine)
    pidfd = os.pidfd_open(spare_of(pid))
    end_launcher(pid, signal.SIGKILL)
    assert select.select([pidfd], [], [], PATIENCE_S)[0]
    os.close(pidfd)
    os.unlink(launcher_socket(engine.home))


def open_files(pid: int) -> list[str]:
    found = []
    for fd in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(FileNotFoundError):  # closed while we look
            found.append(os.readlink(f"/proc/{pid}/fd/{fd}"))
    return found
