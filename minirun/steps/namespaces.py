"""Steps that give the container a kernel view of its own.

A user namespace is made by a short-lived child and then *joined* through its fd, whether it is new
or given by path. So there is one way to enter it, and its fd exists early enough to map the
ownership of mounts with it.

See: namespaces(7), user_namespaces(7), pid_namespaces(7), cgroup_namespaces(7).
Next: ``rootfs.py``.
"""

from __future__ import annotations

import _socket
import fcntl
import os
import struct

from .. import kernel
from ..errors import SyscallError
from ..flags import PR_SET_DUMPABLE, Clone, Mount, spell
from .base import Context, Step, write_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import ClassVar

    from ..spec import IdMapping, TimeOffset


class CreateUserNamespace(Step):
    """A child makes the namespace and waits while we, outside, write its maps."""

    lane: ClassVar = "R"
    id: ClassVar = "create-user-namespace"
    why: ClassVar = "uid 0 in here becomes an ordinary uid outside"
    man: ClassVar = "user_namespaces(7)"
    check: ClassVar = "cat /proc/PID/uid_map"
    without: ClassVar = "an escape from the container is root on the host"

    uid_mappings: tuple[IdMapping, ...]
    gid_mappings: tuple[IdMapping, ...]
    setgroups: bool = True

    @property
    def call(self) -> tuple[str, ...]:
        """The unshare happens in the child; the maps are written from outside, once."""
        maps = ('openat(AT_FDCWD, "/proc/…/uid_map"', 'openat(AT_FDCWD, "/proc/…/gid_map"')
        return (f"unshare({spell(Clone.CLONE_NEWUSER)})", *maps)

    def apply(self, context: Context) -> None:
        """Leave an fd of the namespace in ``context.fds``; few containers have one of their own."""
        from ..userns import make_user_namespace

        context.fds["userns"] = make_user_namespace(
            self.uid_mappings, self.gid_mappings, setgroups=self.setgroups
        )


class JoinNamespace(Step):
    """Enter a namespace that exists: another container's, or the user namespace just made."""

    lane: ClassVar = "M"
    id: ClassVar = "join-namespace"
    why: ClassVar = "share this part of the kernel's view with whoever already lives there"
    man: ClassVar = "setns(2)"
    check: ClassVar = "readlink /proc/PID/ns/*"
    without: ClassVar = "the container gets a fresh view instead of the shared one"

    kind: Clone
    path: str = ""

    @property
    def title(self) -> str:
        """Say which."""
        return f"{self.id} {self.kind.name.removeprefix('CLONE_NEW').lower()}"  # type: ignore[union-attr]

    @property
    def call(self) -> tuple[str, ...]:
        """One setns."""
        return (f"setns(fd, {spell(self.kind)})",)

    def apply(self, context: Context) -> None:
        """Join by path, or by the fd of the user namespace that was made for us."""
        fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC) if self.path else context.fds["userns"]
        try:
            kernel.setns(fd, self.kind)
        except SyscallError as error:
            # EINVAL also where it is the user namespace that we are in: see setns(2).
            error.hint = f"{self.path or 'it'} must be a namespace of this kind, and another one"
            raise
        if self.path:
            os.close(fd)


class BecomeNamespaceRoot(Step):
    """After joining a user namespace our uid is whatever the map makes of it; be its root."""

    lane: ClassVar = "M"
    id: ClassVar = "become-root"
    why: ClassVar = "files and mounts made from here on belong to the container's uid 0"
    man: ClassVar = "setresuid(2), credentials(7)"
    check: ClassVar = "grep Uid /proc/PID/status"
    without: ClassVar = "we are nobody (65534) in our own namespace"

    @property
    def call(self) -> tuple[str, ...]:
        """Groups first: once the uid is gone they cannot be changed."""
        return ("setresgid(0, 0, 0)", "setresuid(0, 0, 0)")

    def apply(self, context: Context) -> None:
        """Changing ids clears the dumpable flag, which is what we want: see ptrace(2)."""
        del context
        os.setresgid(0, 0, 0)
        os.setresuid(0, 0, 0)


class UnsharePid(Step):
    """Namespaces that apply to children only: PID, and time."""

    lane: ClassVar = "M"
    id: ClassVar = "unshare-pid"
    why: ClassVar = "the next child will be PID 1 of a process tree of its own"
    man: ClassVar = "unshare(2), pid_namespaces(7)"
    check: ClassVar = "readlink /proc/PID/ns/pid"
    without: ClassVar = "kill and ps in the container reach the host's processes"

    flags: Clone
    time_offsets: tuple[tuple[str, TimeOffset], ...] = ()

    @property
    def call(self) -> tuple[str, ...]:
        """One unshare, before the fork that it is for."""
        return (f"unshare({spell(self.flags)})",)

    def apply(self, context: Context) -> None:
        """Offsets can be set only while the new time namespace is still empty."""
        del context
        kernel.unshare(self.flags)
        for clock, offset in self.time_offsets:
            text = f"{clock} {offset.secs} {offset.nanosecs}\n"
            write_file("/proc/self/timens_offsets", text)


class UnshareRest(Step):
    """Everything else at once, in the process that will live there."""

    id: ClassVar = "unshare-rest"
    why: ClassVar = "own mounts, host name, IPC objects, network stack and cgroup root"
    man: ClassVar = "unshare(2), namespaces(7)"
    check: ClassVar = "lsns -p PID"
    without: ClassVar = "mounts, host name and network of the host would be changed"

    flags: Clone

    @property
    def call(self) -> tuple[str, ...]:
        """After join-cgroup: a cgroup namespace's root is where its maker is at that moment."""
        return (f"unshare({spell(self.flags)})",)

    def apply(self, context: Context) -> None:
        """Unshare."""
        del context
        kernel.unshare(self.flags)


class NewSession(Step):
    """Leave the caller's session, its keyring and its debuggers behind."""

    id: ClassVar = "new-session"
    why: ClassVar = "no terminal, keys or ptrace of the caller reach in, or out"
    man: ClassVar = "setsid(2), session-keyring(7), PR_SET_DUMPABLE in prctl(2)"
    check: ClassVar = "ps -o sid= -p PID"
    without: ClassVar = "the container can read the caller's keys (CVE-2016-9962 kept its fds)"

    keyring: bool = True

    @property
    def call(self) -> tuple[str, ...]:
        """Not dumpable first: from here on a process inside could otherwise attach to us."""
        lines = ("prctl(PR_SET_DUMPABLE, SUID_DUMP_DISABLE)", "setsid()")
        return (*lines, "keyctl(KEYCTL_JOIN_SESSION_KEYRING, NULL)") if self.keyring else lines

    def apply(self, context: Context) -> None:
        """A kernel without keyrings has none to leak."""
        del context
        kernel.prctl(PR_SET_DUMPABLE, 0)
        os.setsid()
        if self.keyring:
            kernel.keyctl_join_session_keyring(None)


class LoopbackUp(Step):
    """A new network namespace has one interface, and it is down."""

    id: ClassVar = "loopback-up"
    why: ClassVar = "programs expect to reach themselves on 127.0.0.1"
    man: ClassVar = "netdevice(7), network_namespaces(7)"
    check: ClassVar = "nsenter -t PID -n ip addr show lo"
    without: ClassVar = "connect to 127.0.0.1 fails with ENETUNREACH"

    @property
    def call(self) -> tuple[str, ...]:
        """The oldest interface there is: an ioctl on any socket."""
        return ('ioctl(fd, SIOCSIFFLAGS, {ifr_name="lo"',)

    def apply(self, context: Context) -> None:
        """Set IFF_UP and IFF_RUNNING."""
        del context
        sock = _socket.socket(_socket.AF_INET, _socket.SOCK_DGRAM | _socket.SOCK_CLOEXEC)
        fcntl.ioctl(sock.fileno(), 0x8914, struct.pack("16sh22x", b"lo", 0x1 | 0x40))
        sock.close()


class MakeMountsPrivate(Step):
    """The new mount namespace starts as a copy that still listens to, and talks to, the host's."""

    id: ClassVar = "make-mounts-private"
    why: ClassVar = "stop mount events from flowing to the host"
    man: ClassVar = "mount_namespaces(7), SHARED SUBTREES"
    check: ClassVar = "grep shared: /proc/PID/mountinfo"
    without: ClassVar = "the host is littered with our mounts, and pivot_root gives EINVAL"

    propagation: Mount = Mount.MS_PRIVATE | Mount.MS_REC

    @property
    def call(self) -> tuple[str, ...]:
        """A change of propagation is a mount call with neither source nor type."""
        return (f'mount(NULL, "/", NULL, {spell(self.propagation)}, NULL)',)

    def apply(self, context: Context) -> None:
        """Apply to the whole tree."""
        del context
        kernel.mount(None, "/", None, self.propagation, None)


class SetHostname(Step):
    """Names of the UTS namespace."""

    id: ClassVar = "sethostname"
    why: ClassVar = "the container has a name of its own"
    man: ClassVar = "sethostname(2), uts_namespaces(7)"
    check: ClassVar = "nsenter -t PID -u hostname"
    without: ClassVar = "logs and prompts show the host's name"

    hostname: str = ""
    domainname: str = ""

    @property
    def call(self) -> tuple[str, ...]:
        """Only what the spec asks for."""
        lines = []
        if self.hostname:
            lines.append(f'sethostname("{self.hostname}", {len(self.hostname.encode())})')
        if self.domainname:
            lines.append(f'setdomainname("{self.domainname}", {len(self.domainname.encode())})')
        return tuple(lines)

    def apply(self, context: Context) -> None:
        """Set them."""
        del context
        if self.hostname:
            kernel.sethostname(self.hostname)
        if self.domainname:
            kernel.setdomainname(self.domainname)


class MoveNetDevices(Step):
    """Give interfaces of the host to the container."""

    lane: ClassVar = "R"
    id: ClassVar = "move-net-devices"
    why: ClassVar = "a network card, RDMA above all, works at full speed without a bridge"
    man: ClassVar = "network_namespaces(7), config-linux.md (Network Devices)"
    check: ClassVar = "nsenter -t PID -n ip link"
    without: ClassVar = "the container has only virtual interfaces"

    #: (name on the host, name inside; "" keeps it)
    devices: tuple[tuple[str, str], ...]

    @property
    def call(self) -> tuple[str, ...]:
        """Requests over netlink, as for AttachNetwork."""
        return ("socket(AF_NETLINK, SOCK_RAW|SOCK_CLOEXEC, NETLINK_ROUTE",)

    def apply(self, context: Context) -> None:
        """Netlink is imported here: few containers take hardware along."""
        from ..network.handover import move_device

        netns = os.open(f"/proc/{context.init_pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            for name, inside in self.devices:
                move_device(name, netns, inside)
        finally:
            os.close(netns)
