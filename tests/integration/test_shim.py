"""The shim: output, input, clients, endings, restarts, health, and being killed."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from functools import partial
from operator import ne
from pathlib import Path

import pytest

from minirun.container.entry import ContainerRecord, State
from minirun.container.options import HealthFlags, ResourceOptions, RunOptions
from minirun.container.security import LogOptions, RestartPolicy
from minirun.engine.create import create
from minirun.engine.images import Target
from minirun.errors import ImageError, MinirunError
from minirun.shim import frames
from minirun.shim.ending import UNKNOWN_CODE
from tests.integration.engine_lab import (
    Engine,
    eventually,
    expect,
    hear,
    kill_hard,
)
from tests.offspring import children

pytestmark = pytest.mark.requires("root", "overlay", "seccomp", "busybox")

MILLION = 1_000_000
MS_NS = 1_000_000


# ── output ────────────────────────────────────────────────────────────────────────────────────


def test_output_reaches_client_and_log_apart_by_stream(engine: Engine) -> None:
    record = engine.create("sh", "-c", "echo out; echo err >&2; printf 'no newline'")
    heard = hear(engine.start(record), started=True)
    assert (heard.out, heard.err, heard.code) == (b"out\nno newline", b"err\n", 0)
    engine.end_of(record)
    assert engine.logged(record) == "out\nno newline"
    assert engine.logged(record, "stderr") == "err\n"
    assert all(entry["time"].endswith("Z") for entry in engine.log(record))


def test_output_of_a_megabyte_arrives_whole(engine: Engine) -> None:
    record = engine.create("sh", "-c", "seq 1 150000")
    heard = hear(engine.start(record), started=True)
    wanted = b"".join(b"%d\n" % n for n in range(1, 150001))
    assert heard.out == wanted
    engine.end_of(record)
    assert engine.logged(record) == wanted.decode()


def test_output_after_init_has_closed_its_own_is_not_waited_for(engine: Engine) -> None:
    assert engine.sh("echo a; exec >&- 2>&-; exit 3").code == 3


def test_log_rotates(engine: Engine) -> None:
    options = LogOptions(max_size_bytes=2000, max_files=2)
    record = engine.create("seq", "1", "200", log=options)
    hear(engine.start(record), started=True)
    folder = engine.home.containers.folder(record.id)
    assert sorted(name for name in os.listdir(folder) if name.startswith("log.json")) == [
        "log.json",
        "log.json.1",
    ]


# ── endings ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("script", "code", "reason"),
    [
        ("exit 0", 0, "exit"),
        ("exit 42", 42, "exit"),
        ("kill -KILL 1; exit 43", 43, "exit"),  # init is immune to signals from inside
    ],
)
def test_ending_by_exit(engine: Engine, script: str, code: int, reason: str) -> None:
    record = engine.create("sh", "-c", script)
    assert hear(engine.start(record), started=True).code == code
    state = engine.end_of(record)
    assert (state.exit_code, state.reason, state.oom_killed, state.pid) == (code, reason, False, 0)
    assert state.started_at
    assert state.started_at < state.finished_at


@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGTERM])
def test_ending_by_signal_is_128_plus_its_number(engine: Engine, signum: int) -> None:
    record = engine.create("sh", "-c", "trap 'exit 7' USR1; echo ready; cat", interactive=True)
    session = engine.start(record)
    expect(session, b"ready")
    if signum == signal.SIGTERM:  # has no handler: PID 1 does not even notice, so use USR1's
        session.send(frames.frame(frames.SIGNAL, bytes([signal.SIGUSR1])))
        session.send(frames.frame(frames.STDIN))
        assert hear(session).code == 7
        return
    session.send(frames.frame(frames.SIGNAL, bytes([signum])))
    assert hear(session).code == 128 + signum
    assert engine.end_of(record).reason == "signal"


@pytest.mark.requires("cgroups")
def test_ending_by_oom_has_its_reason_and_the_peak(engine: Engine) -> None:
    limit = ResourceOptions(memory_bytes=16 << 20, memory_swap_bytes=16 << 20)
    script = "x=aaaaaaaaaaaaaaaa; while true; do x=$x$x; done"
    record = engine.create("sh", "-c", script, resources=limit)
    assert hear(engine.start(record), started=True).ending["reason"] == "oom"
    state = engine.end_of(record)
    assert (state.exit_code, state.reason, state.oom_killed) == (137, "oom", True)
    assert 8 << 20 < state.peak_memory_bytes <= 17 << 20


def test_start_that_fails_is_told_with_docker_s_exit_code(engine: Engine) -> None:
    record = engine.create("no-such-program")
    session = engine.start(record)
    with pytest.raises(MinirunError, match="executable file not found") as caught:
        session.wait_until_started()
    session.close()
    assert caught.value.exit_code == 127
    assert "PATH" in caught.value.hint
    state = engine.end_of(record)
    assert (state.exit_code, state.reason) == (127, "error")
    assert not os.path.exists(engine.home.place(record.id).socket)


def test_image_that_is_collected_while_its_container_is_made_is_named(engine: Engine) -> None:
    """What if rmi takes the layers between the look at the image and the look into it?"""
    target = Target("app", "an image", image_id="sha256:0", lowers=(f"{engine.home.data}/l/gone",))
    with pytest.raises(ImageError, match="image app was removed while the container was made"):
        create(engine.home, RunOptions(name="late"), target)
    assert not engine.home.containers.ids()
    assert not os.listdir(f"{engine.home.data}/names")


def test_container_with_rm_is_gone_after_its_end(engine: Engine) -> None:
    record = engine.create("true", remove=True)
    assert hear(engine.start(record), started=True).code == 0
    assert not engine.home.containers.exists(record.id)


def test_start_after_the_end_appends_to_the_log(engine: Engine) -> None:
    record = engine.create("echo", "again")
    for _ in range(2):
        hear(engine.start(record), started=True)
        engine.end_of(record)
    assert engine.logged(record) == "again\nagain\n"


# ── input and terminals ───────────────────────────────────────────────────────────────────────


def test_input_reaches_the_program_and_its_end_is_seen(engine: Engine) -> None:
    session = engine.start(engine.create("cat", interactive=True))
    session.wait_until_started()
    session.send(frames.frame(frames.STDIN, b"hello "))
    session.send(frames.frame(frames.STDIN, b"world"))
    session.send(frames.frame(frames.STDIN))
    heard = hear(session)
    assert (heard.out, heard.code) == (b"hello world", 0)


def test_input_larger_than_the_pipe_arrives_whole_and_its_end_after_it(engine: Engine) -> None:
    """What if the end of input comes while most of it still waits for a slow reader?"""
    session = engine.start(engine.create("sh", "-c", "sleep 0.3; wc -c", interactive=True))
    session.wait_until_started()
    for _ in range(10):
        session.send(frames.frame(frames.STDIN, b"x" * 60000))
    session.send(frames.frame(frames.STDIN))
    assert hear(session).text.strip() == "600000"


def test_input_without_interactive_is_dev_null(engine: Engine) -> None:
    assert engine.run("cat").code == 0


def test_terminal_has_a_size_that_follows_its_client(engine: Engine) -> None:
    script = "tty; read a; stty size; read b; echo got $b; read c || exit 4"
    session = engine.start(engine.create("sh", "-c", script, tty=True, interactive=True))
    session.wait_until_started()
    expect(session, b"/dev/pts/0")
    session.send(frames.resize(33, 99))
    session.send(frames.frame(frames.STDIN, b"\n"))
    expect(session, b"33 99")
    session.send(frames.frame(frames.STDIN, b"x\n"))
    expect(session, b"got x")
    session.send(frames.frame(frames.STDIN, b"\x04"))
    assert hear(session).code == 4


def test_terminal_passes_control_c_on(engine: Engine) -> None:
    session = engine.start(
        engine.create(
            "sh", "-c", "trap 'exit 9' INT; echo ready; while :; do sleep 1; done", tty=True
        )
    )
    session.wait_until_started()
    expect(session, b"ready")
    session.send(frames.frame(frames.STDIN, b"\x03"))
    assert hear(session).code == 9


# ── clients ───────────────────────────────────────────────────────────────────────────────────


def test_clients_all_hear_everything_from_when_they_came(engine: Engine) -> None:
    record = engine.create("sh", "-c", "read a; echo $a; read b; echo $b", interactive=True)
    first = engine.start(record)
    first.wait_until_started()
    first.send(frames.frame(frames.STDIN, b"one\n"))
    expect(first, b"one\n")
    second, third = engine.attach(record), engine.attach(record)
    third.close()  # and one that goes at once
    second.send(frames.frame(frames.STDIN, b"two\n"))
    assert hear(second).out == b"two\n"
    assert hear(first).out == b"two\n"


def test_client_that_is_gone_does_not_disturb(engine: Engine) -> None:
    record = engine.create("sh", "-c", "read a; seq 1 1000; exit 5", interactive=True)
    session = engine.start(record)
    session.wait_until_started()
    session.send(frames.frame(frames.STDIN, b"go\n"))
    session.close()
    assert engine.end_of(record).exit_code == 5
    assert engine.logged(record).split()[-1] == "1000"


def test_client_that_talks_nonsense_is_hung_up_on(engine: Engine) -> None:
    record = engine.detached("sleep", "1000")
    session = engine.attach(record)
    session.send(b"\xff" * 5)
    assert list(session.frames(5)) == []
    session.close()
    assert engine.state(record).status == "running"


def test_client_too_slow_holds_the_program_but_loses_nothing(engine: Engine) -> None:
    """What if a client reads nothing while megabytes are written?"""
    line, count = "x" * 1000, 16000
    script = f"read go; yes {line} | head -n {count}; echo done >&2"
    record = engine.create("sh", "-c", script, interactive=True)
    session = engine.start(record)
    session.wait_until_started()
    session.send(frames.frame(frames.STDIN, b"\n"))
    shim = engine.state(record).shim_pid
    # Not what is private: a page becomes so, too, when the test that the shim was forked from
    # writes to it.
    before = rollup(shim, "Anonymous")
    log = Path(engine.home.containers.log_path(record.id))
    eventually(lambda: log.stat().st_size, rests())
    assert rollup(shim, "Anonymous") < before + 8192  # it does not pile up 16 MB
    heard = hear(session)
    assert heard.out == f"{line}\n".encode() * count
    assert heard.err == b"done\n"


def test_attach_to_what_does_not_run_is_refused(engine: Engine) -> None:
    with pytest.raises(MinirunError, match="container not running"):
        engine.attach(engine.create("true"))


# ── restarts ──────────────────────────────────────────────────────────────────────────────────


def test_restart_on_failure_stops_after_the_most_retries(engine: Engine) -> None:
    record = engine.create("sh", "-c", "echo run; exit 3", restart=RestartPolicy("on-failure", 2))
    session = engine.start(record)
    heard = hear(session, started=True)
    assert (heard.out, heard.code) == (b"run\n" * 3, 3)
    state = engine.end_of(record)
    assert (state.restart_count, state.exit_code) == (2, 3)


def test_restart_on_failure_leaves_success_alone(engine: Engine) -> None:
    record = engine.create("true", restart=RestartPolicy("on-failure"))
    hear(engine.start(record), started=True)
    assert engine.end_of(record).restart_count == 0


def test_restart_always_until_somebody_says_stop(engine: Engine) -> None:
    record = engine.detached("sh", "-c", "echo run", restart=RestartPolicy("always"))
    engine.until(record, lambda state: state.restart_count >= 2)
    engine.home.containers.set_state(record.id, stopped_by_user=True)
    state = engine.end_of(record)
    # Said in the delay, the last restart was planned and did not come.
    assert engine.logged(record).count("run") - state.restart_count in (0, 1)


def test_restart_survives_a_shim_that_is_killed_in_the_delay(engine: Engine) -> None:
    policy = RestartPolicy("on-failure", 2)
    record = engine.detached("sh", "-c", "echo run; exit 1", restart=policy)
    engine.until(record, lambda state: state.status == "restarting")
    kill_hard(engine.state(record).shim_pid)
    state = engine.end_of(record)
    assert engine.logged(record) == "run\n" * 3
    assert state.restart_count == 2


# ── health ────────────────────────────────────────────────────────────────────────────────────


def healthy(cmd: str, **more: int) -> HealthFlags:
    times = {"interval_ns": 20 * MS_NS, "timeout_ns": 5000 * MS_NS, "retries": 2, **more}
    return HealthFlags(cmd=cmd, **times)


def status_of(engine: Engine, record: ContainerRecord, wanted: str) -> list[tuple[int, str]]:
    state = engine.until(record, lambda s: s.health and s.health.status == wanted)
    assert state.health is not None
    return [(result.exit_code, result.output) for result in state.health.log]


def test_health_is_found_out_inside_the_container(engine: Engine) -> None:
    record = engine.detached("sleep", "1000", hostname="patient", health=healthy("hostname"))
    assert status_of(engine, record, "healthy")[-1] == (0, "patient\n")


def test_health_turns_bad_and_good_again(engine: Engine) -> None:
    script = (
        "touch /well; trap 'rm /well' USR1; trap 'touch /well' USR2; while :; do sleep 0.1; done"
    )
    check = healthy("test -e /well || { echo ill; exit 4; }")
    record = engine.detached("sh", "-c", script, health=check)
    status_of(engine, record, "healthy")
    os.kill(engine.state(record).pid, signal.SIGUSR1)
    assert status_of(engine, record, "unhealthy")[-1] == (4, "ill\n")
    os.kill(engine.state(record).pid, signal.SIGUSR2)
    status_of(engine, record, "healthy")


def test_health_check_that_hangs_is_ended(engine: Engine) -> None:
    check = healthy("echo begun; sleep 1000", timeout_ns=100 * MS_NS, retries=1)
    record = engine.detached("sleep", "1000", health=check)
    code, output = status_of(engine, record, "unhealthy")[-1]
    assert code == -1
    assert "exceeded timeout" in output
    pid = engine.state(record).pid
    eventually(lambda: processes_beside(pid), lambda names: "sleep 1000 hang" not in names)


# ── kill -9 ───────────────────────────────────────────────────────────────────────────────────


def known(code: int) -> set[int]:
    """Return what a standby may say: it is not the parent, and has to ask the pidfd.

    That keeps the code since Linux 6.15; before, the new parent may have been faster.
    """
    major, minor = map(int, os.uname().release.split(".")[:2])
    return {code} if (major, minor) >= (6, 15) else {code, UNKNOWN_CODE}


def _has_other_shim(pid: int, state: State) -> bool:
    return state.shim_pid != pid


def standby_of(engine: Engine, record: ContainerRecord) -> int:
    """Return the pid of the shim's standby."""
    state = engine.state(record)
    return int(eventually(lambda: sorted(children(state.shim_pid) - {state.pid}), bool)[0])


def test_shim_killed_loses_no_line_and_no_exit_code(engine: Engine) -> None:
    script = "read go; seq 1 20000; exit 6"
    record = engine.create("sh", "-c", script, interactive=True)
    session = engine.start(record)
    session.wait_until_started()
    before = engine.state(record)
    kill_hard(before.shim_pid)
    after = engine.until(record, lambda state: state.shim_pid != before.shim_pid)
    assert after.pid == before.pid
    session.send(frames.frame(frames.STDIN, b"\n"))  # its copy of the conversation goes on
    assert engine.end_of(record).exit_code in known(6)
    assert engine.logged(record) == "".join(f"{n}\n" for n in range(1, 20001))
    assert hear(session).code in known(6)


def test_shim_killed_while_output_flows_loses_no_line(engine: Engine) -> None:
    record = engine.detached("sh", "-c", "seq 1 60000; exit 4")
    kill_hard(engine.state(record).shim_pid)
    assert engine.end_of(record).exit_code in known(4)
    lines = [entry["log"] for entry in engine.log(record)]
    assert set(lines) == {f"{n}\n" for n in range(1, 60001)}


def test_shim_killed_keeps_half_a_line(engine: Engine) -> None:
    """What if a prompt was read, and the shim dies before the rest of its line comes?"""
    script = "printf half; read go; echo -line"
    record = engine.create("sh", "-c", script, interactive=True)
    session = engine.start(record)
    session.wait_until_started()
    expect(session, b"half")
    first = engine.state(record).shim_pid
    kill_hard(first)
    engine.until(record, lambda state: state.shim_pid != first)
    session.send(frames.frame(frames.STDIN, b"\n"))
    engine.end_of(record)
    assert engine.logged(record) == "half-line\n"
    session.close()


def test_standby_holds_nothing_of_the_start_that_it_was_forked_in(engine: Engine) -> None:
    """What if it kept a lock, or the container's end of a pipe? That would never be free again."""
    record = engine.create("sleep", "1000")
    session = engine.start(record)
    session.wait_until_started()
    standby = standby_of(engine, record)

    def held() -> list[str]:
        return [os.readlink(f"/proc/{standby}/fd/{fd}") for fd in os.listdir(f"/proc/{standby}/fd")]

    # Its parent's pidfd and the container's, the ends of stdout and stderr, listener and client.
    counted = eventually(held, lambda names: len(names) == 3 + 2 + 2 + 2 + 1)
    assert sum(name.startswith("pipe:") for name in counted) == 2
    assert sum(name.startswith("/memfd:rest") for name in counted) == 1
    assert not [name for name in counted if name.startswith(engine.home.root)]
    session.close()


def test_shim_and_standby_killed_in_turn(engine: Engine) -> None:
    record = engine.detached(
        "sh", "-c", "trap 'echo bye; exit 8' TERM; while :; do sleep 0.05; done"
    )
    for turn in range(6):
        shim, standby = engine.state(record).shim_pid, standby_of(engine, record)
        if turn % 2:
            kill_hard(shim)
            engine.until(record, partial(_has_other_shim, shim))
        else:
            kill_hard(standby)
            eventually(partial(standby_of, engine, record), partial(ne, standby))
    os.kill(engine.state(record).pid, signal.SIGTERM)
    state = engine.end_of(record)
    assert state.exit_code in known(8)
    assert engine.logged(record) == "bye\n"


def test_shim_and_standby_killed_at_once_is_told_as_it_is(engine: Engine) -> None:
    """Documented: with both gone nobody sees the end, and the container says so."""
    from minirun.engine.status import current

    record = engine.detached("sleep", "1000")
    state, standby = engine.state(record), standby_of(engine, record)
    for pid in (standby, state.shim_pid):
        os.kill(pid, signal.SIGSTOP)
    for pid in (standby, state.shim_pid):
        os.kill(pid, signal.SIGKILL)
    assert current(engine.home, engine.read(record)).state.status == "running"
    kill_hard(state.pid)
    now = eventually(
        lambda: current(engine.home, engine.read(record)).state, lambda s: s.status == "exited"
    )
    assert (now.exit_code, now.reason) == (255, "error")


# ── asleep ────────────────────────────────────────────────────────────────────────────────────


def asleep(engine: Engine, record: ContainerRecord) -> None:
    """Wait until the shim has shed what it does not need."""
    shim = engine.state(record).shim_pid
    eventually(lambda: command_line(shim), lambda line: "minirun.shim.sleep" in line)
    standby_of(engine, record)


def test_shim_asleep_costs_less_than_four_megabytes(engine: Engine) -> None:
    record = engine.detached("sleep", "1000")
    asleep(engine, record)
    ours = (engine.state(record).shim_pid, standby_of(engine, record))
    assert sum(private_kib(pid) for pid in ours) < 4096
    # Not even if what only the two share is counted as ours.
    assert sum(private_kib(pid) for pid in ours) + shared_dirty_kib(ours[0]) < 4096


def test_shim_asleep_is_named(engine: Engine) -> None:
    record = engine.detached("sleep", "1000")
    asleep(engine, record)
    assert comm(engine.state(record).shim_pid) == "minirun-shim"


def test_shim_asleep_wakes_for_output_and_for_clients(engine: Engine) -> None:
    script = "printf half; read a; echo -$a; exit 2"
    record = engine.detached("sh", "-c", script, interactive=True)
    asleep(engine, record)
    session = engine.attach(record)
    session.send(frames.frame(frames.STDIN, b"word\n"))
    heard = hear(session)
    assert (heard.out, heard.code) == (b"-word\n", 2)
    assert engine.logged(record) == "half-word\n"


def test_shim_asleep_wakes_for_the_end(engine: Engine) -> None:
    record = engine.detached("sleep", "1000")
    asleep(engine, record)
    os.kill(engine.state(record).pid, signal.SIGKILL)
    assert engine.end_of(record).exit_code == 137


def test_shim_asleep_restarts_the_container(engine: Engine) -> None:
    record = engine.detached("sleep", "1000", restart=RestartPolicy("always"))
    asleep(engine, record)
    first = engine.state(record).pid
    os.kill(first, signal.SIGKILL)
    state = engine.until(record, lambda s: s.status == "running" and s.pid not in (0, first))
    assert state.restart_count == 1


def test_shim_asleep_wakes_for_a_health_check(engine: Engine) -> None:
    check = healthy("true", interval_ns=3500 * MS_NS)
    record = engine.detached("sleep", "1000", health=check)
    asleep(engine, record)
    status_of(engine, record, "healthy")


def test_shim_asleep_and_killed_is_followed_by_its_standby(engine: Engine) -> None:
    record = engine.detached("sh", "-c", "trap 'echo bye; exit 8' TERM; sleep 1000 & wait")
    asleep(engine, record)
    for _ in range(2):
        first, standby = engine.state(record).shim_pid, standby_of(engine, record)
        kill_hard(standby)
        eventually(partial(standby_of, engine, record), partial(ne, standby))
        kill_hard(first)
        engine.until(record, partial(_has_other_shim, first))
    os.kill(engine.state(record).pid, signal.SIGTERM)
    state = engine.end_of(record)
    assert state.exit_code in known(8)
    assert engine.logged(record) == "bye\n"


# ── witnesses ─────────────────────────────────────────────────────────────────────────────────


def read(pid: int, name: str) -> str:
    with open(f"/proc/{pid}/{name}") as file:
        return file.read()


def comm(pid: int) -> str:
    return read(pid, "comm").strip()


def command_line(pid: int) -> str:
    return read(pid, "cmdline")


def rollup(pid: int, *names: str) -> int:
    lines = (line.split() for line in read(pid, "smaps_rollup").splitlines()[1:])
    return sum(int(words[1]) for words in lines if words[0].rstrip(":") in names)


def rests() -> Callable[[int], bool]:
    """Return a judge of sizes, who is content once one above zero has not changed for a while."""
    seen: list[int] = []

    def judge(size: int) -> bool:
        seen.append(size)
        return size > 0 and len(seen) > 40 and len(set(seen[-40:])) == 1

    return judge


def private_kib(pid: int) -> int:
    return rollup(pid, "Private_Clean", "Private_Dirty")


def shared_dirty_kib(pid: int) -> int:
    return rollup(pid, "Shared_Dirty")


def processes_beside(pid: int) -> set[str]:
    """Return the command lines of all processes in the same PID namespace."""
    mine = os.stat(f"/proc/{pid}/ns/pid").st_ino
    found = set()
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            if os.stat(f"/proc/{entry}/ns/pid").st_ino == mine:
                found.add(command_line(int(entry)).replace("\0", " ").strip())
        except OSError:
            continue
    return found
