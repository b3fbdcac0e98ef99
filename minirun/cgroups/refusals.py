"""What makes a group unfit for a container, and what to tell the person who asked for it."""

from __future__ import annotations

import errno

from ..errors import HostError, StateError
from . import files


def refuse_used(directory: str) -> None:
    """Refuse a group that exists and has processes: two containers would share their limits.

    Raises:
        StateError: somebody is in it.
    """
    if inside := files.pids(directory, recursive=True):
        raise StateError(
            f"cgroup {directory} is in use by {len(inside)} processes, such as {inside[0]}",
            hint="choose another cgroupsPath, or delete the container that it belongs to",
        )


def refuse_frozen(directory: str, frozen: bool) -> None:
    """Refuse a group in which a new process could not even start.

    Raises:
        StateError: it is frozen.
    """
    if frozen:
        raise StateError(
            f"cgroup {directory} is frozen",
            hint="thaw it: echo THAWED > freezer.state on v1, echo 0 > cgroup.freeze on v2",
        )


def not_permitted(error: PermissionError) -> HostError:
    """Return what to tell a user who may not make groups."""
    name = errno.errorcode.get(error.errno or 0, "EPERM")
    return HostError(
        f"mkdir({error.filename!r}): {name}",
        hint="run as root, delegate a v2 group to this user (systemd: Delegate=yes), "
        "or use --cgroup-manager disabled",
    )
