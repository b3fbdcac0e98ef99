"""Control groups: how much a container may use, and which devices.

    open_driver(host, "minirun/web") ─▶ Driver     create · apply · join · stats · kill · delete

Read ``limits.py`` and ``resources.py`` first (pure: from config.json to lines for files), then
``driver.py`` (the interface), then ``v1.py`` or ``v2.py``, whichever your machine has.

Importing this package costs next to nothing: the versions are imported when one is opened.

May not import anything above it: no plan, no steps, no lifecycle.
"""

from __future__ import annotations

from ..errors import HostError, SpecError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..host import Host
    from .driver import Driver

MANAGERS = ("cgroupfs", "systemd", "disabled")


def open_driver(host: Host, path: str, manager: str = "cgroupfs") -> Driver:
    """Return the driver for one container's groups. Nothing is made yet.

    Args:
        host: decides the version.
        path: ``linux.cgroupsPath``. ``minirun/web`` is below the groups that we may use, ``/a/b``
            below the mount point of each hierarchy. For systemd it is ``slice:prefix:name``.
        manager: ``cgroupfs`` makes directories, ``systemd`` scopes; ``disabled`` leaves the process
            where it is.

    Raises:
        SpecError: the path leads out of the tree, or names no group.
        HostError: no hierarchy is mounted, or the manager cannot be had here.
        UsageError: there is no such manager.
    """
    if manager not in MANAGERS:
        raise UsageError(
            f"unknown cgroup manager {manager!r}", hint=f"one of {', '.join(MANAGERS)}"
        )
    if manager == "disabled":
        from .disabled import DisabledDriver

        return DisabledDriver(host, "")
    if manager == "systemd":
        from .systemd import SystemdDriver

        return SystemdDriver(host, path)
    checked = check_path(path)
    if host.cgroup_mode == "v2":
        from .v2 import V2Driver

        return V2Driver(host, checked)
    if not any(where.version == 1 for where in host.controllers.values()):
        raise HostError(
            "no cgroup hierarchy is mounted", hint="mount -t cgroup2 none /sys/fs/cgroup"
        )
    from .v1 import V1Driver

    return V1Driver(host, checked)


def check_path(path: str) -> str:
    """Return a cgroups path in its plain form.

    Raises:
        SpecError: it could lead out of the tree, or means the top of it.

    >>> check_path("/a//b/")
    '/a/b'
    """
    parts = [part for part in path.split("/") if part]
    if not parts or ".." in parts or "." in parts or any(c in path for c in "\0\n"):
        raise SpecError(
            "$.linux.cgroupsPath", f"{path!r} is no path to a group", hint="such as minirun/web"
        )
    return ("/" if path.startswith("/") else "") + "/".join(parts)
