"""System calls that an ordinary start does not make: wrappers as in ``kernel.py``.

Who waits for whom, programs for a control group's devices, watching a file: each is for few, so
nobody else imports it.

Next: ``host.py``, which asks what this kernel can do.
"""

from __future__ import annotations

from struct import iter_unpack, pack

from .kernel import buffer_address
from .syscall import Word, as_bytes, call, check

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


def personality(persona: int) -> int:
    """Set the execution domain; returns the previous one. See: personality(2)."""
    return check(call("personality", persona), "personality", Word(hex(persona)))


def ioprio_set(which: int, who: int, ioprio: int) -> None:
    """Set an I/O scheduling class and level. See: ioprio_set(2)."""
    check(call("ioprio_set", which, who, ioprio), "ioprio_set", which, who, ioprio)


def set_mempolicy(mode: int, nodemask: Sequence[int]) -> None:
    """Set this thread's NUMA policy; ``nodemask`` lists nodes. See: set_mempolicy(2)."""
    mask = sum(1 << node for node in nodemask)
    raw = mask.to_bytes(128, "little")
    result = call("set_mempolicy", mode, raw, 1024)
    check(result, "set_mempolicy", mode, list(nodemask))


def sched_setattr(pid: int, attr: bytes) -> None:
    """Set policy and parameters; ``attr`` is a packed struct sched_attr. See: sched_setattr(2)."""
    check(call("sched_setattr", pid, attr, 0), "sched_setattr", pid)


def bpf(cmd: int, attr: bytes) -> int:
    """Run one command of the eBPF multiplexer; returns an fd or 0. See: bpf(2)."""
    return check(call("bpf", cmd, attr, len(attr)), "bpf", cmd)


def bpf_prog_query(fd: int, attach_type: int) -> list[int]:
    """Return the ids of the programs attached to the cgroup ``fd``, 64 at most. See: bpf(2)."""
    ids, ids_at = buffer_address(bytes(64 * 4))
    # The whole union: newer kernels write back a field (revision) that lies beyond the first ones.
    attr, attr_at = buffer_address(pack("=IIIIQI100x", fd, attach_type, 0, 0, ids_at, 64))
    check(call("bpf", 16, attr_at, len(attr)), "bpf", Word("BPF_PROG_QUERY"), fd)
    return [number for (number,) in iter_unpack("=I", ids) if number]


def inotify_init1(flags: int) -> int:
    """Return an fd that becomes readable when a watched file changes. See: inotify(7)."""
    return check(call("inotify_init1", flags), "inotify_init1", flags)


def inotify_add_watch(fd: int, path: str, mask: int) -> int:
    """Watch a file or the entries of a directory. See: inotify_add_watch(2)."""
    result = call("inotify_add_watch", fd, as_bytes(path), mask)
    return check(result, "inotify_add_watch", fd, path, mask)
