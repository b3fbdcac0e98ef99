"""Steps that give the container its share of the caches and of the memory's bandwidth.

See: the kernel's Documentation/filesystems/resctrl.rst. Next: ``identity.py``.
"""

from __future__ import annotations

from ..cgroups.resctrl import NOTE, ServiceClass, join, make, remove
from .base import Context, Step, quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import ClassVar


class MakeClass(Step):
    """A class of service, as the processor calls it."""

    lane: ClassVar = "R"
    id: ClassVar = "make-service-class"
    why: ClassVar = "a share of the last cache and of the memory's bandwidth, kept by the processor"
    man: ClassVar = "config-linux.md (IntelRdt), Documentation/filesystems/resctrl.rst"
    check: ClassVar = "cat /sys/fs/resctrl/CLASS/schemata"
    without: ClassVar = "a noisy neighbour can evict whatever the container has in the cache"

    wanted: ServiceClass

    @property
    def call(self) -> tuple[str, ...]:
        """Nothing where the class is somebody else's."""
        if self.wanted.must_exist:
            return ()
        made = (f"mkdir({quoted(self.wanted.directory)}",)
        written = f"{self.wanted.directory}/schemata"
        return (*made, f"openat(AT_FDCWD, {quoted(written)}") if self.wanted.lines else made

    def apply(self, context: Context) -> None:
        """Note what nobody shares before it is made: delete removes it, should we be killed."""
        if self.wanted.owned:
            with open(f"{context.state_dir}/{NOTE}", "w", encoding="utf-8") as note:
                note.write(self.wanted.owned)
            context.undo.append(lambda: remove(self.wanted.owned))
        make(self.wanted)


class JoinClass(Step):
    """The first child goes in; whatever it forks is born inside."""

    lane: ClassVar = "R"
    id: ClassVar = "join-service-class"
    why: ClassVar = "from here on the processor counts the container's cache lines as its own"
    man: ClassVar = "Documentation/filesystems/resctrl.rst"
    check: ClassVar = "grep PID /sys/fs/resctrl/CLASS/tasks"
    without: ClassVar = "the class exists, but nobody is in it"

    #: The class, and the monitoring group inside it.
    directories: tuple[str, ...]

    @property
    def call(self) -> tuple[str, ...]:
        """One file for each."""
        return tuple(f"openat(AT_FDCWD, {quoted(f'{at}/tasks')}" for at in self.directories)

    def apply(self, context: Context) -> None:
        """From outside, where the child's number is the one that we know it by."""
        join(self.directories, context.child_pid)
