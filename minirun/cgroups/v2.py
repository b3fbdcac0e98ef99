"""cgroup v2: one tree for all controllers, one group per container.

The rules about who may be where are kept in ``tree.py``. Devices have no files: the rules are a
program, see ``devices.py``. A process is best born here: clone3(2) with CLONE_INTO_CGROUP costs
nothing, while a write to ``cgroup.procs`` waits for every fork on the machine, as on v1.

See: cgroups(7), and the kernel's Documentation/admin-guide/cgroup-v2.rst. Next: ``stats.py``.
"""

from __future__ import annotations

import errno
import os
import select
import time

from ..errors import HostError, StateError, SyscallError
from ..record import replace
from . import files
from .claims import Claim
from .driver import Driver
from .refusals import refuse_frozen
from .tree import make_group

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..host import Host
    from ..spec_resources import Resources
    from .devices import Policy
    from .hierarchy import Hierarchy
    from .stats import CpuStats, IoStats, MemoryStats, Stats

FREEZE_S = 2.0
KILL_S = 5.0
#: What a user may write in a group that was delegated. See: /sys/kernel/cgroup/delegate.
DELEGATED = "cgroup.procs\ncgroup.threads\ncgroup.subtree_control\nmemory.oom.group\n"


class V2Driver(Driver):
    """One container's group."""

    def __init__(self, host: Host, path: str) -> None:
        super().__init__(host, path)
        if host.cgroup2 is None:
            raise HostError(
                "no cgroup v2 tree is mounted", hint="mount -t cgroup2 none /sys/fs/cgroup"
            )
        self._tree: Hierarchy = host.cgroup2
        self._top = self._tree.mount if path.startswith("/") else self._tree.base
        self.directory = f"{self._top}/{path.lstrip('/')}"
        #: One tree, one directory: named by the empty string, as in /proc/PID/cgroup.
        self.dirs = {"": self.directory}
        self.claim = Claim(self.directory)

    # ── life ──────────────────────────────────────────────────────────────────────────────────

    def create(self) -> None:
        """Make the group, with every controller that can be handed down to it."""
        if not self._make_first(lambda: make_group(self._top, self.directory)):
            refuse_frozen(self.directory, files.read(self.directory + "/cgroup.freeze") != "0")

    def delegate(self, uid: int, gid: int) -> None:
        """Give away the directory and the files that move processes, and none that sets a limit."""
        names = files.read("/sys/kernel/cgroup/delegate", DELEGATED).split()
        os.chown(self.directory, uid, gid)
        for path in (f"{self.directory}/{name}" for name in names):
            if os.path.exists(path):
                os.chown(path, uid, gid)

    # ── processes ─────────────────────────────────────────────────────────────────────────────

    def add(self, pid: int, *, beside: int | None = None) -> None:
        """Move a process in, or beside the container's init where that has moved further inside."""
        try:
            files.write(self.directory + "/cgroup.procs", str(pid))
        except SyscallError as error:
            # EBUSY: it hands controllers down. EOPNOTSUPP: it has become threaded.
            if beside is None or error.errno not in (errno.EBUSY, errno.EOPNOTSUPP):
                raise
            files.write(self._group_of(beside) + "/cgroup.procs", str(pid))

    def kill(self) -> None:
        """Kill all at once (Linux 5.14), or by hand as on v1."""
        try:
            files.write(self.directory + "/cgroup.kill", "1")
        except SyscallError as error:
            # ENODEV: removed between open and write, as systemd does once the last one has ended.
            if error.errno not in (errno.ENOENT, errno.ENODEV):
                raise
            if self.exists():
                self._kill_by_hand()

    # ── freezer ───────────────────────────────────────────────────────────────────────────────

    def freeze(self) -> None:
        """Stop everybody and wait for it.

        Raises:
            StateError: somebody cannot be stopped.
        """
        files.write(self.directory + "/cgroup.freeze", "1")
        if not self._wait_for("frozen 1", FREEZE_S):
            self.thaw()
            raise StateError(f"cgroup {self.directory} does not freeze", hint="try again")

    def thaw(self) -> None:
        """Let everybody go on."""
        files.write(self.directory + "/cgroup.freeze", "0")

    def frozen(self) -> bool:
        """Tell whether all are stopped."""
        return files.read_pairs(self.directory + "/cgroup.events").get("frozen") == 1

    # ── numbers ───────────────────────────────────────────────────────────────────────────────

    def stats(self) -> Stats:
        """Return what was used so far."""
        from .stats import PidsStats, Stats  # counters are read long after the start

        where = self.directory + "/pids."
        pids = PidsStats(
            files.read_number(where + "current"),
            files.read_number(where + "peak"),
            files.read_limit(where + "max"),
        )
        hugetlb = self._hugetlb(self.directory, ("current", "", "max"))
        return Stats(self._cpu(), self._memory(), pids, self._io(), hugetlb)

    def oom_kills(self) -> int:
        """Return the kernel's count, groups inside included."""
        return files.read_pairs(self.directory + "/memory.events").get("oom_kill", 0)

    def memory_peak(self) -> int:
        """Return the most memory ever in use (since Linux 5.19)."""
        return files.read_number(self.directory + "/memory.peak")

    def _cpu(self) -> CpuStats:
        from .stats import CpuStats

        stat = files.read_pairs(self.directory + "/cpu.stat")
        return CpuStats(
            stat.get("usage_usec", 0) * 1000,
            stat.get("user_usec", 0) * 1000,
            stat.get("system_usec", 0) * 1000,
            periods=stat.get("nr_periods", 0),
            throttled_periods=stat.get("nr_throttled", 0),
            throttled_ns=stat.get("throttled_usec", 0) * 1000,
        )

    def _memory(self) -> MemoryStats:
        from .stats import MemoryStats

        where = self.directory + "/memory."
        return MemoryStats(
            files.read_number(where + "current"),
            self.memory_peak(),
            files.read_limit(where + "max"),
            files.read_number(where + "swap.current"),
            files.read_limit(where + "swap.max"),
            files.read_pairs(where + "events").get("max", 0),
            self.oom_kills(),
            stat=files.read_pairs(where + "stat"),
        )

    def _io(self) -> tuple[IoStats, ...]:
        from .stats import IoStats

        found = []
        for line in files.read(self.directory + "/io.stat", "").splitlines():
            device, *fields = line.split()
            count = dict(field.split("=") for field in fields if "=" in field)
            numbers = (int(count.get(key, 0)) for key in ("rbytes", "wbytes", "rios", "wios"))
            found.append(IoStats(*map(int, device.split(":")), *numbers))
        return tuple(found)

    # ── below ─────────────────────────────────────────────────────────────────────────────────

    def _ready(self, controller: str) -> str:
        return self.directory

    def _set_devices(self, rules: Policy) -> None:
        """Attach the program; a container in a user namespace cannot make devices anyway."""
        if self.host.rootless:
            return  # bpf(2) is not for us, nor is mknod for the container: the kernel refuses both
        from .bpf import set_device_program
        from .devices import device_program

        set_device_program(self.directory, device_program(rules))

    def _completed(self, resources: Resources) -> Resources:
        """Add the halves in force: quota to a lone period, memory to a lone memory+swap."""
        cpu, memory = resources.cpu, resources.memory
        if cpu is not None and cpu.period and not cpu.quota:
            quota, _ = files.read(self.directory + "/cpu.max", "max 100000").split()
            cpu = replace(cpu, quota=-1 if quota == "max" else int(quota))
        if memory is not None and memory.swap and not memory.limit:
            limit = files.read_limit(self.directory + "/memory.max")
            memory = replace(memory, limit=limit)
        return replace(resources, cpu=cpu, memory=memory)

    def _group_of(self, pid: int) -> str:
        """Return the group of a process, which must be inside ours."""
        path = files.read(f"/proc/{pid}/cgroup").rpartition("0::")[2].splitlines()[0]
        directory = self._tree.mount + path
        if ".." in path or not (directory + "/").startswith(self.directory + "/"):
            raise StateError(f"process {pid} has left the container's cgroup for {path}")
        return directory

    def _wait_for(self, line: str, timeout_s: float) -> bool:
        """Wait until cgroup.events has the line; the kernel signals each change as POLLPRI."""
        deadline = time.monotonic() + timeout_s
        fd = os.open(self.directory + "/cgroup.events", os.O_RDONLY | os.O_CLOEXEC)
        try:
            poll = select.poll()
            poll.register(fd, select.POLLPRI)
            while line not in os.pread(fd, 4096, 0).decode().splitlines():
                left_s = deadline - time.monotonic()
                if left_s <= 0:
                    return False
                poll.poll(left_s * 1000)
            return True
        finally:
            os.close(fd)

    def _kill_by_hand(self) -> None:
        """Freeze first: a frozen process cannot fork, and yet it dies."""
        deadline = time.monotonic() + KILL_S
        files.write(self.directory + "/cgroup.freeze", "1")
        while files.kill_all(self.pids()):
            if time.monotonic() > deadline:
                raise StateError(
                    f"processes {self.pids()} do not die", hint="see ps -o pid,stat,wchan"
                )
            self._wait_for("populated 0", 0.01)
        self.thaw()
