"""The device program, judged by the kernel: verified, attached, and asked about real devices.

They attach to any group of a v2 tree, also on a hybrid host, where it has no controllers.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from minirun import kernel_rare
from minirun.cgroups import bpf
from minirun.cgroups.devices import device_program, policy
from minirun.host import probe
from minirun.spec_resources import DeviceRule

pytestmark = pytest.mark.requires("root")

ALLOW_ALL = DeviceRule(allow=True)
KMSG = (1, 11)  # /dev/kmsg, which no default rule allows


@pytest.fixture
def group() -> Iterator[Path]:
    tree = probe().cgroup2
    if tree is None:
        pytest.skip("missing feature: a mounted cgroup2 tree")
    parent = Path(tree.base) / "minirun"
    ours = not parent.exists()
    path = parent / f"test-bpf-{os.getpid()}"
    path.mkdir(parents=True)
    yield path
    path.rmdir()
    if ours and not any(child.is_dir() for child in parent.iterdir()):
        parent.rmdir()


def opened(group: Path, tmp_path: Path, device: tuple[int, int], flags: int) -> int:
    """Open a device from inside the group; return 0 or the errno."""
    node = tmp_path / "node"
    node.unlink(missing_ok=True)
    os.mknod(node, 0o20600, os.makedev(*device))
    pid = os.fork()
    if pid == 0:
        code = 255
        try:
            (group / "cgroup.procs").write_text("0")
            os.close(os.open(node, flags))
            code = 0
        except OSError as error:
            code = error.errno or 255
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def made(group: Path, tmp_path: Path, mode: int, device: tuple[int, int]) -> int:
    """Make a device node from inside the group; return 0 or the errno."""
    pid = os.fork()
    if pid == 0:
        code = 255
        try:
            (group / "cgroup.procs").write_text("0")
            os.mknod(tmp_path / f"made-{os.getpid()}", mode, os.makedev(*device))
            code = 0
        except OSError as error:
            code = error.errno or 255
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_default_program_allows_null_and_nothing_of_the_host(group: Path, tmp_path: Path) -> None:
    assert opened(group, tmp_path, KMSG, os.O_RDONLY) == 0  # the device itself works
    bpf.set_device_program(str(group), device_program(policy(None)))
    assert opened(group, tmp_path, (1, 3), os.O_RDWR) == 0
    assert opened(group, tmp_path, (1, 9), os.O_RDONLY) == 0
    assert opened(group, tmp_path, KMSG, os.O_RDONLY) == errno.EPERM
    assert made(group, tmp_path, 0o20600, (7, 7)) == 0
    assert made(group, tmp_path, 0o60600, (7, 7)) == 0


@pytest.mark.parametrize(
    ("rules", "read", "write"),
    [
        ((DeviceRule(allow=True, type="c", major=1, minor=11, access="r"),), 0, errno.EPERM),
        ((DeviceRule(allow=True, type="c", major=1, minor=11, access="w"),), errno.EPERM, 0),
        ((DeviceRule(allow=True, type="c", major=1, access="rw"),), 0, 0),
        ((DeviceRule(allow=True, type="c", minor=11, access="r"),), 0, errno.EPERM),
        ((DeviceRule(allow=True, type="b", major=1, minor=11),), errno.EPERM, errno.EPERM),
        ((DeviceRule(allow=True, type="a", major=1, minor=11),), 0, 0),
        (
            (
                DeviceRule(allow=True, type="c", major=1),
                DeviceRule(allow=False, type="c", major=1, minor=11, access="w"),
            ),
            *(0, errno.EPERM),
        ),
        (
            (
                DeviceRule(allow=False, type="c", major=1, minor=11),
                DeviceRule(allow=True, type="c", major=1, minor=11, access="r"),
            ),
            *(0, errno.EPERM),
        ),
        ((ALLOW_ALL,), 0, 0),
        (
            (ALLOW_ALL, DeviceRule(allow=False, type="c", major=1, minor=11, access="r")),
            *(errno.EPERM, 0),
        ),
        ((ALLOW_ALL, DeviceRule(allow=False)), errno.EPERM, errno.EPERM),
    ],
)
def test_program_lets_the_last_match_win(
    group: Path, tmp_path: Path, rules: tuple[DeviceRule, ...], read: int, write: int
) -> None:
    bpf.set_device_program(str(group), device_program(policy(rules)))
    assert opened(group, tmp_path, KMSG, os.O_RDONLY) == read
    assert opened(group, tmp_path, KMSG, os.O_WRONLY) == write


def test_program_adds_up_what_two_rules_grant(group: Path, tmp_path: Path) -> None:
    """What if read comes from one rule and write from another? Opening for both must work."""
    rules = [DeviceRule(allow=True, type="c", major=1, minor=11, access=a) for a in "rw"]
    bpf.set_device_program(str(group), device_program(policy(rules[:1])))
    assert opened(group, tmp_path, KMSG, os.O_RDWR) == errno.EPERM
    bpf.set_device_program(str(group), device_program(policy(rules)))
    assert opened(group, tmp_path, KMSG, os.O_RDWR) == 0


def test_program_survives_numbers_beyond_31_bits(group: Path) -> None:
    rule = DeviceRule(allow=True, type="c", major=(1 << 32) - 2, minor=1 << 31)
    assert bpf.set_device_program(str(group), device_program(policy((rule,))))


def test_set_device_program_keeps_one_program_and_skips_the_same(group: Path) -> None:
    fd = os.open(group, os.O_RDONLY)
    try:
        assert bpf.set_device_program(str(group), device_program(policy(None)))
        first = kernel_rare.bpf_prog_query(fd, bpf.BPF_CGROUP_DEVICE)
        assert not bpf.set_device_program(str(group), device_program(policy(None)))
        assert kernel_rare.bpf_prog_query(fd, bpf.BPF_CGROUP_DEVICE) == first
        assert bpf.set_device_program(str(group), device_program(policy((ALLOW_ALL,))))
        second = kernel_rare.bpf_prog_query(fd, bpf.BPF_CGROUP_DEVICE)
        assert len(second) == 1
        assert second != first
    finally:
        os.close(fd)


def test_program_of_thousands_of_rules_is_accepted(group: Path, tmp_path: Path) -> None:
    rules = [DeviceRule(allow=True, type="c", major=200, minor=n) for n in range(600)]
    bpf.set_device_program(str(group), device_program(policy(rules)))
    assert opened(group, tmp_path, KMSG, os.O_RDONLY) == errno.EPERM
    assert opened(group, tmp_path, (1, 3), os.O_RDONLY) == 0
