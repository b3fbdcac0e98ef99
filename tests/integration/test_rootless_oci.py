"""``minirun-oci`` without root: an ordinary user makes, enters and removes containers."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.oci_lab import MINIRUN
from tests.integration.rootless_lab import (
    COUNT,
    FIRST,
    UID,
    Bundle,
    User,
    make_home,
    remove_home,
)

pytestmark = pytest.mark.requires("root", "userns", "busybox", "newuidmap")

RANGES: dict[str, Any] = {
    f"{kind}Mappings": [
        {"containerID": 0, "hostID": UID, "size": 1},
        {"containerID": 1, "hostID": FIRST, "size": COUNT},
    ]
    for kind in ("uid", "gid")
}


@pytest.fixture(scope="module")
def user() -> Iterator[User]:
    """Return a user with a range of ids."""
    home = make_home()
    made = User(home)
    yield made
    made.close()
    remove_home(home)


@pytest.fixture(scope="module")
def shared_bundle(user: User) -> Bundle:
    """Return his bundle."""
    return Bundle(user)


@pytest.fixture
def bundle(shared_bundle: Bundle) -> Iterator[Bundle]:
    """Return it with no container left over."""
    yield shared_bundle
    shared_bundle.delete_all()


def failing(bundle: Bundle, *words: str) -> str:
    """Run a command that must fail with one line and perhaps a hint; return what it said."""
    done = bundle.oci(*words)
    assert done.returncode == 1, done
    assert "Traceback" not in done.stderr
    return done.stderr


def test_run_with_one_s_own_id_alone(bundle: Bundle) -> None:
    bundle.config("sh", "-c", "id -u; cat /proc/self/uid_map; head -c 3 /dev/zero | wc -c; ls /sys")
    done = bundle.oci("run", "one")
    assert done.stderr == ""
    root, inside, outside, size, zeros, *sys = done.stdout.split()
    assert (root, inside, outside, size, zeros) == ("0", "0", str(UID), "1", "3")
    assert "kernel" in sys


def test_run_with_a_range_and_as_another_user_inside(bundle: Bundle) -> None:
    user = {"uid": 33, "gid": 33, "additionalGids": [100]}
    script = "id -u; id -G; cat /proc/self/gid_map"
    bundle.config("sh", "-c", script, linux=RANGES, user=user)
    done = bundle.oci("run", "ranges")
    assert done.stderr == ""
    numbers = ["33", "33", "100", "0", str(UID), "1", "1", str(FIRST), str(COUNT)]
    assert done.stdout.split() == numbers


def test_life_of_a_container(bundle: Bundle) -> None:
    """Create, start, state, exec, kill, delete: each a command of its own, by one user."""
    bundle.config(
        "sh", "-c", "trap 'exit 7' TERM; echo up > /tmp/up; sleep 1000 & wait", linux=RANGES
    )
    root = ["--root", str(bundle.user.home / "state")]
    held = json.loads((bundle.path / "config.json").read_text())
    held["root"]["readonly"] = False
    (bundle.path / "config.json").write_text(json.dumps(held))
    pid_file = bundle.user.home / "pid"
    made = bundle.oci(*root, "create", "--pid-file", str(pid_file), "life", capture_output=False)
    assert made.returncode == 0
    assert json.loads(bundle.oci(*root, "state", "life").stdout)["status"] == "created"
    assert bundle.oci(*root, "start", "life").returncode == 0
    state = json.loads(bundle.oci(*root, "state", "life").stdout)
    assert (state["status"], state["pid"]) == ("running", int(pid_file.read_text()))
    assert Path(f"/proc/{state['pid']}").stat().st_uid == UID
    execs = bundle.oci(
        *root, "exec", "--user", "5:6", "life", "sh", "-c", "id -u; id -g; cat /proc/1/comm"
    )
    assert (execs.stdout.split(), execs.stderr) == (["5", "6", "sh"], "")
    assert "is not stopped" in failing(bundle, *root, "delete", "life")
    assert bundle.oci(*root, "kill", "life", "KILL").returncode == 0
    assert bundle.oci(*root, "delete", "--force", "life").returncode == 0
    assert os.listdir(bundle.user.home / "state") == []


def test_terminal_and_volume(bundle: Bundle) -> None:
    """What if the container has a terminal, and shows a directory of the user?"""
    (bundle.user.home / "data").mkdir(exist_ok=True)
    bundle.give(bundle.user.home / "data")
    bundle.config("sh", "-c", "tty; touch /data/new; mkdir /data/d", linux=RANGES)
    path = bundle.path / "config.json"
    held = json.loads(path.read_text())
    held["process"]["terminal"] = True
    data = {"destination": "/data", "source": str(bundle.user.home / "data"), "type": "bind"}
    held["mounts"].append({**data, "options": ["rbind", "nosuid"]})
    held["root"]["readonly"] = False
    path.write_text(json.dumps(held))
    done = bundle.oci("run", "terminal", input="")
    assert (done.returncode, done.stdout.split()) == (0, ["/dev/pts/0"]), done.stderr
    assert (bundle.user.home / "data" / "new").stat().st_uid == UID


@pytest.mark.parametrize(
    ("asked", "file"),
    [({"memory": {"limit": 1 << 26}}, "memory"), ({"pids": {"limit": 9}}, "pids.max")],
)
def test_limit_without_a_delegated_group_is_refused_by_name(
    bundle: Bundle, asked: dict[str, Any], file: str
) -> None:
    bundle.config("true", linux={"resources": asked})
    said = failing(bundle, "run", "limited")
    assert file in said
    assert "delegated to this user" in said
    assert "Delegate=yes" in said
    assert "does not exist" in failing(bundle, "state", "limited")


def test_what_only_root_can_have_is_refused_by_name(bundle: Bundle) -> None:
    none: dict[str, Any] = {"uidMappings": [], "gidMappings": []}
    kinds = [{"type": "mount"}, {"type": "uts"}]
    bundle.config("true", linux={**none, "namespaces": kinds})
    assert "without root a container needs a user namespace" in failing(bundle, "run", "a")
    bundle.config("true", user={"uid": 0, "gid": 0, "additionalGids": [5]})
    assert "additionalGids: setgroups is denied here" in failing(bundle, "run", "a")
    path = bundle.path / "config.json"
    bundle.config("true")
    held = json.loads(path.read_text())
    plain = {"destination": "/sys", "type": "sysfs", "source": "sysfs"}
    path.write_text(json.dumps({**held, "mounts": [*held["mounts"], plain]}))
    assert "a sysfs needs a network namespace of its own" in failing(bundle, "run", "a")
    terminals = {"destination": "/dev/pts", "type": "devpts", "options": ["newinstance", "gid=5"]}
    path.write_text(json.dumps({**held, "mounts": [*held["mounts"], terminals]}))
    assert "gid=5: the id is not mapped" in failing(bundle, "run", "a")


def test_range_of_somebody_else_is_refused(bundle: Bundle) -> None:
    """The helper says no; what it says comes with the remedy."""
    foreign = [{"containerID": 0, "hostID": 1, "size": 10}]
    bundle.config("true", linux={"uidMappings": foreign, "gidMappings": foreign})
    said = failing(bundle, "run", "foreign")
    assert "newuidmap: uid range [0-10) -> [1-11) not allowed" in said
    assert "/etc/subuid must grant the range to this user" in said


def test_helper_without_power_is_named(tmp_path: Path) -> None:
    """What if newuidmap lost its set-uid bit, as a copy does?"""
    helper = shutil.which("newuidmap")
    assert helper is not None
    home = make_home()
    user = User(home, over={helper: "#!/bin/sh\nexit 0\n"})
    try:
        bundle = Bundle(user)
        bundle.config("true", linux=RANGES)
        said = failing(bundle, "run", "powerless")
        assert f"{helper} cannot map ids: it is not set-uid root" in said
        assert f"chmod u+s {helper}" in said
    finally:
        user.close()
        remove_home(home)


def test_host_that_forbids_user_namespaces_is_named(bundle: Bundle, tmp_path: Path) -> None:
    """A namespace with a limit of 0 stands for such a host: the switch is each namespace's own."""
    bundle.config("true")
    shutil.copy(bundle.path / "config.json", tmp_path)
    forbid = 'echo 0 > /proc/sys/user/max_user_namespaces && exec "$@"'
    runtime = (MINIRUN, "--root", tmp_path / "state", "run", "--bundle", tmp_path, "forbidden")
    done = subprocess.run(
        ["unshare", "--user", "--map-root-user", "sh", "-c", forbid, "sh", *map(str, runtime)],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 1
    assert "unshare(CLONE_NEWUSER) was refused: no space left on device" in done.stderr
    assert "user.max_user_namespaces is 0; as root: sysctl -w user.max" in done.stderr
