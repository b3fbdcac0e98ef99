"""dockerd with minirun-oci below it: what its users see must be what they see with runc."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.engines.lab import COLUMNS, ROWS, SERVE, UNIFIED, Engine, group_files, wait_until

pytestmark = pytest.mark.requires("root", "docker", "runc", "busybox")

ALONE = ("--network=none",)
# What hides a path of /proc is a matter of the runtime's own.
MOUNTS = "mount | grep -v -e cgroup -e ext4 -e ' /proc/'"
# Version 1 has a list of the device rules; version 2 has a program, known by what it refuses.
OPEN = "[ -c /x ] || mknod /x c 10 229; (true <>/x) && echo opened; echo x > /dev/null && echo x"
DEVICES = OPEN if UNIFIED else "cat /sys/fs/cgroup/devices/devices.list"
PRIVILEGES = "grep -E '^(Cap|NoNew|Secc)' /proc/self/status"


def both(tell: Callable[[str], list[str]]) -> tuple[list[str], list[str]]:
    """Return the transcripts with runc and with minirun."""
    return tell("runc"), tell("minirun")


@pytest.fixture
def served(docker: Engine) -> Iterator[Callable[..., str]]:
    """Start containers that serve until told to stop; remove them afterwards."""
    started: list[str] = []

    def serve(runtime: str, *options: str) -> str:
        words = ("--detach", f"--runtime={runtime}", *ALONE, *options, "bb", "sh", "-c", SERVE)
        started.append(docker.out("run", *words).strip())
        return started[-1]

    yield serve
    for name in started:
        docker.run("rm", "--force", name)


RUNS = {
    "exit code": ["bb", "sh", "-c", "echo hi; exit 5"],
    "missing program": ["bb", "nope"],
    "directory": ["bb", "/etc"],
    "user": ["--user=1000:1000", "--workdir=/tmp", "bb", "sh", "-c", "id; pwd; env | grep HOME"],
    "locked down": [
        "--read-only", "--tmpfs=/tmp", "--cap-drop=ALL", "--security-opt=no-new-privileges", "bb",
        "sh", "-c", f"echo x > /x; echo y > /tmp/y; cat /tmp/y; {PRIVILEGES}",
    ],
    "capabilities": ["--cap-add=NET_ADMIN", "bb", "grep", "Cap", "/proc/self/status"],
    "limits": [
        "--ulimit=nofile=64:64", "--memory=64m", "--pids-limit=32", "--cpus=0.25", "bb", "cat",
        "/proc/self/limits", *group_files(),
    ],
    "mounts": ["bb", "sh", "-c", f"{MOUNTS} | grep -o ' on .* (r[ow]'; ls /dev"],
    "names": ["--hostname=box", "bb", "hostname"],
    "masked": ["bb", "sh", "-c", "cat /proc/timer_list | wc -c; echo 1 > /proc/sys/vm/swappiness"],
}  # fmt: skip


@pytest.mark.parametrize("case", RUNS)
def test_run_agrees_with_runc(docker: Engine, case: str) -> None:
    def tell(runtime: str) -> list[str]:
        words = ("run", "--rm", f"--runtime={runtime}", *ALONE, *RUNS[case])
        return docker.tell(*words).splitlines()

    theirs, ours = both(tell)
    assert ours == theirs


def test_life_agrees_with_runc(docker: Engine, served: Callable[..., str]) -> None:
    def tell(runtime: str) -> list[str]:
        name = served(runtime, "--memory=64m")
        state = ("inspect", "--format={{.State.Status}} {{.State.ExitCode}}", name)
        told = [docker.tell(*state), docker.run("pause", name).stderr, docker.tell(*state)]
        told += [docker.run("unpause", name).stderr, docker.tell(*state)]
        told += [docker.run("stop", "--time=10", name).stderr, docker.tell(*state)]
        told += [docker.tell("logs", name), docker.run("start", name).stderr]
        told += [docker.run("kill", "--signal=KILL", name).stderr, docker.tell("wait", name)]
        return told

    theirs, ours = both(tell)
    assert ours == theirs
    assert "9" in ours[6]


def test_exec_agrees_with_runc(docker: Engine, served: Callable[..., str]) -> None:
    def tell(runtime: str) -> list[str]:
        name = served(runtime, "--hostname=box")
        return [
            docker.tell("exec", name, "sh", "-c", "echo in; exit 4"),
            docker.tell("exec", name, "nope"),
            docker.tell("exec", "--interactive", name, "cat", stdin="typed\n"),
            docker.tell("exec", "--user=65534:65534", "--workdir=/tmp", "--env=A=b", name, "env"),
            docker.tell("exec", name, "grep", "-E", "^(Cap|NoNew|Secc)", "/proc/self/status"),
        ]

    theirs, ours = both(tell)
    assert ours == theirs


def test_terminal(docker: Engine, served: Callable[..., str], runtime: str) -> None:
    words = ("run", "--rm", "--tty", f"--runtime={runtime}", *ALONE, "bb", "tty")
    assert docker.on_terminal(*words) == "0 /dev/pts/0\n"
    name = served(runtime)
    shown = docker.on_terminal("exec", "-it", name, "sh", "-c", "test -t 0 && echo tty; exit 3")
    assert shown == "3 tty\n"


def test_what_is_typed_arrives_and_the_size_is_passed_on(docker: Engine, runtime: str) -> None:
    """What if somebody works in it? The client sends the size after the start: wait for it."""
    size = f"stty size 2>&1 | grep -q '{ROWS} {COLUMNS}'"
    script = f"read word; until {size}; do :; done; echo got $word"
    words = ("run", "--rm", "-it", f"--runtime={runtime}", *ALONE, "bb", "sh", "-c", script)
    first, *_, last = docker.on_terminal(*words, typed="hello\n").splitlines()
    assert (first, last) == ("0 hello", "got hello")  # and what was typed early is echoed twice


def test_containers_reach_each_other(docker: Engine, runtime: str) -> None:
    """With a network, limits and a terminal at once: the engine's hook finds our namespace."""
    limits = ("--memory=64m", "--pids-limit=32", "--cpus=0.5")
    serve = ("--detach", "--name=server", f"--runtime={runtime}", *limits)
    address = ("inspect", "--format={{.NetworkSettings.IPAddress}}", "server")
    try:
        docker.out("run", *serve, "bb", "nc", "-ll", "-p", "8080", "-e", "echo", "hello")
        ask = f"until nc {docker.out(*address).strip()} 8080; do :; done"
        words = ("run", "--rm", "-it", f"--runtime={runtime}", *limits, "bb", "sh", "-c", ask)
        assert docker.on_terminal(*words).splitlines()[-1].endswith("hello")
    finally:
        docker.run("rm", "--force", "server")


def test_build_runs_in_the_default_runtime(docker: Engine, tmp_path: Path) -> None:
    """What hides /proc/timer_list tells who made a container: each has its own way."""
    look = "grep ' /proc/timer_list ' /proc/self/mountinfo | cut -d ' ' -f 4"
    (tmp_path / "file").write_text("copied\n")
    (tmp_path / "Dockerfile").write_text(
        f"FROM bb\nCOPY file /\nRUN {look} > /masked && id -u > /who\nUSER 1000\n"
        "CMD cat /file /masked /who; id -u\n"
    )
    assert docker.out("info", "--format={{.DefaultRuntime}}") == "minirun\n"
    docker.out("build", "--network=none", "--tag=built", str(tmp_path))
    ours, theirs = (
        docker.out("run", "--rm", f"--runtime={runtime}", *ALONE, "bb", "sh", "-c", look)
        for runtime in ("minirun", "runc")
    )
    assert ours != theirs
    assert docker.out("run", "--rm", *ALONE, "built") == f"copied\n{ours}0\n1000\n"


def test_update_changes_what_is_named(
    docker: Engine, served: Callable[..., str], runtime: str
) -> None:
    name = served(runtime, "--memory=64m", "--memory-swap=64m", "--pids-limit=32")
    before = docker.tell("exec", name, "sh", "-c", DEVICES)
    docker.out("update", "--memory=32m", "--memory-swap=32m", "--cpus=0.5", name)
    memory, quota, *_, pids = docker.out("exec", name, "cat", *group_files()).split()
    assert (memory, quota, pids) == (str(32 << 20), "50000", "32")
    assert docker.tell("exec", name, "sh", "-c", DEVICES) == before


def test_stats_and_top_see_the_container(
    docker: Engine, served: Callable[..., str], runtime: str
) -> None:
    name = served(runtime, "--memory=64m")
    shown = json.loads(docker.out("stats", "--no-stream", "--format={{json .}}", name))
    assert int(shown["PIDs"]) >= 1
    assert "64MiB" in shown["MemUsage"]
    assert "sh -c trap" in docker.out("top", name)


def test_memory_exhaustion_is_reported(docker: Engine, runtime: str) -> None:
    """The one that is killed is not init: where its group goes with it, the engine may miss it.

    Nor is it there from the beginning: the engine begins to listen when start has returned.
    """
    limits = ("--memory=16m", "--memory-swap=16m")
    eat = "a=xxxxxxxx; while :; do a=$a$a; done"
    words = (f"--runtime={runtime}", *ALONE, *limits, "bb", "sh", "-c")
    assert docker.run("run", "--rm", *words, eat).returncode == 137
    heard = ("events", "--filter=container=eater", "--filter=event=oom", "--since=5m", "--until=0s")
    try:
        docker.out("run", "--detach", "--name=eater", *words, "sleep 1000")
        assert docker.run("exec", "eater", "sh", "-c", eat).returncode == 137
        wait_until(lambda: "container oom" in docker.out(*heard), "nobody hears of it")
        docker.out("kill", "eater")
        was_killed = ("inspect", "--format={{.State.OOMKilled}}", "eater")
        wait_until(lambda: docker.out(*was_killed) == "true\n", "it is not in the state")
    finally:
        docker.run("rm", "--force", "eater")


def test_restart_policy(docker: Engine, runtime: str) -> None:
    words = ("--detach", "--name=again", f"--runtime={runtime}", *ALONE, "--restart=on-failure:1")
    state = ("inspect", "--format={{.State.Status}} {{.RestartCount}} {{.State.ExitCode}}", "again")
    try:
        docker.out("run", *words, "bb", "sh", "-c", "exit 3")
        wait_until(lambda: docker.out(*state) == "exited 1 3\n", "the container goes on restarting")
    finally:
        docker.run("rm", "--force", "again")


def test_health_check(docker: Engine, served: Callable[..., str], runtime: str) -> None:
    name = served(runtime, "--health-cmd=true", "--health-interval=1s")
    state = ("inspect", "--format={{.State.Health.Status}}", name)
    wait_until(lambda: docker.out(*state) == "healthy\n", "the probe never succeeds")


def test_twenty_at_once(docker: Engine) -> None:
    """What if an orchestrator starts a whole deployment: no start may disturb another."""
    from concurrent.futures import ThreadPoolExecutor

    def start(number: int) -> str:
        words = ("run", "--rm", "--runtime=minirun", *ALONE, "bb", "echo", str(number))
        return docker.out(*words).strip()

    with ThreadPoolExecutor(20) as pool:
        assert list(pool.map(start, range(20))) == [str(number) for number in range(20)]


def test_info_knows_our_features(docker: Engine) -> None:
    assert "minirun" in docker.out("info", "--format={{json .Runtimes}}")
