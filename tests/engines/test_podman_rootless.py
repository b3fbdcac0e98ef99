"""An ordinary user's podman with minirun-oci below it, command by command against runc."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.engines.lab import MINIRUN, SERVE
from tests.integration.rootless_lab import UID, User, make_home, remove_home

pytestmark = pytest.mark.requires("root", "userns", "podman", "runc", "busybox", "newuidmap")

RUNC = "/usr/sbin/runc"


@pytest.fixture(scope="module")
def user(image: Path) -> Iterator[User]:
    """Return a user with an image in a podman of his own."""
    home = make_home()
    made = User(home)
    (home / "containers.conf").write_text("""
[containers]
netns = "none"
log_driver = "k8s-file"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime_supports_json = ["runc", "minirun-oci"]
runtime_supports_nocgroup = ["crun", "minirun-oci"]
stop_timeout = 2
""")
    (home / "storage.conf").write_text(f"""
[storage]
driver = "vfs"
graphroot = "{home}/graph"
runroot = "{home}/runtime/storage"
""")
    made.environment |= {
        "CONTAINERS_CONF": f"{home}/containers.conf",
        "CONTAINERS_STORAGE_CONF": f"{home}/storage.conf",
    }
    archive = home / "image.tar"
    archive.write_bytes(image.read_bytes())
    done = made.run("podman", "import", archive, "bb")
    assert done.returncode == 0, done.stderr
    yield made
    made.run("podman", "rm", "--all", "--force", "--time=0")
    made.run("podman", "system", "migrate")  # ends the process that keeps his namespace
    made.close()
    remove_home(home)


Tell = Callable[..., str]


def teller(user: User, runtime: str) -> Tell:
    """Return what runs one command with a runtime, and returns exit code and output."""

    def tell(*words: str, terminal: bool = False) -> str:
        argv = ["podman", f"--runtime={runtime}", *words]
        if terminal:
            argv = ["script", "--quiet", "--return", "--command", shlex.join(argv), "/dev/null"]
        done = user.run(*argv)
        return f"{done.returncode} {done.stdout}".replace("\r", "")

    return tell


def agreed(user: User, transcript: Callable[[Tell], list[str]]) -> list[str]:
    """Return the transcript with minirun-oci, which must be that with runc."""
    theirs, ours = (transcript(teller(user, runtime)) for runtime in (RUNC, str(MINIRUN)))
    assert ours == theirs
    return ours


def test_run(user: User) -> None:
    def transcript(tell: Tell) -> list[str]:
        run = ("run", "--rm", "--volume", f"{user.home}/bundle:/vol")
        return [
            tell(*run, "bb", "sh", "-c", "id -u; cat /proc/self/uid_map; echo x > /vol/x; exit 5"),
            tell(*run, "--user=7:8", "bb", "sh", "-c", "id -u; id -g; cat /vol/x; echo y > /y"),
            tell(*run, "--read-only", "bb", "sh", "-c", "echo x > /x"),
            tell(*run, "bb", "nope"),
            tell(*run, "bb", "/etc"),
            tell(*run, "--tty", "bb", "sh", "-c", "test -t 0 && tty", terminal=True),
            tell(*run, "--hostname=box", "--ulimit=nofile=64:64", "bb", "sh", "-c",
                 "hostname; grep -E '^(Cap|NoNew|Secc)' /proc/self/status; cat /proc/self/limits"),
        ]  # fmt: skip

    (user.home / "bundle").mkdir()
    os.chown(user.home / "bundle", UID, UID)
    told = agreed(user, transcript)
    assert [line.split()[0] for line in told] == ["5", "1", "1", "127", "126", "0", "0"]
    assert told[5] == "0 /dev/pts/0\n"
    assert (user.home / "bundle/x").stat().st_uid == UID


def test_life_and_exec(user: User) -> None:
    def transcript(tell: Tell) -> list[str]:
        status = ("inspect", "--format={{.State.Status}} {{.State.ExitCode}}", "life")
        run = ("run", "--detach", "--name=life", "bb", "sh", "-c", SERVE)
        try:
            return [
                tell(*run).split()[0],
                tell(*status),
                tell("exec", "life", "sh", "-c", "echo in; exit 4"),
                tell("exec", "--tty", "life", "tty", terminal=True),
                tell("exec", "--user=7", "life", "id", "-u"),
                tell("exec", "life", "nope"),
                tell("stop", "--time=10", "life"),
                tell(*status),
                tell("logs", "life"),
            ]
        finally:
            tell("rm", "--force", "--time=0", "life")

    told = agreed(user, transcript)
    assert told[1] == "0 running 0\n"
    assert told[-2:] == ["0 exited 9\n", "0 up\nbye\n"]


@pytest.mark.requires("slirp4netns")
def test_network(user: User) -> None:
    """The server is in a namespace that podman made, and the client joins it by path."""

    def transcript(tell: Tell) -> list[str]:
        serve = ("run", "--detach", "--name=server", "--network=slirp4netns", "bb", "nc", "-ll")
        ask = "until nc 127.0.0.1 8080; do :; done; ip address show tap0 | grep -c inet"
        try:
            return [
                tell(*serve, "-p", "8080", "-e", "echo", "hello").split()[0],
                tell("run", "--rm", "--network=container:server", "bb", "sh", "-c", ask),
            ]
        finally:
            tell("rm", "--force", "--time=0", "server")

    assert agreed(user, transcript)[1].startswith("0 hello\n")
