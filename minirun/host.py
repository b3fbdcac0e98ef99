"""This machine as one frozen fact, found out once per process.

The planner is pure: whatever it must know about the kernel and the control groups arrives as a
``Host``. A test, or ``minirun explain`` on another system, makes one by hand: the defaults describe
a common machine with cgroup v2 and a recent kernel.

    >>> Host(kernel=(5, 4, 0)).features & {"openat2"}
    frozenset()

``probe`` reads small files under /proc and /sys and nothing else: no subprocess, no import of its
own, about a millisecond. Features are told by the kernel's version, because their calls are part of
a release; what a distribution may switch off is looked up where it shows.

Next: ``cgroups/__init__.py``, which acts on ``controllers``.
"""

from __future__ import annotations

import os

from .cgroups.hierarchy import Hierarchy, read_hierarchies, text
from .cgroups.limits import expand_list
from .record import EMPTY, Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

CAP_SYS_ADMIN = 21

#: Since which release a call or file exists. See: the HISTORY section of each man page.
SINCE: Mapping[str, tuple[int, int]] = {
    "mount_api": (5, 2),  # fsopen, fsmount, move_mount, open_tree
    "pidfd_open": (5, 3),
    "openat2": (5, 6),
    "pidfd_getfd": (5, 6),
    "time_namespace": (5, 6),
    "clone_into_cgroup": (5, 7),
    "close_range": (5, 9),
    "close_range_cloexec": (5, 11),
    "overlay_in_userns": (5, 11),
    "mount_setattr": (5, 12),
    "idmapped_mounts": (5, 12),
    "cgroup_kill": (5, 14),
    "seccomp_wait_killable": (5, 19),
    "pidfd_exit_info": (6, 15),  # the exit code of a child that somebody else waited for
}

V1_ONLY = ("cpuacct", "devices", "freezer", "net_cls", "net_prio", "blkio", "name=systemd")
V2_USUAL = ("cpu", "cpuset", "hugetlb", "io", "memory", "misc", "pids", "rdma")


def _unified(mount: str = "/sys/fs/cgroup") -> Hierarchy:
    return Hierarchy(mount=mount, own=mount, base=mount)


class Host(Record):
    """What this machine can do.

    Args:
        kernel: release as (major, minor, patch).
        arch: as ``uname -m`` prints it.
        uid: our effective user id.
        cgroup_mode: ``v1``, ``hybrid`` (v1 controllers beside an empty v2 tree) or ``v2``.
        controllers: {``memory``: where}, for each controller that can be used here.
        cgroup2: the v2 tree, or None where none is mounted.
        swap_accounting: whether swap can be limited.
        namespaces: the kinds that the kernel knows, named as in /proc/self/ns.
        bounding: our capability bounding set, one bit per capability.
        effective: our effective capabilities, one bit per capability.
        last_cap: the highest capability that the kernel knows.
        user_namespaces: whether a user namespace can be made.
        in_user_namespace: whether we are in one ourselves, and devices are out of reach.
        may_set_groups: whether setgroups(2) is allowed in this user namespace.
        may_make_groups: whether a control group can be made for us: as root, or by delegation.
        apparmor: whether profiles can be applied.
        resctrl: where the processor's caches are shared out; "" where that is not mounted.
        hugepage_sizes: as the hugetlb controller names them, ``2MB``.
        page_size: in bytes.
        memory_bytes: all of the machine's memory.
        online_cpus: a list such as ``0-3,8``.
        online_nodes: memory nodes, likewise.
    """

    kernel: tuple[int, int, int] = (6, 12, 0)
    arch: str = "x86_64"
    uid: int = 0
    cgroup_mode: str = "v2"
    controllers: Mapping[str, Hierarchy] = dict.fromkeys(V2_USUAL, _unified())
    cgroup2: Hierarchy | None = _unified()
    swap_accounting: bool = True
    namespaces: frozenset[str] = frozenset(
        ("cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts")
    )
    bounding: int = (1 << 41) - 1
    effective: int = (1 << 41) - 1
    last_cap: int = 40
    user_namespaces: bool = True
    in_user_namespace: bool = False
    may_set_groups: bool = True
    may_make_groups: bool = True
    apparmor: bool = False
    resctrl: str = ""
    hugepage_sizes: tuple[str, ...] = ("2MB", "1GB")
    page_size: int = 4096
    memory_bytes: int = 16 << 30
    online_cpus: str = "0-7"
    online_nodes: str = "0"

    @property
    def features(self) -> frozenset[str]:
        """Return the names in ``SINCE`` that this kernel is new enough for."""
        return frozenset(name for name, since in SINCE.items() if self.kernel >= since)

    @property
    def rootless(self) -> bool:
        """Return whether the host's root is somebody else: no device, mount or group is ours."""
        return self.uid != 0 or self.in_user_namespace

    @property
    def cpus(self) -> int:
        """Return how many processors are online."""
        return len(expand_list(self.online_cpus))


def probe() -> Host:
    """Return the facts of the machine that this process runs on."""
    uname = os.uname()
    hierarchies = read_hierarchies()
    v1 = {name: at for name, at in hierarchies.items() if at.version == 1}
    cgroup2 = hierarchies.pop("", None)
    status = _status()
    return Host(
        kernel=parse_release(uname.release),
        arch=uname.machine,
        uid=os.geteuid(),
        cgroup_mode=("hybrid" if cgroup2 else "v1") if v1 else "v2",
        controllers=hierarchies,
        cgroup2=cgroup2,
        swap_accounting=_swap_accounting(hierarchies.get("memory")),
        namespaces=frozenset(name for name in _entries("/proc/self/ns") if "_for_" not in name),
        bounding=int(status.get("CapBnd", "0"), 16),
        effective=int(status.get("CapEff", "0"), 16),
        last_cap=_number("/proc/sys/kernel/cap_last_cap", 40),
        user_namespaces=_user_namespaces(int(status.get("CapEff", "0"), 16)),
        in_user_namespace=in_user_namespace(),
        may_set_groups=text("/proc/self/setgroups") != "deny",
        may_make_groups=all(os.access(base, os.W_OK) for base in _bases(hierarchies, cgroup2)),
        apparmor=text("/sys/module/apparmor/parameters/enabled").startswith("Y"),
        resctrl=_resctrl(),
        hugepage_sizes=_hugepage_sizes(),
        page_size=os.sysconf("SC_PAGE_SIZE"),
        memory_bytes=os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        online_cpus=text("/sys/devices/system/cpu/online") or "0",
        online_nodes=text("/sys/devices/system/node/online") or "0",
    )


_found: list[Host] = []


def known() -> Host:
    """Return what was found out first, by this process or by the one that it was forked from.

    For a shim: the launcher has probed when it began, as a daemon would. What changes later (a
    processor is taken out, a tree is mounted) would as well change while a container runs.
    """
    if not _found:
        _found.append(probe())
    return _found[0]


def in_user_namespace() -> bool:
    """Tell whether our ids are mapped: the first user namespace maps every id to itself."""
    return text("/proc/self/uid_map").split() != ["0", "0", "4294967295"]


def parse_release(release: str) -> tuple[int, int, int]:
    """Return the numbers of ``uname -r``; a distribution's suffix is left out.

    >>> parse_release("5.10.0-28-amd64")
    (5, 10, 0)
    """
    plain = release.replace("+", "-").partition("-")[0]
    numbers = [int(part) for part in plain.split(".") if part.isdecimal()]
    major, minor, patch = (*numbers, 0, 0, 0)[:3]
    return major, minor, patch


def _bases(controllers: Mapping[str, Hierarchy], cgroup2: Hierarchy | None) -> set[str]:
    """Return the directories in which groups would be made, once each."""
    wheres = (*controllers.values(), *((cgroup2,) if cgroup2 and not controllers else ()))
    return {where.base for where in wheres}


def _user_namespaces(effective: int) -> bool:
    """Tell from the two switches: the kernel's limit, and Debian's for the unprivileged."""
    if _number("/proc/sys/user/max_user_namespaces", 0) == 0:
        return False
    unprivileged = _number("/proc/sys/kernel/unprivileged_userns_clone", 1)
    return bool(unprivileged or effective >> CAP_SYS_ADMIN & 1)


def _swap_accounting(memory: Hierarchy | None) -> bool:
    """Look for the file that limits swap; v2 does not have it in the root group, so ask /proc."""
    if memory is None:
        return False
    if memory.version == 1:
        return os.path.exists(memory.mount + "/memory.memsw.limit_in_bytes")
    inner = os.path.exists(memory.own + "/memory.max")
    return os.path.exists(memory.own + "/memory.swap.max" if inner else "/proc/swaps")


def _resctrl() -> str:
    """Return where resctrl is mounted; most kernels do not even have the place for it."""
    if not os.path.isdir("/sys/fs/resctrl"):
        return ""
    lines = text("/proc/self/mountinfo").splitlines()
    return next((line.split()[4] for line in lines if " - resctrl " in line), "")


def _hugepage_sizes() -> tuple[str, ...]:
    sizes = []
    for name in _entries("/sys/kernel/mm/hugepages"):
        kilobytes = int(name.removeprefix("hugepages-").removesuffix("kB"))
        sizes.append(kilobytes)
    return tuple(map(hugepage_name, sorted(sizes)))


def hugepage_name(kilobytes: int) -> str:
    """Return a page size as the hugetlb controller spells it in its file names.

    >>> hugepage_name(2048), hugepage_name(1048576), hugepage_name(64)
    ('2MB', '1GB', '64KB')
    """
    for unit in ("KB", "MB"):
        if kilobytes < 1024:
            return f"{kilobytes}{unit}"
        kilobytes //= 1024
    return f"{kilobytes}GB"


# ── small files ───────────────────────────────────────────────────────────────────────────────


def _number(path: str, default: int) -> int:
    found = text(path)
    return int(found) if found.isdecimal() else default


def _entries(path: str) -> list[str]:
    try:
        return os.listdir(path)
    except OSError:
        return []


def _status() -> Mapping[str, str]:
    """Return /proc/self/status as a mapping. See: proc_pid_status(5)."""
    lines = (line.partition(":") for line in text("/proc/self/status").splitlines())
    return {name: value.strip() for name, _, value in lines} or EMPTY
