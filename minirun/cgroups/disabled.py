"""No control groups: the container stays in its caller's, as with ``podman --cgroups=disabled``.

That is what ``--cgroup-manager disabled`` asks for, and what is left to a user to whom no group was
delegated.

What needs a group is refused by name; what only tidies up does nothing.

Next: ``claims.py``.
"""

from __future__ import annotations

from ..errors import HostError
from .devices import policy
from .driver import Driver
from .resources import writes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..host import Host
    from ..spec_resources import Resources
    from .stats import Stats


class DisabledDriver(Driver):
    """The driver for ``--cgroup-manager disabled``."""

    def __init__(self, host: Host, path: str) -> None:
        super().__init__(host, path)
        self.dirs: Mapping[str, str] = {}

    def create(self) -> None:
        """Make nothing."""

    def delegate(self, uid: int, gid: int) -> None:
        """Give nothing away."""

    def add(self, pid: int, *, beside: int | None = None) -> None:
        """Leave the process where it is."""

    def kill(self) -> None:
        """Kill nobody: who is in the container is known from its pid namespace alone."""

    def delete(self) -> None:
        """Remove nothing."""

    def apply(self, resources: Resources | None) -> None:
        """Refuse a limit that nobody would enforce; device rules go unheeded, as with podman.

        Raises:
            HostError: a limit was asked for.
        """
        if resources is None:
            return
        policy(resources.devices)
        if not (asked := writes(resources, self.host)):
            return
        if self.host.may_make_groups:
            raise HostError(
                f"{asked[0].file} cannot be set: control groups are disabled",
                hint="remove the limit, or leave --cgroup-manager disabled out",
            )
        raise HostError(
            f"{asked[0].file} cannot be set: no control group is delegated to this user",
            hint="remove the limit; or have a cgroup v2 group delegated: "
            "systemd-run --user --scope -p Delegate=yes COMMAND",
        )

    def update(self, resources: Resources) -> None:
        """Refuse, as ``apply``."""
        self.apply(resources)

    def freeze(self) -> None:
        """Refuse: without a group there is nothing to freeze."""
        raise HostError(
            "pausing needs a control group, and this container has none",
            hint="stop it instead, or send it SIGSTOP",
        )

    def thaw(self) -> None:
        """Do nothing: nothing was frozen."""

    def frozen(self) -> bool:
        """Return False."""
        return False

    def stats(self) -> Stats:
        """Return zeros: nobody counts."""
        from .stats import Stats

        return Stats()

    def oom_kills(self) -> int:
        """Return 0."""
        return 0

    def memory_peak(self) -> int:
        """Return 0."""
        return 0
