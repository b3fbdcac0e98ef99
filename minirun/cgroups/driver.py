"""What every driver does, whatever the version: the interface that the rest of minirun knows.

    driver = open_driver(host, "minirun/web")
    driver.create()                 mkdir, in every hierarchy
    driver.apply(spec.resources)    limits, and the device rules, on an empty group
    driver.join() or .add(pid)      the process goes in, and its children are born there
    driver.kill(), .delete()        nothing is left

The base class holds what the versions share, writing limits above all; ``v1.py`` and ``v2.py`` hold
the file names and the odd habits of each.

May not keep state: two drivers for one path, in two processes, are equal. Next: ``v1.py``.
"""

from __future__ import annotations

import errno
import os

from ..errors import HostError, StateError, SyscallError
from . import files
from .claims import Claim
from .refusals import refuse_used

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from ..host import Host
    from ..spec_resources import Resources
    from .devices import Policy
    from .limits import Write
    from .stats import Counted, Stats

#: What the kernel means by an errno that it returns for a limit.
HINTS = {
    errno.EBUSY: "it is in use beyond that, or by a group inside: see the group's current usage",
    errno.EINVAL: "the kernel rejects the value: compare it with the limits of the group above",
    errno.ERANGE: "the value is out of the kernel's range for this file",
    errno.ENODEV: "there is no such device here: see lsblk",
    errno.ENOSPC: "the group above does not have it to give",
    errno.EACCES: "this user may not change the group, see Delegation in cgroups(7)",
    errno.EPERM: "the group above does not allow it, see cgroups(7)",
}


class Driver:
    """One container's control groups.

    Args:
        host: where the hierarchies are.
        path: below their base, or below their mount when it starts with a slash.
    """

    def __init__(self, host: Host, path: str) -> None:
        self.host = host
        self.path = path
        self.dirs: Mapping[str, str] = {name: self._directory(name) for name in host.controllers}
        #: Taken by ``create``; whoever called that releases it once its container is inside.
        self.claim = Claim("")

    # ── life ──────────────────────────────────────────────────────────────────────────────────

    def create(self) -> None:
        """Make the groups, empty and without limits, and claim them: see ``claims.py``.

        Raises:
            StateError: they exist and are in use, or about to be, or frozen.
            HostError: this user may not make them.
        """
        raise NotImplementedError

    def delegate(self, uid: int, gid: int) -> None:
        """Let a user manage what is inside the group: the container's root, in a user namespace.

        Raises:
            HostError: on v1, where a group's owner could lift the container's own limits.
        """
        raise NotImplementedError

    def delete(self) -> None:
        """Remove the groups and all groups that the container made inside; missing is fine.

        Raises:
            StateError: processes are still in them. This kills nobody.
        """
        with self.claim:
            first = self.claim.directory
            for directory in sorted(self._own_directories(), key=lambda path: path == first):
                files.remove_directory(directory)

    def exists(self) -> bool:
        """Tell whether the groups are there."""
        return any(map(os.path.isdir, self._own_directories()))

    # ── processes ─────────────────────────────────────────────────────────────────────────────

    def join(self) -> None:
        """Move the calling process in. It must be single-threaded; its children are born inside.

        Prefer this to ``add``: see ``v1.py`` on what it saves.
        """
        self.add(os.getpid())

    def add(self, pid: int, *, beside: int | None = None) -> None:
        """Move a process in.

        Args:
            pid: as seen from here.
            beside: where the container's init has moved to a group further inside, the newcomer
                goes there too (v2 allows no processes in inner groups).

        Raises:
            SyscallError: ESRCH, it is gone; EBUSY, the group has groups of its own.
        """
        raise NotImplementedError

    def pids(self, *, recursive: bool = True) -> list[int]:
        """Return the processes in the group, and in the groups inside it."""
        directories = self._own_directories()
        return files.pids(directories[0], recursive=recursive) if directories else []

    def kill(self) -> None:
        """Send SIGKILL to every process inside, and to those that they fork meanwhile."""
        raise NotImplementedError

    # ── freezer ───────────────────────────────────────────────────────────────────────────────

    def freeze(self) -> None:
        """Stop every process at its next return to user space, and wait until all are stopped."""
        raise NotImplementedError

    def thaw(self) -> None:
        """Let them go on."""
        raise NotImplementedError

    def frozen(self) -> bool:
        """Tell whether all are stopped."""
        raise NotImplementedError

    # ── limits ────────────────────────────────────────────────────────────────────────────────

    def apply(self, resources: Resources | None) -> None:
        """Write the limits and the device rules of a new group. Without rules, the default ones.

        Raises:
            SpecError, HostError: before anything is written, as ``resources.writes``.
            SyscallError: the kernel refuses a value; names file and value.
        """
        # Here and below: whoever only looks, signals or kills needs none of this.
        from ..spec_resources import Resources
        from .devices import policy
        from .resources import writes

        given = resources or Resources()
        lines, rules = writes(given, self.host), policy(given.devices)
        self.write_all(lines)
        self._set_devices(rules)

    def update(self, resources: Resources) -> None:
        """Change what is given and nothing else; device rules stay unless they are given.

        Raises:
            SpecError, HostError: before anything is written, as ``resources.writes``.
            StateError: ``checkBeforeUpdate``, and more memory is in use than the new limit.
            SyscallError: the kernel refuses a value; names file and value.
        """
        from .devices import policy
        from .resources import writes

        completed = self._completed(resources)
        lines = writes(completed, self.host)
        rules = policy(resources.devices) if resources.devices is not None else None
        self._check_usage(resources)
        self.write_all(lines)
        if rules is not None:
            self._set_devices(rules)

    def write_all(self, lines: Iterable[Write]) -> None:
        """Write every line; one that is refused as inconsistent is tried again after the others.

        Some pairs are checked against each other at each write: memory must not exceed memory+swap,
        a quota not the share of the group above. Which of the two goes first depends on the values
        in force; trying again finds the order for all of them.
        """
        pending = list(lines)
        while pending:
            refused = [(line, error) for line in pending if (error := self._try_write(line))]
            if len(refused) == len(pending):
                raise refused[0][1]
            pending = [line for line, _ in refused]

    # ── numbers ───────────────────────────────────────────────────────────────────────────────

    def stats(self) -> Stats:
        """Return what was used so far."""
        raise NotImplementedError

    def oom_kills(self) -> int:
        """Return how many processes the kernel has killed for want of memory."""
        raise NotImplementedError

    def memory_peak(self) -> int:
        """Return the most memory that was ever in use, in bytes; 0 where it is not counted."""
        raise NotImplementedError

    # ── for the versions ──────────────────────────────────────────────────────────────────────

    def _directory(self, controller: str) -> str:
        where = self.host.controllers[controller]
        top = where.mount if self.path.startswith("/") else where.base
        return f"{top}/{self.path.lstrip('/')}"

    def _make_first(self, make: Callable[[], bool]) -> bool:
        """Make the directory that a claim is staked in, and claim it; False where it existed.

        Between the two somebody else may come first, or remove what was made.

        Raises:
            StateError: somebody is inside.
        """
        while True:
            made = make()
            if self.claim.take():
                refuse_used(self.claim.directory, self.pids())
                return made

    def _own_directories(self) -> list[str]:
        """Return each directory once: controllers may share a hierarchy."""
        return list(dict.fromkeys(self.dirs.values()))

    def _completed(self, resources: Resources) -> Resources:
        """Add the other half of a pair that this version writes as one."""
        return resources

    def _check_usage(self, resources: Resources) -> None:
        """Refuse a limit below what is in use, where it was asked for."""
        memory = resources.memory
        if memory is None or not memory.check_before_update or not memory.limit or memory.limit < 0:
            return
        usage = self.stats().memory.usage_bytes
        if usage > memory.limit:
            raise StateError(
                f"memory.limit {memory.limit} is below the {usage} bytes in use",
                hint="raise the limit, or leave memory.checkBeforeUpdate out",
            )

    def _set_devices(self, rules: Policy) -> None:
        raise NotImplementedError

    def _try_write(self, line: Write) -> SyscallError | None:
        """Write one line; return the error where another order may help.

        Raises:
            HostError: this kernel has neither the file nor its fallback.
            SyscallError: the value is refused for good.
        """
        directory = self._ready(line.controller)
        try:
            files.write(f"{directory}/{line.file}", line.text)
        except SyscallError as error:
            if error.errno == errno.ENOENT and line.fallback is not None:
                return self._try_write(line.fallback)
            if error.errno == errno.ENOENT and line.optional:
                return None
            if error.errno == errno.ENOENT:
                raise self._no_file(directory, line) from error
            error.hint = HINTS.get(error.errno or 0, "")
            if error.errno == errno.EINVAL:
                return error
            raise
        return None

    def _ready(self, controller: str) -> str:
        """Return the directory to write a controller's files in."""
        return self.dirs[controller]

    def _no_file(self, directory: str, line: Write) -> HostError | StateError:
        if not os.path.isdir(directory):
            return StateError(f"cgroup {directory} does not exist", hint="is the container gone?")
        return HostError(
            f"{line.file} is not offered by this kernel for {directory}",
            hint=f"{line.controller} may be switched off above, or the file be older or newer",
        )

    def _hugetlb(self, directory: str, names: tuple[str, str, str]) -> dict[str, Counted]:
        """Read the huge pages' counters; ``names`` are the files for usage, peak and limit."""
        from .stats import Counted  # counters are read long after the start

        usage, peak, limit = names
        return {
            size: Counted(
                files.read_number(f"{directory}/hugetlb.{size}.{usage}"),
                files.read_number(f"{directory}/hugetlb.{size}.{peak}") if peak else 0,
                files.read_limit(f"{directory}/hugetlb.{size}.{limit}"),
            )
            for size in self.host.hugepage_sizes
            if os.path.exists(f"{directory}/hugetlb.{size}.{usage}")
        }
