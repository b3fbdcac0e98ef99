"""cgroup v1 and hybrid: one tree per controller, and a process has a place in each.

What it costs to join. A write to ``cgroup.procs`` must stop every fork and exit on the machine,
which means waiting for an RCU grace period: 5 to 23 ms were measured on an idle 2-core machine. A
single-threaded process that writes ``0`` to ``tasks`` moves only itself, and the kernel skips
that lock (cgroup_procs_write_start: ``pid || threadgroup``): nine hierarchies in 0.3 ms. So a
container's first process joins by itself, and ``add`` is for everybody else.

On a hybrid host a controller may sit in the v2 tree (hugetlb does, where nobody mounted it on v1).
That tree knows no cheap way to join, so our group there is made only for a limit that needs it.

See: cgroups(7), and the kernel's Documentation/admin-guide/cgroup-v1/. Next: ``v2.py``.
"""

from __future__ import annotations

import os
import time

from ..errors import HostError, StateError, take_back
from ..record import replace
from . import files
from .claims import Claim
from .driver import Driver
from .refusals import refuse_frozen, refuse_used

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ..host import Host
    from ..spec_resources import Resources
    from .devices import Policy
    from .stats import Stats

FREEZE_S = 2.0
KILL_S = 5.0


class V1Driver(Driver):
    """One container's groups, one per hierarchy."""

    def __init__(self, host: Host, path: str) -> None:
        super().__init__(host, path)
        where = host.controllers
        self._v1 = list(dict.fromkeys(d for c, d in self.dirs.items() if where[c].version == 1))
        self._v2 = list(dict.fromkeys(d for c, d in self.dirs.items() if where[c].version == 2))
        # Where processes are listed and killed. A container may move its processes in trees that
        # it can write to, so take one that matters to us and that it is not given.
        main = next((c for c in ("freezer", "devices", "pids") if c in self.dirs), None)
        self._main = self.dirs[main] if main else self._v1[0]
        self.claim = Claim(self.dirs.get("devices", self._main))

    # ── life ──────────────────────────────────────────────────────────────────────────────────

    def create(self) -> None:
        """Make a group in every v1 hierarchy, or in none."""
        first = self.claim.directory
        made = [first] if self._make_first(lambda: files.make_directory(first)) else []
        try:
            for directory in (path for path in self._v1 if path != first):
                if files.make_directory(directory):
                    made.append(directory)
                else:
                    refuse_used(directory, files.pids(directory, recursive=True))
            refuse_frozen(self._main, self._state() not in ("THAWED", ""))
            for file in ("cpuset.cpus", "cpuset.mems") if "cpuset" in self.dirs else ():
                _inherit(self.dirs["cpuset"], file)
        except BaseException as error:
            take_back(error, *map(_removal, reversed(made)))
            raise

    def delegate(self, uid: int, gid: int) -> None:
        """Refuse: whoever owns a v1 group can lift the limits that it sets."""
        raise HostError(
            f"cgroup v1 groups cannot be delegated to uid {uid}",
            hint="use a host with cgroup v2, see Delegation in cgroups(7)",
        )

    # ── processes ─────────────────────────────────────────────────────────────────────────────

    def join(self) -> None:
        """Move the calling process in, without stopping the machine for it."""
        if len(os.listdir("/proc/self/task")) > 1:
            self.add(os.getpid())  # "tasks" would move one thread and leave the others outside
            return
        for directory in self._v1:
            files.write(directory + "/tasks", "0")
        for directory in filter(os.path.isdir, self._v2):
            files.write(directory + "/cgroup.procs", "0")

    def add(self, pid: int, *, beside: int | None = None) -> None:
        """Move a process in; ``beside`` is not needed, since inner groups may have processes."""
        for directory in (*self._v1, *filter(os.path.isdir, self._v2)):
            files.write(directory + "/cgroup.procs", str(pid))

    def pids(self, *, recursive: bool = True) -> list[int]:
        """Return the processes, as one hierarchy knows them: they enter and leave all together."""
        return files.pids(self._main, recursive=recursive)

    def kill(self) -> None:
        """Freeze, so that nobody forks and no pid is used again; kill; thaw, so that they can die.

        Raises:
            StateError: processes appear faster than they can be killed (there is no freezer), or
                one does not die, as in an interrupted network file system.
        """
        deadline = time.monotonic() + KILL_S
        pause_s = 0.0005
        while True:
            self._freeze_if_possible()
            left = files.kill_all(self.pids())
            if "freezer" in self.dirs:
                self.thaw()
            if not left:
                return
            if time.monotonic() > deadline:
                raise StateError(
                    f"processes {self.pids()} do not die", hint="see ps -o pid,stat,wchan"
                )
            time.sleep(pause_s)
            pause_s = min(pause_s * 2, 0.02)

    # ── freezer ───────────────────────────────────────────────────────────────────────────────

    def freeze(self) -> None:
        """Ask until everybody is stopped: a process that was just forked may have missed it.

        Raises:
            StateError: somebody cannot be stopped, as in a vfork or a stuck system call.
        """
        if "freezer" not in self.dirs:
            raise HostError("pausing needs the freezer controller, which is not mounted")
        deadline = time.monotonic() + FREEZE_S
        while True:
            files.write(self.dirs["freezer"] + "/freezer.state", "FROZEN")
            if self.frozen():
                return
            if time.monotonic() > deadline:
                self.thaw()
                raise StateError(f"cgroup {self._main} does not freeze", hint="try again")
            time.sleep(0.0005)

    def thaw(self) -> None:
        """Let everybody go on."""
        if "freezer" in self.dirs and os.path.isdir(self.dirs["freezer"]):
            files.write(self.dirs["freezer"] + "/freezer.state", "THAWED")

    def frozen(self) -> bool:
        """Tell whether all are stopped; FREEZING means that some are not yet."""
        return self._state() == "FROZEN"

    # ── numbers ───────────────────────────────────────────────────────────────────────────────

    def stats(self) -> Stats:
        """Return what was used so far."""
        from .stats_v1 import Reader  # counters are read long after the start

        huge = self.host.controllers.get("hugetlb")
        names = ("usage_in_bytes", "max_usage_in_bytes", "limit_in_bytes")
        if huge is None or huge.version != 1:
            names = ("current", "", "max")
        return Reader(self._file).read(self._hugetlb(self.dirs.get("hugetlb", ""), names))

    def oom_kills(self) -> int:
        """Return the kernel's count (since Linux 4.13)."""
        return files.read_pairs(self._file("memory", "memory.oom_control")).get("oom_kill", 0)

    def memory_peak(self) -> int:
        """Return the most memory ever in use."""
        return files.read_number(self._file("memory", "memory.max_usage_in_bytes"))

    # ── below ─────────────────────────────────────────────────────────────────────────────────

    def _completed(self, resources: Resources) -> Resources:
        """Add the memory limit in force to a lone memory+swap, which is checked against it."""
        memory = resources.memory
        if memory is None or not memory.swap or memory.limit:
            return resources
        limit = files.read_limit(self._file("memory", "memory.limit_in_bytes"))
        return replace(resources, memory=replace(memory, limit=limit))

    def _file(self, controller: str, name: str) -> str:
        """Return a file's path; one that cannot exist where the controller is not mounted."""
        return f"{self.dirs.get(controller, '/proc/self/no-controller')}/{name}"

    def _state(self) -> str:
        return files.read(self._file("freezer", "freezer.state"), "")

    def _freeze_if_possible(self) -> None:
        try:
            if "freezer" in self.dirs and os.path.isdir(self.dirs["freezer"]):
                self.freeze()
        except StateError:
            return  # somebody hangs in the kernel: the signal still reaches everybody else

    def _ready(self, controller: str) -> str:
        """Make our group in the v2 tree at the first limit that belongs there."""
        directory = self.dirs[controller]
        if directory in self._v2 and not os.path.isdir(directory):
            from .tree import make_group

            make_group(self.host.controllers[controller].base, directory)
            for pid in self.pids():
                files.write(directory + "/cgroup.procs", str(pid))
        return directory

    def _set_devices(self, rules: Policy) -> None:
        """Write the lists; a container in a user namespace cannot make devices anyway."""
        if self.host.rootless:
            return  # the kernel lets nobody but the host's root write them
        if "devices" not in self.dirs:
            raise HostError(
                "device rules need the devices controller, which is not mounted",
                hint="mount -t cgroup -o devices devices /sys/fs/cgroup/devices",
            )
        from .devices import v1_lines

        current = files.read(self.dirs["devices"] + "/devices.list")
        for file, line in v1_lines(rules, current):
            files.write(f"{self.dirs['devices']}/{file}", line)


def _removal(directory: str) -> Callable[[], None]:
    return lambda: files.remove_directory(directory)


def _inherit(directory: str, file: str) -> str:
    """Fill an empty cpuset from the group above: nobody can join one without CPUs and memory."""
    path = f"{directory}/{file}"
    value = files.read(path)
    if not value:
        value = _inherit(os.path.dirname(directory), file)
        files.write(path, value)
    return value
