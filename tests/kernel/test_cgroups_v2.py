"""The v2 driver on real groups, wherever a v2 tree is mounted, with the controllers it has.

On a hybrid host these tests run in the bare v2 tree: its shape, killing, freezing and the device
program need no controller. The tests of limits ask for the memory and pids controllers.
"""

from __future__ import annotations

import errno
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from minirun.cgroups.tree import make_group
from minirun.cgroups.v2 import V2Driver
from minirun.decode import decode
from minirun.errors import HostError, StateError, SyscallError
from minirun.host import Host, probe
from minirun.record import replace
from minirun.spec_resources import Resources

pytestmark = pytest.mark.requires("root")

MIB = 1 << 20
Spawn = Callable[[Callable[[], object]], int]


def resources(**given: dict[str, Any] | list[dict[str, Any]]) -> Resources:
    return decode(Resources, given)


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    """Return the host, seen as one with v2 alone; at the end take `minirun` away if it is ours."""
    found = probe()
    if found.cgroup2 is None:
        pytest.skip("missing feature: a mounted cgroup2 tree")
    top = Path(found.cgroup2.base, "minirun")
    ours = not top.exists()
    control = top.parent / "cgroup.subtree_control"
    before = set(control.read_text().split())
    v2 = {name: where for name, where in found.controllers.items() if where.version == 2}
    yield replace(found, cgroup_mode="v2", controllers=v2)
    if ours and top.exists() and not any(child.is_dir() for child in top.iterdir()):
        top.rmdir()
        for controller in set(control.read_text().split()) - before:
            control.write_text(f"-{controller}")


@pytest.fixture
def driver(host: Host) -> Iterator[V2Driver]:
    made = V2Driver(host, f"minirun/test-{os.getpid()}")
    try:
        yield made
    finally:
        made.kill()
        made.delete()
        assert not made.exists()


@pytest.fixture
def spawn(driver: V2Driver) -> Iterator[Spawn]:
    """Return a function that runs another one in a child inside the group."""
    children: list[int] = []

    def start(body: Callable[[], object]) -> int:
        ready, go = os.pipe()
        pid = os.fork()
        if pid == 0:
            code = 99
            try:
                driver.join()
                os.write(go, b"x")
                result = body()
                code = result if isinstance(result, int) else 0
            except OSError as error:
                code = error.errno or 98
            finally:
                os._exit(code)
        os.close(go)
        children.append(pid)
        os.read(ready, 1)
        os.close(ready)
        return pid

    yield start
    for pid in children:
        try:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        except (ProcessLookupError, ChildProcessError):
            continue


def exit_code(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def sleep_forever() -> None:
    while True:
        signal.pause()


def test_create_hands_every_controller_down(driver: V2Driver, host: Host) -> None:
    driver.create()
    given = set(Path(driver.directory, "cgroup.controllers").read_text().split())
    assert given == set(host.controllers)


def test_create_refuses_a_group_in_use(driver: V2Driver, spawn: Spawn) -> None:
    driver.create()
    pid = spawn(sleep_forever)
    with pytest.raises(StateError, match=f"in use by 1 processes, such as {pid}"):
        driver.create()


def test_create_refuses_a_frozen_group(driver: V2Driver) -> None:
    driver.create()
    driver.freeze()
    with pytest.raises(StateError, match="is frozen"):
        driver.create()


def test_process_joins_and_is_listed(driver: V2Driver, spawn: Spawn) -> None:
    driver.create()
    pid = spawn(sleep_forever)
    assert driver.pids() == [pid]
    assert f"0::/{driver.path}\n" in Path(f"/proc/{pid}/cgroup").read_text()


def test_freeze_waits_until_frozen_and_thaw_undoes_it(driver: V2Driver, spawn: Spawn) -> None:
    driver.create()
    spawn(sleep_forever)
    driver.freeze()
    assert driver.frozen()
    driver.thaw()
    assert not driver.frozen()


@pytest.mark.parametrize("by_hand", [False, True])
def test_kill_reaches_forks_nested_groups_and_the_frozen(
    driver: V2Driver, spawn: Spawn, by_hand: bool
) -> None:
    driver.create()
    inner = Path(driver.directory, "inner")

    def family() -> None:
        inner.mkdir()
        if os.fork() == 0:
            (inner / "cgroup.procs").write_text("0")
        os.fork()
        sleep_forever()

    pid = spawn(family)
    while len(driver.pids()) < 4 or len(driver.pids(recursive=False)) > 2:
        os.sched_yield()
    driver.freeze()
    if by_hand:
        driver._kill_by_hand()
    else:
        driver.kill()
    assert exit_code(pid) == -signal.SIGKILL
    driver.delete()
    assert not inner.exists()


def test_add_follows_init_into_an_inner_group(driver: V2Driver, host: Host, spawn: Spawn) -> None:
    """What if the container has groups of its own, as systemd makes? Its top takes no process."""
    if not host.controllers:
        pytest.skip("missing feature: any cgroup2 controller")
    driver.create()
    init = spawn(sleep_forever)
    inner = Path(driver.directory, "init.scope")
    inner.mkdir()
    (inner / "cgroup.procs").write_text(str(init))
    make_group(driver.directory, f"{driver.directory}/other")
    newcomer = os.fork()
    if newcomer == 0:
        sleep_forever()
    try:
        with pytest.raises(SyscallError) as caught:
            driver.add(newcomer)
        assert caught.value.errno == errno.EBUSY
        driver.add(newcomer, beside=init)
        assert str(newcomer) in (inner / "cgroup.procs").read_text().split()
        with pytest.raises(StateError, match="has left the container's cgroup"):
            driver.add(newcomer, beside=os.getpid())
    finally:
        os.kill(newcomer, signal.SIGKILL)
        os.waitpid(newcomer, 0)


def test_delegate_gives_away_the_directory_and_no_limit(driver: V2Driver) -> None:
    driver.create()
    driver.delegate(1234, 1235)
    top = Path(driver.directory)
    assert (top.stat().st_uid, top.stat().st_gid) == (1234, 1235)
    assert (top / "cgroup.procs").stat().st_uid == 1234
    assert (top / "cgroup.max.depth").stat().st_uid == 0


def test_making_room_moves_the_processes_of_a_delegated_group_down(
    driver: V2Driver, host: Host, spawn: Spawn
) -> None:
    """What if minirun itself runs inside the group that it was given?"""
    if not host.controllers:
        pytest.skip("missing feature: any cgroup2 controller")
    driver.create()

    def nested() -> int:
        make_group(driver.directory, f"{driver.directory}/minirun/web")
        moved = f"0::/{driver.path}/minirun-self\n" in Path("/proc/self/cgroup").read_text()
        given = Path(driver.directory, "minirun/web/cgroup.controllers").read_text().split()
        return 0 if moved and set(given) == set(host.controllers) else 1

    assert exit_code(spawn(nested)) == 0


def test_devices_are_filtered(driver: V2Driver, spawn: Spawn, tmp_path: Path) -> None:
    driver.create()
    driver.apply(None)
    for name, number in (("null", (1, 3)), ("kmsg", (1, 11))):
        os.mknod(tmp_path / name, 0o20600, os.makedev(*number))
    assert exit_code(spawn(lambda: os.open(tmp_path / "null", os.O_RDONLY) * 0)) == 0
    kmsg = spawn(lambda: os.open(tmp_path / "kmsg", os.O_RDONLY) * 0)
    assert exit_code(kmsg) == errno.EPERM


def test_missing_file_is_told_from_a_missing_group(driver: V2Driver) -> None:
    unified = decode(Resources, {"unified": {"cgroup.no-such-file": "1"}})
    with pytest.raises(StateError, match="does not exist"):
        driver.update(unified)
    driver.create()
    with pytest.raises(HostError, match=r"cgroup\.no-such-file is not offered"):
        driver.update(unified)


# ── limits: a host with v2 controllers ────────────────────────────────────────────────────────


@pytest.mark.requires("cgroup2")
def test_memory_limit_kills_who_exceeds_it(driver: V2Driver, spawn: Spawn) -> None:
    driver.create()
    driver.apply(resources(memory={"limit": 32 * MIB, "swap": 32 * MIB}))

    def eat() -> None:
        held = bytearray(64 * MIB)
        held[::4096] = b"x" * len(held[::4096])

    assert exit_code(spawn(eat)) == -signal.SIGKILL
    assert driver.oom_kills() == 1
    assert driver.stats().memory.limit_bytes == 32 * MIB
    assert driver.stats().memory.swap_limit_bytes in (0, None)


@pytest.mark.requires("cgroup2")
def test_pids_limit_stops_a_fork(driver: V2Driver, spawn: Spawn) -> None:
    driver.create()
    driver.apply(resources(pids={"limit": 1}))
    assert exit_code(spawn(os.fork)) == errno.EAGAIN
    assert driver.stats().pids.limit == 1


@pytest.mark.requires("cgroup2")
def test_update_completes_the_other_half_of_a_pair(driver: V2Driver) -> None:
    driver.create()
    driver.apply(resources(cpu={"quota": 20000, "shares": 512}, memory={"limit": 64 * MIB}))
    driver.update(resources(cpu={"period": 50000}, memory={"swap": 96 * MIB}))
    top = Path(driver.directory)
    assert (top / "cpu.max").read_text() == "20000 50000\n"
    assert (top / "cpu.weight").read_text() == "59\n"
    assert (top / "memory.swap.max").read_text() == f"{32 * MIB}\n"
    assert (top / "memory.max").read_text() == f"{64 * MIB}\n"


@pytest.mark.requires("cgroup2")
def test_cpu_quota_throttles(driver: V2Driver, spawn: Spawn) -> None:
    driver.create()
    driver.apply(resources(cpu={"quota": 1000, "period": 10000}))

    def spin() -> None:
        while True:
            pass

    spawn(spin)
    # The time is added when a throttled group runs again, so it may lag behind the count.
    deadline = time.monotonic() + 60
    while not driver.stats().cpu.throttled_ns:
        group = Path(driver.directory)
        assert time.monotonic() < deadline, (group / "cpu.stat").read_text()
        os.sched_yield()
    assert driver.stats().cpu.throttled_periods > 0
