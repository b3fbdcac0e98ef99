"""Filters that the kernel applies to the program: a security module's profile, and seccomp.

A profile is only announced here; the kernel switches to it at execve. The seccomp program is
compiled in the runtime process, on the host's side, and only loaded here. Loading it is the last
act before execve where no_new_privs allows that; without no_new_privs it needs CAP_SYS_ADMIN, so it
must come before the capabilities are dropped, and the program must then allow that dropping.

See: apparmor(7), seccomp(2). Next: ``handoff.py``.
"""

from __future__ import annotations

import _socket
import errno
import os
import struct

from .. import kernel, procfs
from ..errors import StepError
from ..flags import SeccompFlag, spell
from ..quickjson import dumps
from .base import Context, Step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import ClassVar


class SetAppArmorProfile(Step):
    """Ask AppArmor to confine the program."""

    id: ClassVar = "apparmor"
    why: ClassVar = "the host's administrator decides which files and calls a profile allows"
    man: ClassVar = "apparmor(7), aa_change_onexec(2)"
    check: ClassVar = "cat /proc/PID/attr/current"
    without: ClassVar = "the program runs unconfined by the security module"

    profile: str

    @property
    def call(self) -> tuple[str, ...]:
        """Through the private procfs: a faked /proc has swallowed this before (CVE-2019-16884)."""
        return ("/attr/", f'write(fd, "exec {self.profile}"')

    def apply(self, context: Context) -> None:
        """Older kernels have one attr directory for all security modules.

        Raises:
            StepError: no profile of this name is loaded; the kernel says ENOENT.
        """
        text = f"exec {self.profile}"
        if context.proc_fd < 0:
            context.proc_fd = procfs.open_private()
        for place in ("attr/apparmor/exec", "attr/exec"):
            try:
                procfs.write(context.proc_fd, f"{os.getpid()}/{place}", text)
            except OSError as error:
                if error.errno != errno.ENOENT:
                    raise
            else:
                return
        raise StepError(
            self.title,
            self.lane,
            f"no profile {self.profile!r} is loaded",
            hint="apparmor_parser --replace FILE loads it; aa-status lists those that are",
        )


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
        if self.is_watched:
            context.fds["seccomp"] = fd

    @property
    def is_watched(self) -> bool:
        """Whether a program outside decides about some calls. See: seccomp_unotify(2)."""
        return bool(self.flags & SeccompFlag.SECCOMP_FILTER_FLAG_NEW_LISTENER)

    def __repr__(self) -> str:
        """Leave out the program."""
        return f"LoadSeccomp({len(self.program) // 8} instructions, {spell(self.flags)})"


class SendListener(Step):
    """Hand the filter's listener to the program that decides."""

    lane: ClassVar = "R"
    id: ClassVar = "send-listener"
    why: ClassVar = "somebody outside answers the calls that the filter only reports"
    man: ClassVar = "seccomp_unotify(2), config-linux.md (The Container Process State)"
    check: ClassVar = "ls -l /proc/AGENT/fd | grep seccomp"
    without: ClassVar = "the first such call of the program waits for ever"

    path: str
    metadata: str = ""

    @property
    def call(self) -> tuple[str, ...]:
        """One message, one descriptor."""
        return (f'connect(fd, {{sa_family=AF_UNIX, sun_path="{self.path}"', "sendmsg(fd, ")

    def apply(self, context: Context) -> None:
        """From outside: inside, the filter may be in the way of sending."""
        fd = context.fds.pop("seccomp")
        state = {
            "ociVersion": "1.3.0",
            "fds": ["seccompFd"],
            "pid": context.init_pid,
            "metadata": self.metadata,
            "state": context.state("creating"),
        }
        link = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
        try:
            link.connect(self.path)
            rights = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, struct.pack("i", fd))]
            link.sendmsg([dumps(state).encode()], rights)
        finally:
            link.close()
            os.close(fd)
