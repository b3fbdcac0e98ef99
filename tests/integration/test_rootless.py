"""``minirun`` without root: an ordinary user builds, runs, enters and removes containers."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.features import cgroup2_mount
from tests.integration.oci_lab import make_bundle
from tests.integration.registry_lab import registry
from tests.integration.rootless_lab import COUNT, FIRST, NAME, UID, User, make_home, remove_home

pytestmark = pytest.mark.requires("root", "userns", "overlay", "busybox", "newuidmap")

#: Goes to the background once it listens.
SERVE = """mkdir /w && echo served > /w/index.html && busybox httpd -p 80 -h /w
busybox mkfifo /up; echo > /up; exec sleep 1000"""
DOCKERFILE = """\
FROM scratch
COPY rootfs /
RUN echo built > /etc/built && chown 33:44 /etc/built && rm /etc/gone
USER 33
CMD ["sh", "-c", "cat /etc/built; id -u; ls /etc"]
"""


@contextlib.contextmanager
def new_user(**options: dict[str, str] | str) -> Iterator[User]:
    """Yield a user with a root file system of his own, and nothing of him left afterwards."""
    home = make_home()
    user = User(home, **options)  # type: ignore[arg-type]
    rootfs = make_bundle(home) / "rootfs"
    (rootfs / "etc" / "gone").write_text("x")
    subprocess.run(["chown", "-Rh", f"{UID}:{UID}", str(home)], check=True)
    try:
        yield user
    finally:
        user.minirun("system", "reconcile")
        user.close()
        remove_home(home)


@pytest.fixture(scope="module")
def shared() -> Iterator[User]:
    """Return a user with a range of ids."""
    with new_user() as made:
        yield made


@pytest.fixture
def user(shared: User) -> Iterator[User]:
    """Return him without a container."""
    yield shared
    for name in shared.minirun("ps", "-aq").stdout.split():
        shared.minirun("rm", "-f", name)


def succeed(user: User, *words: str) -> str:
    """Run ``minirun``; return what it printed."""
    done = user.minirun(*words)
    assert (done.returncode, done.stderr) == (0, ""), words
    return done.stdout


def fail(user: User, *words: str) -> str:
    """Run ``minirun``, which must refuse; return what it said."""
    done = user.minirun(*words)
    assert done.returncode == 125, done
    assert "Traceback" not in done.stderr
    return done.stderr


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def fetch(port: int) -> bytes:
    """Return what a server answers."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=10) as answer:
        body: bytes = answer.read()
        return body


def test_root_inside_is_the_user_outside(user: User) -> None:
    script = "id -u; cat /proc/self/uid_map; touch /data/mine; chown 5 /data/mine"
    (user.home / "data").mkdir()
    os.chown(user.home / "data", UID, UID)
    mount = f"{user.home}/data:/data"
    told = succeed(user, "run", "--rm", "--network=none", "-v", mount, "rootfs", "sh", "-c", script)
    maps = ["0", str(UID), "1", "1", str(FIRST), str(COUNT)]
    assert told.split() == ["0", *maps]
    assert (user.home / "data" / "mine").stat().st_uid == FIRST + 4


def test_life_of_a_container(user: User) -> None:
    """What is started is seen, entered, copied to, stopped and removed by later commands."""
    script = "echo started; trap 'exit 5' TERM; sleep 1000 & wait"
    succeed(user, "run", "-d", "--name", "life", "--network=none", "rootfs", "sh", "-c", script)
    assert succeed(user, "ps", "--format", "{{.Names}}").split() == ["life"]
    assert succeed(user, "exec", "-u", "33:44", "life", "id", "-u").split() == ["33"]
    (user.home / "file").write_text("copied")
    succeed(user, "cp", "file", "life:/tmp/file")
    assert succeed(user, "exec", "life", "cat", "/tmp/file") == "copied"
    assert "sleep 1000" in succeed(user, "top", "life")
    assert succeed(user, "logs", "life") == "started\n"
    succeed(user, "stop", "life")
    assert succeed(user, "wait", "life") == "5\n"
    succeed(user, "start", "life")
    succeed(user, "rm", "-f", "life")
    assert succeed(user, "ps", "-aq") == ""


def test_keeper_may_be_killed_and_nothing_is_lost(user: User) -> None:
    succeed(user, "run", "-d", "--name", "kept", "--network=none", "rootfs", "sleep", "1000")
    before = user.keeper()
    pidfd = os.pidfd_open(before)
    os.kill(before, 9)
    select.select([pidfd], [], [])
    os.close(pidfd)
    assert succeed(user, "exec", "kept", "id", "-u").split() == ["0"]
    assert user.keeper() != before
    succeed(user, "rm", "-f", "kept")


def test_image_is_built_pushed_pulled_and_run(user: User, tmp_path: Path) -> None:
    (user.home / "Dockerfile").write_text(DOCKERFILE)
    with registry(tmp_path / "registry") as host:
        name = f"{host}/built:1"
        assert user.minirun("build", "-t", name, ".").returncode == 0
        assert user.minirun("push", name).returncode == 0
        succeed(user, "rmi", name)
        assert user.minirun("pull", name).returncode == 0
        told = succeed(user, "run", "--rm", "--network=none", name)
    built, uid, *files = told.split()
    assert (built, uid) == ("built", "33")
    assert "passwd" in files
    assert "gone" not in files


@pytest.mark.requires("pasta")
def test_published_port_leads_inside_through_pasta(user: User) -> None:
    _serve(user)


@pytest.mark.requires("slirp4netns")
def test_published_port_leads_inside_through_slirp4netns() -> None:
    """What if pasta is not installed?"""
    with new_user(over={"/usr/bin/pasta": ""}) as other:
        _serve(other)


def _serve(user: User) -> None:
    port = free_port()
    publish = f"127.0.0.1:{port}:80"
    succeed(user, "run", "-d", "--name", "web", "-p", publish, "rootfs", "sh", "-c", SERVE)
    succeed(user, "exec", "web", "sh", "-c", "until [ -p /up ]; do :; done; cat /up")
    assert fetch(port) == b"served\n"
    assert succeed(user, "port", "web") == f"80/tcp -> 127.0.0.1:{port}\n"
    told = succeed(user, "exec", "web", "busybox", "ip", "-4", "addr", "show", "eth0")
    assert "10.0.2.100/24" in told
    succeed(user, "rm", "-f", "web")
    socket.create_server(("127.0.0.1", port)).close()  # nobody listens there any more
    assert not list((user.home / "runtime" / "minirun" / ".usermode").iterdir())


@pytest.mark.requires("pasta")
def test_host_s_own_loopback_is_out_of_reach(user: User) -> None:
    """By default pasta shows the host's 127.0.0.1 at the gateway, and forwards every port."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        connect = f"busybox nc -w 1 $ip {port} </dev/null && echo in"
        script = f"for ip in 10.0.2.2 127.0.0.1; do {connect}; done"
        done = user.minirun("run", "--rm", "rootfs", "sh", "-c", script)
        assert (done.returncode, done.stdout) == (1, "")


def test_network_of_the_host_and_none(user: User) -> None:
    script = "ls /sys; ls -l /proc/self/ns/net"
    host = succeed(user, "run", "--rm", "--network=host", "rootfs", "sh", "-c", script)
    assert "kernel" in host.split()
    assert os.readlink("/proc/self/ns/net") in host
    none = succeed(user, "run", "--rm", "--network=none", "rootfs", "busybox", "ip", "-o", "link")
    assert len(none.splitlines()) == 1


def test_what_needs_root_is_refused_by_name(user: User) -> None:
    said = fail(user, "run", "--rm", "-m", "64m", "rootfs", "true")
    assert "no control group is delegated to this user" in said
    said = fail(user, "run", "--rm", "--userns=auto", "rootfs", "true")
    assert "--userns auto needs root" in said
    said = fail(user, "run", "--rm", "-p", "80:80", "rootfs", "true")
    assert "cannot publish on 0.0.0.0:80/tcp: the port is for root" in said
    assert succeed(user, "ps", "-aq") == ""


@contextlib.contextmanager
def delegated_group() -> Iterator[Path]:
    """Yield a group of version 2 as systemd delegates it: the one inside a group of the user's."""
    tree = cgroup2_mount()
    assert tree is not None
    top = tree / "minirun" / f"user-{os.getpid()}"
    for group in (tree, top.parent, top):
        group.mkdir(exist_ok=True)
        (group / "cgroup.subtree_control").write_text("+memory +pids")
    own = top / "own"
    own.mkdir()
    for path in (top, own, *top.glob("cgroup.[pst]*"), own / "cgroup.procs"):
        os.chown(path, UID, UID)
    try:
        yield own
    finally:
        for group in sorted(top.rglob("*/"), reverse=True):
            group.rmdir()
        top.rmdir()


@pytest.mark.requires("cgroup2")
def test_limits_hold_in_a_delegated_group(user: User) -> None:
    script = "cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/pids.max"
    limits = ("-m", "64m", "--pids-limit", "20")
    run = ("run", "--rm", "--network=none", *limits, "rootfs", "sh", "-c", script)
    with delegated_group() as group:
        done = user.minirun(*run, group=group)
        assert (done.stdout.split(), done.stderr) == ([str(64 << 20), "20"], "")
        cold = ("--name", "cold", "--network=none", "rootfs", "sleep", "1000")
        user.minirun("run", "-d", *cold, group=group)
        for verb in ("pause", "unpause", "rm -f"):
            done = user.minirun(*verb.split(), "cold", group=group)
            assert (done.returncode, done.stderr) == (0, ""), verb


def test_without_a_program_for_the_network_it_says_what_to_install() -> None:
    with new_user(over={"/usr/bin/pasta": "", "/usr/bin/slirp4netns": ""}) as other:
        said = fail(other, "run", "--rm", "rootfs", "true")
        assert "pasta or slirp4netns, and neither is installed" in said
        assert "apt-get install passt" in said
        succeed(other, "run", "--rm", "--network=none", "rootfs", "true")


def test_user_without_a_range_is_told_how_to_get_one() -> None:
    with new_user(ranges="") as other:
        said = fail(other, "run", "--rm", "rootfs", "true")
        assert f"/etc/subuid grants no ids to {NAME}" in said
        assert "usermod --add-subuids 100000-165535" in said
        assert "explain" in other.minirun("--help").stdout
        assert "[1/" in succeed(other, "explain", "rootfs")  # this needs no rights at all


def test_directory_in_tmp_must_be_the_user_s_alone(user: User) -> None:
    """What if there is no XDG_RUNTIME_DIR, and somebody was there first?"""
    environment = {k: v for k, v in user.environment.items() if k != "XDG_RUNTIME_DIR"}
    place = Path(f"/tmp/minirun-{UID}")
    place.mkdir(mode=0o755)
    try:
        done = user.minirun("ps", env=environment)
        assert f"{place} is not a directory of this user alone" in done.stderr
        assert "set XDG_RUNTIME_DIR" in done.stderr
    finally:
        place.rmdir()
