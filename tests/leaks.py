"""The leak witness: what a test may not leave behind, read from the kernel's own listings.

It knows nothing about minirun's code, only its names: groups under ``minirun`` in any cgroup
hierarchy, links and nft tables with our prefix, bound network namespaces, mounts and processes
that mention the test's own folders, children of the test run, and entries of the state folder.

The default bridge and its nft table are shared by all containers of a host and outlive each of
them, so they are no leak of one test; ``sweep_bridge`` takes them away when the last run ends.

A thing that is on its way out gets MINIRUN_LEAK_GRACE_S seconds (3) before it counts.

Where another test run is alive on the same host, what belongs to the host as a whole cannot be
told apart and is left out: each run holds a shared lock, and only a run that could have it alone
is alone.
"""

from __future__ import annotations

import fcntl
import os
import re
import socket
import struct
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

LINK = re.compile(r"minirun|mr-?[0-9a-f]{6}")
SHARED = {"link minirun0", "nft table ip minirun", "nft table inet minirun"}
BRIDGE = Path("/sys/class/net/minirun0")
#: Stands in a listing that includes the host's.
ALONE = "no other run"

NETLINK_NETFILTER = 12
NFNL_SUBSYS_NFTABLES = 10
NFT_MSG_GETTABLE = 1
NLM_F_REQUEST_DUMP = 0x301
NLMSG_DONE = 3
NLMSG_ERROR = 2


class Witness:
    """What exists now that could be left behind.

    Args:
        state: the folder where this run's containers keep their state (MINIRUN_ROOT).
        folders: every folder this run gave to minirun; mounts and processes naming one are ours.
    """

    def __init__(self, state: Path, folders: tuple[Path, ...]) -> None:
        self._state = state
        self._folders = tuple(os.fsencode(folder) for folder in folders)
        self._lock = _shared_lock()
        # What stands on the host before the first test is nobody's leak.
        self._older = frozenset(_host_wide())

    def near(self) -> frozenset[str]:
        """Return what can only be ours, and is cheap to list."""
        return frozenset((*_children(), *self._state_entries()))

    def all(self, *, host: bool = True) -> frozenset[str]:
        """Return everything, the host's listings included where no other run is alive."""
        ours = {*self.near(), *self._mounts(), *self._processes()}
        if host and self._is_alone():
            ours |= {ALONE} | (set(_host_wide()) - self._older)
        return frozenset(ours)

    def left_since(self, before: frozenset[str], *, everything: bool) -> list[str]:
        """Return what is new since `before`, after giving dying things a moment to go.

        Where another run was alive then, what it had made is not in `before`, and no leak of ours.
        """
        deadline = time.monotonic() + float(os.environ.get("MINIRUN_LEAK_GRACE_S", "3"))
        host = ALONE in before
        while left := (self.all(host=host) if everything else self.near()) - before:
            if time.monotonic() > deadline:
                break
            time.sleep(0.02)
        return sorted(left)

    def sweep_bridge(self) -> None:
        """Remove the default bridge and its nft table where nothing uses them any more."""
        if os.geteuid() or not self._is_alone() or not BRIDGE.exists():
            return
        if not any((BRIDGE / "brif").iterdir()):
            subprocess.run(["ip", "link", "delete", BRIDGE.name], check=False)
            for table in _nft_tables():
                subprocess.run(["nft", "delete", *table.split()[1:]], check=False)

    def _state_entries(self) -> Iterator[str]:
        yield from (f"state {entry}" for entry in _listing(self._state) if entry[0] != ".")

    def _mounts(self) -> Iterator[str]:
        for line in Path("/proc/self/mountinfo").read_bytes().splitlines():
            if any(folder in line for folder in self._folders):
                yield f"mount {os.fsdecode(line.split()[4])}"

    def _processes(self) -> Iterator[str]:
        """Yield processes that were told our folders, wherever their parent is by now."""
        own = os.getpid()
        for entry in _listing(Path("/proc")):
            if entry.isdigit() and int(entry) != own and self._was_told(Path("/proc") / entry):
                yield f"process {entry} ({_text(Path('/proc') / entry / 'comm')})"

    def _was_told(self, process: Path) -> bool:
        try:
            told = (process / "environ").read_bytes() + (process / "cmdline").read_bytes()
        except OSError:
            return False  # it is gone, or it is another user's
        return any(folder in told for folder in self._folders)

    def _is_alone(self) -> bool:
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        finally:
            fcntl.flock(self._lock, fcntl.LOCK_SH)  # a failed upgrade drops the lock: flock(2)
        return True


def _shared_lock() -> int:
    path = Path(tempfile.gettempdir()) / f"minirun-tests-{os.geteuid()}.lock"
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(lock, fcntl.LOCK_SH)
    return lock


def _host_wide() -> Iterator[str]:
    yield from (f"cgroup {group}" for group in _groups())
    for link in _listing(Path("/sys/class/net")):
        if LINK.match(link) and f"link {link}" not in SHARED:
            yield f"link {link}"
    for bound in _listing(Path("/run/netns")):
        yield f"netns /run/netns/{bound}"
    yield from (table for table in _nft_tables() if table not in SHARED)


def _groups() -> Iterator[Path]:
    root = Path("/sys/fs/cgroup")
    for top in (root, *(root / child for child in _listing(root))):
        # os.walk skips what vanishes while it looks; Path.glob raises.
        for folder, inner, _ in os.walk(top / "minirun"):
            yield from (Path(folder) / name for name in inner)


def _children() -> Iterator[str]:
    """Yield our children; one that is dead but not yet waited for counts too."""
    for task in _listing(Path("/proc/self/task")):
        for pid in _text(Path("/proc/self/task") / task / "children").split():
            yield f"child {pid} ({_text(Path('/proc') / pid / 'comm')})"


def _nft_tables() -> Iterator[str]:
    """Ask the kernel itself: running nft(8) around every test would cost more than the tests."""
    if os.geteuid():
        return
    families = {1: "inet", 2: "ip", 5: "netdev", 7: "bridge", 10: "ip6"}
    kind = NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETTABLE
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER) as netlink:
        netlink.send(struct.pack("=IHHIIBBH", 20, kind, NLM_F_REQUEST_DUMP, 1, 0, 0, 0, 0))
        for family, name in _table_replies(netlink):
            if name.startswith("minirun"):
                yield f"nft table {families.get(family, family)} {name}"


def _table_replies(netlink: socket.socket) -> Iterator[tuple[int, str]]:
    """Parse struct nlmsghdr, struct nfgenmsg and the first attribute, NFTA_TABLE_NAME."""
    while True:
        data = netlink.recv(65536)
        while data:
            length, kind = struct.unpack_from("=IH", data)
            if kind in (NLMSG_DONE, NLMSG_ERROR):
                return
            (size,) = struct.unpack_from("=H", data, 20)
            yield data[16], data[24 : 20 + size].rstrip(b"\0").decode()
            data = data[length + 3 & ~3 :]


def _listing(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []


def _text(file: Path) -> str:
    try:
        return file.read_text().strip()
    except OSError:
        return ""
