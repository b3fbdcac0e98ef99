"""Names that climb, numbers that are none: ids, groups and users from the caller or the image.

CVE-2026-30892, CVE-2026-46680, CVE-2024-40635: a user such as ``4294967296``, ``0x1`` or ``1 `` is
read by a sloppy parser as 0, which is root. crun before 1.29: ``..`` in a cgroup's path or in the
name given to ``exec --cgroup`` leaves the container's groups.

Defence: ``container/users.py`` (ASCII digits, all of them, in range; or a name), ``state.check_id``
and ``cgroups.check_path`` (plain components only).
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from minirun import cgroups, creation, state
from minirun.cgroups import check_path, open_driver
from minirun.container import users
from minirun.errors import MinirunError, SpecError, StateError, UsageError
from minirun.execute import ExecRequest, execute, process_like
from minirun.host import Host, probe
from minirun.lifecycle import Container
from tests.security.lab import Bundle, Outcome, Weakening, act, attempt, put

PASSWD = b"root:x:0:0::/root:/bin/sh\n4294967296:x:0:0::/:/bin/sh\n0x1:x:0:0::/:\n12:x:0:0::/:\n"

HOSTILE_USERS = [
    *("-1", "+1", "1 ", " 1", "1:", ":1", ":", "0x1", "0b1", "1_0", "1e3", "4294967295"),
    *(
        "4294967296",
        "18446744073709551616",
        "99999999999",
        "\u0663",
        "\uff11",
        "\u00b2",
        "-0",
        "--",
        "a:b:c",
    ),
    *("1\n", "1\0", "0:0x0", "0:-1", "0:4294967296", "no such user", "../root"),
]


def sloppy(text: str) -> int:
    """Read a number as C's atoi(3) does, into 32 bits."""
    libc = ctypes.CDLL(None)
    return ctypes.c_uint32(libc.strtoul(text.encode(), None, 0)).value


def test_weak_parser_makes_them_root() -> None:
    rooted = [text for text in HOSTILE_USERS if sloppy(text.partition(":")[0]) == 0]

    assert {"4294967296", ":1", "a:b:c", "no such user"} <= set(rooted)


@pytest.mark.parametrize("text", HOSTILE_USERS)
def test_user_that_is_no_user_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        users.resolve(text, PASSWD)


@pytest.mark.parametrize(("text", "uid"), [("12", 12), ("4294967294", 4294967294), ("00012", 12)])
def test_number_is_not_looked_up_as_a_name(text: str, uid: int) -> None:
    assert users.resolve(text, PASSWD).user.uid == uid


HOSTILE_IDS = [
    *("", ".", "..", "../canary/pwned", "a/b", "/", "/etc", "-x", ".hidden", "a\0b", "a\nb", "ä"),
    *("a b", "a;b", "a" * 2000, "..%2f", "a\\b", "~"),
]


@pytest.mark.parametrize("name", HOSTILE_IDS)
def test_id_that_is_no_plain_name_is_refused(name: str) -> None:
    with pytest.raises(StateError, match="invalid container ID format"):
        state.check_id(name)


@pytest.mark.requires("root", "busybox")
def test_weak_runtime_keeps_its_state_where_the_id_leads(bundle: Bundle) -> None:
    """The same id against a runtime that does not look, and against ours."""
    away = os.path.relpath(bundle.canary / "pwned", bundle.state_root)

    def live() -> Outcome:
        container = Container(str(bundle.state_root), away, Host())
        os.makedirs(container.directory.path)
        return Outcome(output=container.directory.path)

    def weak() -> Outcome:
        for module in (state, creation):
            put(module, "check_id", lambda _: None)()
        return live()

    assert Outcome(**act(weak)).output
    assert (bundle.canary / "pwned").is_dir()
    (bundle.canary / "pwned").rmdir()
    assert "invalid container ID format" in Outcome(**act(live)).error
    assert not (bundle.canary / "pwned").exists()


HOSTILE_GROUPS = [
    *("..", "../x", "minirun/../../x", "/../x", "minirun/..", "a/./b", ".", "", "/", "//", "a\nb"),
]


@pytest.mark.parametrize("path", HOSTILE_GROUPS)
def test_group_that_climbs_is_refused(path: str) -> None:
    """Joining the strings, as a weak runtime does, ends outside for those with two dots."""
    joined = os.path.normpath(f"/sys/fs/cgroup/memory/minirun/{path}")

    assert joined.startswith("/sys/fs/cgroup/memory/minirun/") is (path in {"a/./b", "a\nb"})
    with pytest.raises(SpecError):
        check_path(path)
    with pytest.raises(SpecError):
        open_driver(Host(), path)


def weak_paths() -> list[Weakening]:
    """Return a runtime that joins the strings as they come."""
    looks = ((cgroups, "check_path"), (sys.modules["minirun.execute"], "check_path"))
    blind = [put(creation, "validate", lambda *_: None)]
    return blind + [put(module, name, lambda path: path) for module, name in looks]


@pytest.mark.requires("root", "busybox", "cgroups")
def test_weak_runtime_goes_where_the_cgroups_path_leads(bundle: Bundle) -> None:
    """Out of its folder, and back: a test makes no group where it has none to make."""
    name = f"replay-escape-{os.getpid()}"
    bundle.config["linux"]["cgroupsPath"] = f"minirun/../minirun/{name}"
    bundle.run("cat", "/proc/self/cgroup")

    assert f"/minirun/{name}" in attempt(bundle, *weak_paths()).output
    assert "$.linux.cgroupsPath" in attempt(bundle).error


@pytest.mark.requires("root", "busybox")
@pytest.mark.parametrize("path", ["minirun/../replay-escape", "/minirun/../../replay-escape"])
def test_cgroups_path_of_a_config_does_not_climb(bundle: Bundle, path: str) -> None:
    bundle.config["linux"]["cgroupsPath"] = path

    outcome = attempt(bundle)

    assert "$.linux.cgroupsPath" in outcome.error, outcome
    for place in ("replay-escape", "*/replay-escape"):
        assert not list(Path("/sys/fs/cgroup").glob(place))


@pytest.mark.requires("root", "busybox")
@pytest.mark.parametrize("group", ["..", "../..", "memory:../..", "x/../../..", "cpu:/../.."])
def test_exec_cannot_leave_the_groups_of_its_container(bundle: Bundle, group: str) -> None:
    bundle.script("sleep 20")

    def join(container: Container) -> None:
        process = process_like(container.directory.read_spec(), ["true"])
        try:
            execute(container, process, ExecRequest(cgroups=(group,)))
        except MinirunError as error:
            (bundle.path / "refusal").write_text(str(error))
        finally:
            container.kill(9)

    outcome = attempt(bundle, during=join)

    assert outcome.ran, outcome
    assert "is no path to a group" in (bundle.path / "refusal").read_text()


@pytest.fixture
def neighbour() -> Iterator[str]:
    """Give a group that is another container's."""
    name = f"replay-next-{os.getpid()}"
    driver = open_driver(probe(), f"minirun/{name}")
    driver.create()
    driver.claim.release()
    yield name
    driver.delete()


@pytest.mark.requires("root", "busybox", "cgroups")
@pytest.mark.parametrize("weak", [True, False])
def test_exec_cannot_join_the_neighbours_group(bundle: Bundle, neighbour: str, weak: bool) -> None:
    bundle.script("sleep 20")
    loot = bundle.path / "loot"

    def join(container: Container) -> None:
        process = process_like(container.directory.read_spec(), ["sleep", "20"])
        try:
            pid = execute(container, process, ExecRequest(cgroups=(f"../{neighbour}",))).pid
            loot.write_text(Path(f"/proc/{pid}/cgroup").read_text())
            os.kill(pid, 9)
            os.waitpid(pid, 0)
        except MinirunError as error:
            loot.write_text(str(error))
        finally:
            container.kill(9)

    outcome = attempt(bundle, *(weak_paths() if weak else ()), during=join)

    assert outcome.ran, outcome
    assert (f"/minirun/{neighbour}\n" in loot.read_text()) == weak
    assert ("is no path to a group" in loot.read_text()) != weak
