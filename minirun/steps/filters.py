"""The system call filter.

It is compiled in the runtime process, on the host's side, and only loaded here. It is the last act
before execve where no_new_privs allows that; without no_new_privs loading needs CAP_SYS_ADMIN, so
it must come before the capabilities are dropped, and the profile must then allow that dropping.

See: seccomp(2). Next: ``handoff.py``.
"""

from __future__ import annotations

from .. import kernel
from ..flags import SeccompFlag, spell
from .base import Context, Step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import ClassVar


class LoadSeccomp(Step):
    """Refuse system calls by number."""

    id: ClassVar = "seccomp"
    why: ClassVar = "most kernel bugs are behind calls that a container never needs"
    man: ClassVar = "seccomp(2)"
    check: ClassVar = "grep Seccomp /proc/PID/status"
    without: ClassVar = "the kernel's full attack surface is open"

    program: bytes
    flags: SeccompFlag = SeccompFlag(0)

    @property
    def call(self) -> tuple[str, ...]:
        """The program is an array of 8-byte instructions."""
        instructions = len(self.program) // 8
        flags = spell(self.flags)
        return (f"seccomp(SECCOMP_SET_MODE_FILTER, {flags}, {{len={instructions}",)

    def apply(self, context: Context) -> None:
        """Load it; from here on the interpreter itself is filtered."""
        fd = kernel.seccomp_set_mode_filter(self.program, self.flags)
        if self.flags & SeccompFlag.SECCOMP_FILTER_FLAG_NEW_LISTENER:
            context.fds["seccomp"] = fd

    def __repr__(self) -> str:
        """Leave out the program."""
        return f"LoadSeccomp({len(self.program) // 8} instructions, {spell(self.flags)})"
