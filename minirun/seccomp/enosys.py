"""A prologue for the filter: a call that the profile cannot have known does not exist.

A filter that answers EPERM to every call it does not name breaks programs on newer kernels. libc
tries the newest call first and falls back to an older one on ENOSYS, "this kernel is too old"; on
EPERM it gives up. So, as runc does: a call with a number above the largest one that the profile
names gets ENOSYS; the others go on to the filter.

The prologue is one block per architecture. Each begins by loading what it compares, so blocks can
stand in any order and every jump stays inside its block::

        ld  [arch]
        jeq #AUDIT_ARCH, 1, 0
        ja  next block
        ld  [nr]
        jgt #largest, 0, 1
        ret ERRNO|ENOSYS
    next block

x86_64 and x32 are one architecture to the kernel; bit 30 of the number tells them apart.

Pure. Next: ``arguments.py``.
"""

from __future__ import annotations

from .bpf import JGT, JSET, OFFSET_ARCH, OFFSET_NUMBER, give, jump, load, only_for
from .words import ACTIONS, X32, X86_64

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

_X32_BIT = 0x40000000
_ENOSYS = ACTIONS["SCMP_ACT_ERRNO"] | 38


def prologue(largest: Mapping[int, int]) -> bytes:
    """Return the instructions to put before a filter.

    Args:
        largest: {AUDIT_ARCH_*: the largest number that the profile names on it}.
    """
    blocks = []
    for arch, number in largest.items():
        if arch == X32:
            continue
        compare = _x86(largest) if arch == X86_64 else jump(JGT, number, 0, 1)
        body = load(OFFSET_NUMBER) + compare + give(_ENOSYS)
        blocks.append(only_for(OFFSET_ARCH, arch, body))
    return b"".join(blocks)


def _x86(largest: Mapping[int, int]) -> bytes:
    """Return the comparisons that fall through to the return, or jump over it.

    Where the profile leaves x32 out, its calls go on to the filter, which kills them.
    """
    native = largest[X86_64]
    if X32 not in largest:
        return jump(JSET, _X32_BIT, 2, 0) + jump(JGT, native, 0, 1)
    choose = jump(JSET, _X32_BIT, 1, 0)
    return choose + jump(JGT, native, 1, 2) + jump(JGT, largest[X32], 0, 1)
