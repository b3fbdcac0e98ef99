"""Containers through the command line, from run to rm."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.integration.cli_lab import MINIRUN, Cli, Terminal, fresh, wait_until

pytestmark = pytest.mark.requires("root", "overlay", "seccomp", "busybox")


@pytest.fixture
def cli() -> Iterator[Cli]:
    with fresh() as made:
        yield made


def run(cli: Cli, *words: str, flags: tuple[str, ...] = (), stdin: str = "") -> tuple[int, str]:
    done = cli(
        "run", "--rm", "--network", "none", *flags, str(cli.rootfs), *words,
        stdin=stdin, check=False,
    )  # fmt: skip
    return done.code, done.out


# ── run ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("code", [0, 1, 125, 255])
def test_run_ends_with_the_program_s_code(cli: Cli, code: int) -> None:
    assert run(cli, "sh", "-c", f"exit {code}") == (code, "")


def test_run_ends_with_128_and_the_signal(cli: Cli) -> None:
    assert run(cli, "sh", "-c", "sh -c 'kill -9 $$'; exit $?")[0] == 137


def test_run_keeps_the_streams_apart(cli: Cli) -> None:
    words = ("run", "--rm", "--network", "none", str(cli.rootfs))
    done = cli(*words, "sh", "-c", "echo out; echo err >&2")
    assert (done.out, done.err) == ("out\n", "err\n")


def test_run_reads_standard_input_only_when_asked(cli: Cli) -> None:
    assert run(cli, "cat", stdin="typed", flags=("-i",)) == (0, "typed")
    assert run(cli, "cat", stdin="typed") == (0, "")


def test_run_passes_a_megabyte_through(cli: Cli) -> None:
    code, out = run(cli, "wc", "-c", stdin="x" * 1_000_000, flags=("-i",))
    assert (code, out.strip()) == (0, "1000000")


def test_run_with_closed_streams_still_has_its_code(cli: Cli) -> None:
    script = f'"$0" run --rm --network none {cli.rootfs} sh -c "echo x; exit 3" <&- >&- 2>&-'
    argv = ["sh", "-c", script, str(MINIRUN)]
    assert os.spawnvpe(os.P_WAIT, "sh", argv, os.environ | cli.environment) == 3


def test_run_isolates(cli: Cli) -> None:
    script = "echo $$; hostname; ls /proc | grep -c '^[0-9]' || true; id -u"
    code, out = run(cli, "sh", "-c", script, flags=("--hostname", "calm"))
    assert code == 0
    assert out.splitlines()[:2] == ["1", "calm"]


def test_run_detached_prints_the_id_and_goes_on(cli: Cli) -> None:
    made = cli.busy("--name", "web")
    assert len(made) == 64
    assert cli.field("web", ".State.Status") == "running"
    assert cli("ps", "-q").out.strip() == made[:12]


def test_run_tells_of_memory(cli: Cli) -> None:
    script = 'x=$(head -c 60000000 /dev/zero | tr "\\0" a)'
    words = ("run", "--name", "fat", "--network", "none", "-m", "20m", str(cli.rootfs))
    done = cli(*words, "sh", "-c", script, check=False)
    assert done.code == 137
    assert "killed the program for memory: the limit is 20MiB" in done.err
    assert "hint: raise --memory" in done.err
    assert cli.field("fat", ".State.OOMKilled") == "true"
    assert "out of memory" in cli("ps", "-a").out


def test_run_writes_a_cidfile_and_refuses_an_old_one(cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "cid"
    made = cli.busy("--cidfile", str(file))
    assert file.read_text() == made
    said = cli.fails("run", "--cidfile", str(file), str(cli.rootfs), "true")
    assert "exists already" in said


def test_run_explains_itself(cli: Cli) -> None:
    words = ("run", "--rm", "--explain", "--network", "none", str(cli.rootfs), "echo", "done")
    done = cli(*words)
    assert done.out == "done\n"
    assert "I pivot-root" in done.err
    assert " ms" in done.err


def test_run_step_by_step_waits_for_enter(cli: Cli) -> None:
    words = ("run", "--rm", "--step", "--network", "none", str(cli.rootfs), "echo", "done")
    assert cli(*words, stdin="\n" * 60).out == "done\n"


def test_run_step_by_step_can_be_left(cli: Cli) -> None:
    stepping = cli.spawn("run", "--step", "--network", "none", str(cli.rootfs), "true")
    assert stepping.stderr is not None
    said = b""
    while b"Enter goes on" not in said:
        said += os.read(stepping.stderr.fileno(), 4096)
    stepping.send_signal(signal.SIGINT)
    _, said = stepping.communicate(timeout=20)
    assert stepping.returncode == 130, said
    assert b"interrupted" in said
    wait_until(lambda: not cli.left(), "nothing is left")


# ── terminals ─────────────────────────────────────────────────────────────────────────────────


def test_terminal_is_one_and_hears_keys(cli: Cli) -> None:
    words = ("run", "--rm", "-it", "--network", "none", str(cli.rootfs), "sh")
    terminal = Terminal(cli, *words)
    terminal.until(b"# ")
    terminal.type(b"tty; echo a''b; exit 5\n")
    terminal.until(b"/dev/pts/0")
    terminal.until(b"ab")
    assert terminal.end() == 5


def test_terminal_is_told_what_image_was_taken_for_before_it_is_built(
    cli: Cli, tmp_path: Path
) -> None:
    (tmp_path / "Dockerfile").write_text('FROM scratch\nCMD ["/nothing"]\n')
    terminal = Terminal(cli, "run", "--rm", "--network", "none", str(tmp_path))
    seen = terminal.until(b"find-executable failed")
    assert terminal.end() == 127
    assert b"has a Dockerfile, so it is built first" in seen.partition(b"FROM scratch")[0]


def test_terminal_passes_control_c_to_the_program(cli: Cli) -> None:
    script = "trap 'echo caught; exit 7' INT; echo ready; while :; do sleep 1; done"
    words = ("run", "--rm", "-it", "--network", "none", str(cli.rootfs), "sh", "-c", script)
    terminal = Terminal(cli, *words)
    terminal.until(b"ready")
    terminal.type(b"\x03")
    terminal.until(b"caught")
    assert terminal.end() == 7


def test_terminal_lets_go_and_is_attached_again(cli: Cli) -> None:
    words = ("run", "-it", "--name", "shell", "--network", "none", str(cli.rootfs), "sh")
    terminal = Terminal(cli, *words)
    terminal.until(b"# ")
    terminal.type(b"\x10\x11")
    assert terminal.end() == 0
    assert cli.field("shell", ".State.Status") == "running"
    again = Terminal(cli, "attach", "shell")
    again.type(b"echo b''ack; exit 4\n")
    again.until(b"back")
    assert again.end() == 4


def test_terminal_that_is_none_is_refused_as_docker_does(cli: Cli) -> None:
    said = cli.fails("run", "-it", str(cli.rootfs), "sh", code=1)
    assert "the input device is not a TTY" in said


def test_signals_reach_the_program(cli: Cli) -> None:
    script = "trap 'exit 9' USR1; echo ready; while :; do sleep 0.1; done"
    running = cli.spawn("run", "--rm", "--network", "none", str(cli.rootfs), "sh", "-c", script)
    assert running.stdout is not None
    assert running.stdout.readline() == b"ready\n"
    running.send_signal(signal.SIGUSR1)
    running.communicate(timeout=20)
    assert running.returncode == 9


def test_control_c_three_times_kills_what_does_not_listen(cli: Cli) -> None:
    running = cli.spawn("run", "--rm", "--network", "none", str(cli.rootfs), "sh", "-c",
                        "trap '' INT; echo ready; while :; do sleep 1; done")  # fmt: skip
    assert running.stdout is not None
    assert running.stderr is not None
    assert running.stdout.readline() == b"ready\n"
    running.send_signal(signal.SIGINT)
    running.send_signal(signal.SIGTERM)
    while b"does not react" not in running.stderr.readline():
        running.send_signal(signal.SIGINT)
    running.send_signal(signal.SIGINT)
    running.communicate(timeout=20)
    assert running.returncode == 137
    wait_until(lambda: not cli.left(), "nothing is left")


# ── life ──────────────────────────────────────────────────────────────────────────────────────


def test_life_from_create_to_rm(cli: Cli) -> None:
    cli("create", "--name", "job", "--network", "none", str(cli.rootfs), "echo", "hello")
    assert cli.field("job", ".State.Status") == "created"
    assert cli("start", "-a", "job").out == "hello\n"
    assert "Exited (0)" in cli("ps", "-a").out
    assert cli("start", "-a", "job").out == "hello\n"
    assert cli("logs", "job").out == "hello\nhello\n"
    cli("rename", "job", "work")
    assert cli("wait", "work").out == "0\n"
    cli("rm", "work")
    assert not cli.left()


def test_stop_asks_first_and_then_kills(cli: Cli) -> None:
    cli.busy("--name", "polite", command="trap 'exit 3' TERM; while :; do sleep 0.1; done")
    cli.busy("--name", "deaf", command="trap '' TERM; while :; do sleep 1; done")
    cli("stop", "polite")
    cli("stop", "-t", "0", "deaf")
    assert cli.field("polite", ".State.ExitCode") == "3"
    assert cli.field("deaf", ".State.ExitCode") == "137"


def test_stop_ends_what_its_policy_would_restart(cli: Cli) -> None:
    cli.busy("--name", "loop", "--restart", "always", command="exit 1")
    wait_until(lambda: int(cli.field("loop", ".RestartCount")) >= 1, "a restart")
    cli("stop", "loop")
    assert cli.field("loop", ".State.Status") == "exited"
    cli("rm", "loop")
    assert not cli.left()


def test_restart_makes_a_new_process(cli: Cli) -> None:
    cli.busy("--name", "web")
    before = cli.field("web", ".State.Pid")
    cli("restart", "-t", "0", "web")
    assert cli.field("web", ".State.Pid") not in (before, "0")


def test_rm_of_a_running_container_needs_force(cli: Cli) -> None:
    cli.busy("--name", "web")
    said = cli.fails("rm", "web")
    assert "container is running" in said
    assert "minirun rm -f" in said
    cli("rm", "-f", "web")
    assert not cli.left()


def test_pause_and_unpause(cli: Cli) -> None:
    cli.busy("--name", "web")
    cli("pause", "web")
    assert cli.field("web", ".State.Paused") == "true"
    assert "minirun unpause web" in cli.fails("exec", "web", "true")
    cli("unpause", "web")
    cli("exec", "web", "true")
    cli("pause", "web")
    cli("stop", "-t", "0", "web")
    assert cli.field("web", ".State.Status") == "exited"


def test_kill_sends_the_signal(cli: Cli) -> None:
    cli.busy("--name", "web", command="trap 'exit 8' HUP; while :; do sleep 0.1; done")
    cli("exec", "web", "sh", "-c", "while ! grep -q 'SigCgt.*[1-9]' /proc/1/status; do :; done",
        check=False)  # fmt: skip
    cli("kill", "-s", "HUP", "web")
    assert cli("wait", "web").out == "8\n"
    assert "is not running" in cli.fails("kill", "web")


def test_exec(cli: Cli) -> None:
    cli.busy("--name", "web", "-e", "A=1")
    assert cli("exec", "web", "sh", "-c", "echo $A $B", check=True).out == "1\n"
    assert cli("exec", "-e", "B=2", "web", "sh", "-c", "echo $A $B").out == "1 2\n"
    assert cli("exec", "-u", "nobody", "-w", "/tmp", "web", "sh", "-c", "id -u; pwd").out == (
        "65534\n/tmp\n"
    )
    assert cli("exec", "-i", "web", "cat", stdin="typed").out == "typed"
    assert cli("exec", "web", "sh", "-c", "exit 6", check=False).code == 6
    assert "not found" in cli.fails("exec", "web", "nothing", code=127)
    assert "ermission denied" in cli.fails("exec", "web", "/etc/passwd", code=126)
    cli("exec", "-d", "web", "touch", "/tmp/made")
    wait_until(lambda: "made" in cli("exec", "web", "ls", "/tmp").out, "the file")


def test_exec_at_a_terminal(cli: Cli) -> None:
    cli.busy("--name", "web")
    terminal = Terminal(cli, "exec", "-it", "web", "sh")
    terminal.until(b"# ")
    terminal.type(b"stty size; echo a''b; exit 5\n")
    terminal.until(b"ab")
    assert terminal.end() == 5


def test_logs_select(cli: Cli) -> None:
    cli("run", "--name", "job", "--network", "none", str(cli.rootfs), "seq", "5")
    assert cli("logs", "-n", "2", "job").out == "4\n5\n"
    assert cli("logs", "--since", "1h", "--tail", "1", "job").out == "5\n"
    assert cli("logs", "--until", "1h", "job").out == ""
    assert cli("logs", "-t", "job").out.splitlines()[0].endswith("Z 1")


def test_logs_follow_to_the_end(cli: Cli) -> None:
    cli.busy(
        "--name", "slow", command="echo one; while [ ! -e /tmp/go ]; do usleep 9999; done; echo two"
    )
    following = cli.spawn("logs", "-f", "slow")
    assert following.stdout is not None
    assert following.stdout.readline() == b"one\n"
    cli("exec", "slow", "touch", "/tmp/go")
    out, _ = following.communicate(timeout=20)
    assert out == b"two\n"


def test_cp_counts_on_a_terminal(cli: Cli, tmp_path: Path) -> None:
    """What if much is copied? On a terminal one sees that it goes on, and how much it was."""
    with (tmp_path / "large").open("wb") as file:
        file.truncate(30 << 20)
    name = cli("create", "--network", "none", str(cli.rootfs), "true").out.strip()
    copying = Terminal(cli, "cp", str(tmp_path / "large"), f"{name}:/tmp/")
    said = copying.until(b" to " + name.encode() + b":/tmp/")
    assert b"Copying to container - " in said
    assert b"Successfully copied 30" in said
    assert copying.end() == 0
    back = Terminal(cli, "cp", f"{name}:/nothing", str(tmp_path))
    assert b"Successfully" not in back.until(b"no such file")
    assert back.end() != 0
    for words in ((), ("-q",)):
        done = cli("cp", *words, f"{name}:/etc/passwd", str(tmp_path))
        assert (done.out, done.err) == ("", "")


def test_cp_there_and_back(cli: Cli, tmp_path: Path) -> None:
    cli.busy("--name", "web")
    (tmp_path / "tree/inner").mkdir(parents=True)
    (tmp_path / "tree/inner/file").write_text("hello")
    cli("cp", str(tmp_path / "tree"), "web:/tmp")
    assert cli("exec", "web", "cat", "/tmp/tree/inner/file").out == "hello"
    cli("cp", "web:/tmp/tree/.", str(tmp_path / "copy"))
    assert (tmp_path / "copy/inner/file").read_text() == "hello"
    cli("stop", "-t", "0", "web")
    cli("cp", "web:/tmp/tree/inner/file", str(tmp_path / "again"))
    cli("cp", str(tmp_path / "again"), "web:/root/")
    assert (tmp_path / "again").read_text() == "hello"
    assert "A /root/again" in cli("diff", "web").out
    assert {"Kind": "A", "Path": "/root/again"} in [
        json.loads(line) for line in cli("diff", "--format", "json", "web").out.splitlines()
    ]
    assert "no such file" in cli.fails("cp", "web:/nothing", str(tmp_path))


def test_cp_does_not_follow_the_container_out_of_its_root(cli: Cli, tmp_path: Path) -> None:
    """What if a link in the container leads to a file that only the host has (CVE-2018-15664)?"""
    secret = tmp_path / "secret"
    secret.write_text("the host's")
    script = f"ln -s {tmp_path} /tmp/way; ln -s ../../../../../../..{secret} /tmp/up; sleep 1000"
    cli.busy("--name", "evil", command=script)
    wait_until(lambda: "up" in cli("exec", "evil", "ls", "/tmp").out, "the links")
    cli.fails("cp", "evil:/tmp/way/secret", str(tmp_path / "out"))
    cli.fails("cp", "-L", "evil:/tmp/up", str(tmp_path / "out"))
    (tmp_path / "new").write_text("new")
    cli.fails("cp", str(tmp_path / "new"), "evil:/tmp/way/secret")
    assert secret.read_text() == "the host's"
    assert not (tmp_path / "out").exists()


def test_update_changes_the_kernel_and_the_record(cli: Cli) -> None:
    cli.busy("--name", "web", "-m", "64m")
    cli("update", "-m", "128m", "--pids-limit", "33", "--restart", "on-failure:2", "web")
    assert cli.field("web", ".HostConfig.Memory") == str(128 << 20)
    assert cli.field("web", ".HostConfig.RestartPolicy.Name") == "on-failure"
    seen = json.loads(cli("inspect", "--kernel", "--format", "json", "web").out)
    assert seen["CgroupFiles"]["pids.max"] == "33"
    cli("update", "--pids-limit", "44", "web")
    assert cli.field("web", ".HostConfig.RestartPolicy.Name") == "on-failure"


def test_looking_at_a_container(cli: Cli) -> None:
    cli.busy("--name", "web", "--label", "tier=front")
    assert "sleep 1000" in cli("top", "web").out
    sample = json.loads(cli("stats", "--no-stream", "--format", "json", "web").out)
    assert sample["PIDs"] == "1"
    assert sample["NetIO"] == "0B / 0B"
    told = cli("inspect", "--kernel", "web").out
    assert "CAP_CHOWN" in told
    assert "seccomp          filter" in told
    assert cli("ps", "-q", "-f", "label=tier=front").out
    assert not cli("ps", "-q", "-f", "label=tier=back").out
    row = json.loads(cli("ps", "--format", "json").out)
    assert (row["Names"], row["State"]) == ("web", "running")


def test_events_tell_the_life_of_a_container(cli: Cli) -> None:
    cli("run", "--rm", "--name", "job", "--network", "none", str(cli.rootfs), "true")
    out = cli("events", "--since", "1h", "--until", "0s", "--format", "{{.Action}}").out
    assert out.split() == ["create", "start", "die", "destroy"]


def test_volumes_outlive_containers(cli: Cli) -> None:
    words = ("run", "--rm", "--network", "none", "-v", "box:/data", str(cli.rootfs), "sh", "-c")
    cli(*words, "echo kept > /data/file")
    assert cli(*words, "cat /data/file").out == "kept\n"
    assert "box" in cli("volume", "ls").out
    cli.busy("--name", "user", "-v", "box:/data")
    assert "is in use" in cli.fails("volume", "rm", "box")
    cli("rm", "-f", "user")
    cli("volume", "rm", "box")


def test_system_counts_and_prunes(cli: Cli) -> None:
    cli("run", "--network", "none", str(cli.rootfs), "true")
    assert "Containers      1" in cli("system", "df").out
    assert json.loads(cli("info", "--format", "json").out)["ContainersStopped"] == 1
    cli("system", "prune", "-f")
    assert not cli.left()


# ── many at once ──────────────────────────────────────────────────────────────────────────────


def test_one_of_many_gets_the_name(cli: Cli) -> None:
    def create(_: int) -> int:
        words = ("create", "--name", "wanted", "--network", "none", str(cli.rootfs), "true")
        return cli(*words, check=False).code

    with ThreadPoolExecutor(8) as pool:
        codes = sorted(pool.map(create, range(8)))
    assert codes == [0] + [125] * 7
    assert len(cli("ps", "-aq").out.split()) == 1


def test_start_twice_at_once_starts_once(cli: Cli) -> None:
    cli("create", "--name", "web", "--network", "none", str(cli.rootfs), "sleep", "1000")
    with ThreadPoolExecutor(4) as pool:
        codes = list(pool.map(lambda _: cli("start", "web", check=False).code, range(4)))
    assert codes == [0] * 4
    assert cli.field("web", ".State.Status") == "running"
    assert (
        len(cli("events", "--since", "1h", "--until", "0s", "-f", "event=start").out.split("\n"))
        == 2
    )


def test_stop_and_rm_at_once_end_well(cli: Cli) -> None:
    cli.busy("--name", "web")
    with ThreadPoolExecutor(4) as pool:
        jobs = [("stop", "-t", "0"), ("rm", "-f"), ("rm", "-f"), ("kill",)]
        list(pool.map(lambda words: cli(*words, "web", check=False).code, jobs))
    assert not cli.left()


def test_two_hundred_looks_see_the_same(cli: Cli) -> None:
    cli.busy("--name", "web")
    with ThreadPoolExecutor(4) as pool:
        seen = set(pool.map(lambda _: cli("ps", "-q").out, range(200)))
    assert len(seen) == 1
