"""dockerd with minirun-oci below it: what its users see must be what they see with runc."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest

from tests.engines.lab import SERVE, Engine, wait_until

pytestmark = pytest.mark.requires("root", "docker", "runc", "busybox")

ALONE = ("--network=none",)
# What hides a path of /proc is a matter of the runtime's own.
MOUNTS = "mount | grep -v -e cgroup -e ext4 -e ' /proc/'"
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
        "--ulimit=nofile=64:64", "--memory=64m", "--pids-limit=32", "--cpu-shares=256", "bb", "cat",
        "/proc/self/limits", "/sys/fs/cgroup/memory/memory.limit_in_bytes",
        "/sys/fs/cgroup/pids/pids.max", "/sys/fs/cgroup/cpu/cpu.shares",
    ],
    "mounts": ["bb", "sh", "-c", f"{MOUNTS} | grep -o ' on .* (r[ow]'; ls /dev"],
    "names": ["--hostname=box", "bb", "hostname"],
    "masked": ["bb", "sh", "-c", "cat /proc/kcore | wc -c; echo 1 > /proc/sys/vm/swappiness"],
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


def test_update_changes_what_is_named(
    docker: Engine, served: Callable[..., str], runtime: str
) -> None:
    name = served(runtime, "--memory=64m", "--memory-swap=64m", "--pids-limit=32")
    files = ["memory/memory.limit_in_bytes", "cpu/cpu.shares", "pids/pids.max"]
    devices = ("exec", name, "cat", "/sys/fs/cgroup/devices/devices.list")
    before = docker.out(*devices)
    docker.out("update", "--memory=32m", "--memory-swap=32m", "--cpu-shares=512", name)
    shown = docker.out("exec", name, "cat", *(f"/sys/fs/cgroup/{file}" for file in files))
    assert shown.split() == [str(32 << 20), "512", "32"]
    assert docker.out(*devices) == before


def test_stats_and_top_see_the_container(
    docker: Engine, served: Callable[..., str], runtime: str
) -> None:
    name = served(runtime, "--memory=64m")
    shown = json.loads(docker.out("stats", "--no-stream", "--format={{json .}}", name))
    assert int(shown["PIDs"]) >= 1
    assert "64MiB" in shown["MemUsage"]
    assert "sh -c trap" in docker.out("top", name)


def test_memory_exhaustion_is_reported(docker: Engine, runtime: str) -> None:
    limits = ("--memory=16m", "--memory-swap=16m")
    eat = "a=xxxxxxxx; while :; do a=$a$a; done"
    words = ("--name=eater", f"--runtime={runtime}", *ALONE, *limits, "bb", "sh", "-c", eat)
    try:
        assert docker.run("run", *words).returncode == 137
        assert docker.out("inspect", "--format={{.State.OOMKilled}}", "eater") == "true\n"
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
