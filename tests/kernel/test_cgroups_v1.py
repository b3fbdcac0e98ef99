"""The v1 driver on real groups: limits bind, and nothing is left."""

from __future__ import annotations

import errno
import os
import select
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from minirun.cgroups import open_driver
from minirun.cgroups.driver import Driver
from minirun.cgroups.files import remove_directory
from minirun.decode import decode
from minirun.errors import HostError, StateError, SyscallError
from minirun.host import Host, probe
from minirun.spec_resources import DeviceRule, Resources

pytestmark = pytest.mark.requires("cgroup1")

MIB = 1 << 20


def resources(**given: dict[str, Any] | list[dict[str, Any]]) -> Resources:
    return decode(Resources, given)


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    """Return the host; at the end take `minirun` away where these tests were the first there."""
    found = probe()
    tops = [Path(where.base, "minirun") for where in found.controllers.values()]
    ours = [top for top in dict.fromkeys(tops) if not top.exists()]
    # Limiting huge pages hands the controller down from the top of the v2 tree.
    control = Path(found.cgroup2.base if found.cgroup2 else "", "cgroup.subtree_control")
    before = set(control.read_text().split()) if found.cgroup2 else set()
    yield found
    for top in ours:
        if top.exists() and not any(child.is_dir() for child in top.iterdir()):
            top.rmdir()
    if found.cgroup2 and not Path(found.cgroup2.base, "minirun").exists():
        for controller in set(control.read_text().split()) - before:
            control.write_text(f"-{controller}")


@pytest.fixture
def driver(host: Host) -> Iterator[Driver]:
    made = open_driver(host, f"minirun/test-{os.getpid()}")
    try:
        yield made
    finally:
        made.thaw()
        made.kill()
        made.delete()
        assert not made.exists()


@pytest.fixture
def spawn(driver: Driver) -> Iterator[Callable[[Callable[[], object]], int]]:
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


def file(driver: Driver, controller: str, name: str) -> str:
    return Path(driver.dirs[controller], name).read_text().strip()


# ── life ──────────────────────────────────────────────────────────────────────────────────────


def test_create_makes_a_group_in_every_v1_hierarchy(driver: Driver, host: Host) -> None:
    driver.create()
    for name, where in host.controllers.items():
        assert Path(driver.dirs[name]).is_dir() == (where.version == 1), name


def test_create_twice_reuses_an_empty_group(driver: Driver) -> None:
    driver.create()
    driver.create()
    assert driver.exists()


def test_create_refuses_a_group_in_use(
    driver: Driver, spawn: Callable[[Callable[[], object]], int]
) -> None:
    driver.create()
    pid = spawn(sleep_forever)
    with pytest.raises(StateError, match=f"in use by 1 processes, such as {pid}"):
        driver.create()


def test_create_refuses_a_frozen_group(driver: Driver) -> None:
    driver.create()
    driver.freeze()
    with pytest.raises(StateError, match="is frozen"):
        driver.create()


def test_create_that_fails_leaves_nothing(driver: Driver, host: Host) -> None:
    """What if only the last hierarchy refuses, because somebody else is in the group there?"""
    last = list(driver.dirs)[-2]
    assert host.controllers[last].version == 1
    squatted = Path(driver.dirs[last])
    squatted.mkdir(parents=True)
    pid = os.fork()
    if pid == 0:
        (squatted / "cgroup.procs").write_text("0")
        sleep_forever()
    try:
        while not (squatted / "cgroup.procs").read_text():
            os.sched_yield()
        with pytest.raises(StateError, match="in use"):
            driver.create()
        left = [name for name, path in driver.dirs.items() if Path(path).exists()]
        assert left == [last]
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        remove_directory(str(squatted))


def test_create_gives_cpuset_what_the_group_above_has(driver: Driver, host: Host) -> None:
    driver.create()
    assert file(driver, "cpuset", "cpuset.cpus") == host.online_cpus
    assert file(driver, "cpuset", "cpuset.mems") == host.online_nodes


def test_delete_removes_nested_groups(driver: Driver) -> None:
    driver.create()
    Path(driver.dirs["memory"], "a/b").mkdir(parents=True)
    Path(driver.dirs["pids"], "c").mkdir()
    driver.delete()
    assert not driver.exists()


def test_delete_of_nothing_is_fine(driver: Driver) -> None:
    driver.delete()


def test_delete_kills_nobody_and_says_who_is_there(
    driver: Driver,
    spawn: Callable[[Callable[[], object]], int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("minirun.cgroups.files.REMOVAL_S", 0.0)
    driver.create()
    pid = spawn(sleep_forever)
    with pytest.raises(StateError, match=f"still in use by processes: {pid}"):
        driver.delete()
    os.kill(pid, 0)


def test_delegate_is_refused(driver: Driver) -> None:
    with pytest.raises(HostError, match="cannot be delegated to uid 1000"):
        driver.delegate(1000, 1000)


# ── processes ─────────────────────────────────────────────────────────────────────────────────


def paths_of(pid: int | str) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    return {names: path for _, names, path in (line.split(":", 2) for line in lines)}


@pytest.mark.parametrize("how", ["join", "add"])
def test_process_enters_every_v1_hierarchy(driver: Driver, how: str) -> None:
    driver.create()
    pid = os.fork()
    if pid == 0:
        if how == "join":
            driver.join()
            os.kill(os.getpid(), signal.SIGSTOP)
        sleep_forever()
    try:
        if how == "join":
            os.waitpid(pid, os.WUNTRACED)
        else:
            driver.add(pid)
        found = paths_of(pid)
        assert {path for names, path in found.items() if names} == {f"/{driver.path}"}
        assert driver.pids() == [pid]
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def test_join_with_threads_moves_all_of_them(driver: Driver) -> None:
    driver.create()
    pid = os.fork()
    if pid == 0:
        stop = threading.Event()
        other = threading.Thread(target=stop.wait)
        other.start()
        driver.join()
        both = {
            Path(f"/proc/self/task/{t}/cgroup").read_text() for t in os.listdir("/proc/self/task")
        }
        stop.set()
        os._exit(len(both))
    assert exit_code(pid) == 1


def test_add_of_a_dead_process_is_an_error(driver: Driver) -> None:
    driver.create()
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    with pytest.raises(SyscallError) as caught:
        driver.add(pid)
    assert caught.value.errno == errno.ESRCH


def test_kill_reaches_forks_and_nested_groups(
    driver: Driver, spawn: Callable[[Callable[[], object]], int]
) -> None:
    driver.create()

    def family() -> None:
        Path(driver.dirs["freezer"], "inner").mkdir()
        if os.fork() == 0:
            Path(driver.dirs["freezer"], "inner/cgroup.procs").write_text("0")
        os.fork()
        sleep_forever()

    pid = spawn(family)
    while len(driver.pids()) < 4 or len(driver.pids(recursive=False)) > 2:
        os.sched_yield()
    driver.kill()
    assert exit_code(pid) == -signal.SIGKILL
    assert driver.pids() == []


def test_kill_wakes_a_paused_container(
    driver: Driver, spawn: Callable[[Callable[[], object]], int]
) -> None:
    driver.create()
    pid = spawn(sleep_forever)
    driver.freeze()
    driver.kill()
    assert exit_code(pid) == -signal.SIGKILL


def test_freeze_stops_and_thaw_lets_go(
    driver: Driver, spawn: Callable[[Callable[[], object]], int]
) -> None:
    driver.create()
    reader, writer = os.pipe()

    def chatter() -> None:
        while True:
            os.write(writer, b"x")

    spawn(chatter)
    os.close(writer)
    os.read(reader, 1)
    driver.freeze()
    assert driver.frozen()
    os.set_blocking(reader, False)
    while select.select([reader], [], [], 0.05)[0]:  # what is in the pipe ends: nobody refills it
        os.read(reader, 1 << 20)
    driver.thaw()
    assert select.select([reader], [], [], 10)[0]
    assert not driver.frozen()
    os.close(reader)


# ── limits ────────────────────────────────────────────────────────────────────────────────────


def eat_memory(size: int) -> None:
    held = bytearray(size)
    held[::4096] = b"x" * len(held[::4096])


def test_memory_limit_kills_who_exceeds_it(
    driver: Driver, spawn: Callable[[Callable[[], object]], int]
) -> None:
    driver.create()
    driver.apply(resources(memory={"limit": 32 * MIB, "swap": 32 * MIB}))
    assert exit_code(spawn(lambda: eat_memory(16 * MIB))) == 0
    assert exit_code(spawn(lambda: eat_memory(64 * MIB))) == -signal.SIGKILL
    assert driver.oom_kills() == 1
    assert 16 * MIB < driver.memory_peak() <= 32 * MIB


def test_memory_limit_can_rise_and_fall_with_swap(driver: Driver) -> None:
    driver.create()
    for limit in (64, 32, 128, 16):
        driver.update(resources(memory={"limit": limit * MIB, "swap": limit * MIB}))
        assert file(driver, "memory", "memory.limit_in_bytes") == str(limit * MIB)
        assert file(driver, "memory", "memory.memsw.limit_in_bytes") == str(limit * MIB)
    driver.update(resources(memory={"limit": -1}))
    assert driver.stats().memory.limit_bytes is None


def test_update_checks_usage_where_asked(
    driver: Driver, spawn: Callable[[Callable[[], object]], int]
) -> None:
    driver.create()
    reader, writer = os.pipe()

    def hold() -> None:
        held = b"x" * (16 * MIB)
        os.write(writer, held[:1])
        sleep_forever()

    spawn(hold)
    os.read(reader, 1)
    os.close(reader)
    os.close(writer)
    with pytest.raises(StateError, match="bytes in use"):
        driver.update(resources(memory={"limit": 8 * MIB, "checkBeforeUpdate": True}))
    assert driver.stats().memory.limit_bytes is None


def test_pids_limit_stops_a_fork(
    driver: Driver, spawn: Callable[[Callable[[], object]], int]
) -> None:
    driver.create()
    driver.apply(resources(pids={"limit": 1}))

    def fork_once() -> None:
        if os.fork() == 0:
            os._exit(0)

    assert exit_code(spawn(fork_once)) == errno.EAGAIN
    assert driver.stats().pids.limit == 1


def test_pids_limit_of_zero_is_a_limit(
    driver: Driver, spawn: Callable[[Callable[[], object]], int]
) -> None:
    driver.create()
    driver.apply(resources(pids={"limit": 0}))
    assert file(driver, "pids", "pids.max") == "0"
    assert exit_code(spawn(os.fork)) == errno.EAGAIN


def test_cpu_quota_throttles(driver: Driver, spawn: Callable[[Callable[[], object]], int]) -> None:
    driver.create()
    driver.apply(resources(cpu={"quota": 1000, "period": 10000}))

    def spin() -> None:
        while True:
            pass

    spawn(spin)
    # The time is added when a throttled group runs again, so it may lag behind the count.
    while not driver.stats().cpu.throttled_ns:
        os.sched_yield()
    stats = driver.stats().cpu
    assert stats.throttled_periods > 0
    assert stats.total_ns > 0
    assert len(stats.percpu_ns) >= 1


def test_update_changes_only_what_is_given(driver: Driver) -> None:
    driver.create()
    driver.apply(resources(cpu={"shares": 512, "quota": 20000}, pids={"limit": 9}))
    devices = file(driver, "devices", "devices.list")
    driver.update(resources(cpu={"period": 50000}))
    assert file(driver, "cpu", "cpu.shares") == "512"
    assert file(driver, "cpu", "cpu.cfs_quota_us") == "20000"
    assert file(driver, "cpu", "cpu.cfs_period_us") == "50000"
    assert file(driver, "pids", "pids.max") == "9"
    assert file(driver, "devices", "devices.list") == devices


def test_weight_falls_back_to_bfq(driver: Driver) -> None:
    driver.create()
    if not Path(driver.dirs["blkio"], "blkio.bfq.weight").exists():
        pytest.skip("missing feature: the BFQ scheduler")
    driver.apply(resources(blockIO={"weight": 321}))
    assert file(driver, "blkio", "blkio.bfq.weight").endswith("321")


def test_what_only_version_1_has(driver: Driver) -> None:
    memory = {"kernelTCP": 8 * MIB, "disableOOMKiller": True, "swappiness": 10}
    driver.create()
    driver.apply(resources(memory={**memory, "useHierarchy": True}))
    assert file(driver, "memory", "memory.kmem.tcp.limit_in_bytes") == str(8 * MIB)
    assert file(driver, "memory", "memory.oom_control").startswith("oom_kill_disable 1\n")
    assert file(driver, "memory", "memory.swappiness") == "10"
    assert file(driver, "memory", "memory.use_hierarchy") == "1"
    driver.update(resources(memory={"disableOOMKiller": False}))
    assert file(driver, "memory", "memory.oom_control").startswith("oom_kill_disable 0\n")


def test_real_time_that_the_group_above_lacks_is_told(driver: Driver) -> None:
    """A new group has none to give, so whoever wants real time gives some to ``minirun`` first."""
    driver.create()
    if not Path(driver.dirs["cpu"], "cpu.rt_runtime_us").exists():
        pytest.skip("missing feature: a kernel with real-time groups")
    driver.apply(resources(cpu={"realtimePeriod": 500000}))
    assert file(driver, "cpu", "cpu.rt_period_us") == "500000"
    with pytest.raises(SyscallError, match=r"rt_runtime_us', '5000'\): EINVAL") as caught:
        driver.update(resources(cpu={"realtimeRuntime": 5000}))
    assert "the group above" in caught.value.hint


def test_file_that_the_kernel_lacks_is_a_host_error(driver: Driver) -> None:
    driver.create()
    if Path(driver.dirs["blkio"], "blkio.leaf_weight").exists():
        pytest.skip("missing feature: a kernel without CFQ")
    with pytest.raises(HostError, match=r"blkio\.leaf_weight is not offered"):
        driver.apply(resources(blockIO={"leafWeight": 10}))


def test_value_that_the_kernel_refuses_names_file_value_and_hint(driver: Driver) -> None:
    driver.create()
    throttle = {"throttleReadBpsDevice": [{"major": 4095, "minor": 9, "rate": 1}]}
    with pytest.raises(SyscallError, match=r"read_bps_device', '4095:9 1'\): ENODEV") as caught:
        driver.apply(resources(blockIO=throttle))
    assert "lsblk" in caught.value.hint


def test_limits_without_a_group_are_a_state_error(driver: Driver) -> None:
    with pytest.raises(StateError, match="does not exist"):
        driver.update(resources(pids={"limit": 5}))


# ── devices ───────────────────────────────────────────────────────────────────────────────────


def open_node(path: Path, device: tuple[int, int]) -> int:
    os.mknod(path, 0o20600, os.makedev(*device))
    os.close(os.open(path, os.O_RDONLY))
    return 0


def test_devices_are_denied_but_for_the_default_ones(
    driver: Driver, spawn: Callable[[Callable[[], object]], int], tmp_path: Path
) -> None:
    driver.create()
    driver.apply(None)
    assert exit_code(spawn(lambda: open_node(tmp_path / "null", (1, 3)))) == 0
    assert exit_code(spawn(lambda: open_node(tmp_path / "kmsg", (1, 11)))) == errno.EPERM


def test_devices_can_be_added_while_running(
    driver: Driver, spawn: Callable[[Callable[[], object]], int], tmp_path: Path
) -> None:
    driver.create()
    driver.apply(None)
    Path(driver.dirs["devices"], "inner").mkdir()  # "deny a" would be refused from now on
    kmsg = DeviceRule(allow=True, type="c", major=1, minor=11, access="r")
    driver.update(Resources(devices=(kmsg,)))
    assert exit_code(spawn(lambda: open_node(tmp_path / "kmsg", (1, 11)))) == 0
    driver.update(Resources(devices=()))
    assert exit_code(spawn(lambda: open_node(tmp_path / "again", (1, 11)))) == errno.EPERM


# ── hybrid ────────────────────────────────────────────────────────────────────────────────────


def test_hugetlb_in_the_v2_tree_is_joined_only_when_limited(
    driver: Driver, host: Host, spawn: Callable[[Callable[[], object]], int]
) -> None:
    where = host.controllers.get("hugetlb")
    if where is None or where.version != 2:
        pytest.skip("missing feature: a hybrid host with hugetlb in its v2 tree")
    driver.create()
    assert not Path(driver.dirs["hugetlb"]).exists()
    driver.apply(resources(hugepageLimits=[{"pageSize": "2MB", "limit": 2 * MIB}]))
    pid = spawn(sleep_forever)
    assert paths_of(pid)[""] == f"/{driver.path}"
    assert driver.stats().hugetlb["2MB"].limit_bytes == 2 * MIB
