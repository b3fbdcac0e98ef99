"""Puts the device program on a v2 group, and swaps it without a moment of openness.

A group may hold several programs; all of them must allow. So a new one is either exchanged for the
old one in a single call, or attached beside it first: in between more is forbidden, never less.

See: bpf(2). Needs CAP_BPF and CAP_NET_ADMIN, or CAP_SYS_ADMIN, in the initial user namespace.

Next: ``driver.py``.
"""

from __future__ import annotations

import errno
import os
from struct import pack

from .. import kernel, kernel_rare
from ..errors import SyscallError

BPF_PROG_LOAD = 5
BPF_PROG_ATTACH = 8
BPF_PROG_DETACH = 9
BPF_PROG_GET_FD_BY_ID = 13

BPF_PROG_TYPE_CGROUP_DEVICE = 15
BPF_CGROUP_DEVICE = 6
BPF_F_ALLOW_MULTI = 2
BPF_F_REPLACE = 4


def set_device_program(directory: str, program: bytes) -> bool:
    """Make ``program`` the only device program of a group.

    Args:
        directory: the group.
        program: from ``devices.device_program``.

    Returns:
        False where the same program was there already, and was left alone.

    Raises:
        SyscallError: EPERM without the capabilities; EINVAL without CONFIG_CGROUP_BPF.
    """
    group = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    opened = [group]
    try:
        opened.append(new := load(program))
        for number in kernel_rare.bpf_prog_query(group, BPF_CGROUP_DEVICE):
            opened.append(kernel_rare.bpf(BPF_PROG_GET_FD_BY_ID, pack("=I12x", number)))
        old = opened[2:]
        if [_tag(fd) for fd in old] == [_tag(new)]:
            return False
        _swap(group, new, old)
        return True
    finally:
        for fd in opened:
            os.close(fd)


def load(program: bytes) -> int:
    """Return an fd for the verified program."""
    instructions, code = kernel.buffer_address(program)
    license_text, license_at = kernel.buffer_address(b"Apache-2.0\0")
    attr = pack(
        "=IIQQIIQII16s",
        BPF_PROG_TYPE_CGROUP_DEVICE,
        len(program) // 8,
        code,
        license_at,
        *(0, 0, 0),  # no verifier log: the rules are checked before they are compiled
        *(0, 0),
        b"minirun_devices",
    )
    fd = kernel_rare.bpf(BPF_PROG_LOAD, attr)
    del instructions, license_text  # they kept the two addresses alive until here
    return fd


def _swap(group: int, new: int, old: list[int]) -> None:
    if len(old) == 1 and _replace(group, new, old[0]):
        return
    kernel_rare.bpf(
        BPF_PROG_ATTACH, pack("=IIII", group, new, BPF_CGROUP_DEVICE, BPF_F_ALLOW_MULTI)
    )
    for fd in old:
        kernel_rare.bpf(BPF_PROG_DETACH, pack("=III", group, fd, BPF_CGROUP_DEVICE))


def _replace(group: int, new: int, old: int) -> bool:
    """Exchange two programs at once; False before Linux 5.6, and for one attached without MULTI."""
    flags = BPF_F_ALLOW_MULTI | BPF_F_REPLACE
    try:
        kernel_rare.bpf(BPF_PROG_ATTACH, pack("=IIIII", group, new, BPF_CGROUP_DEVICE, flags, old))
    except SyscallError as error:
        if error.errno != errno.EINVAL:
            raise
        return False
    return True


def _tag(program: int) -> str:
    """Return the kernel's hash over the instructions. See: proc_pid_fdinfo(5)."""
    with open(f"/proc/self/fdinfo/{program}") as info:
        fields = dict(line.split(":", 1) for line in info if ":" in line)
    return fields.get("prog_tag", "").strip() or f"unknown {program}"
