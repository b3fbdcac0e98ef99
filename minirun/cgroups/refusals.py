"""What makes a group unfit for a container, and what to tell the person who asked for it.

Next: ``driver.py``.
"""

from __future__ import annotations

import errno

from ..errors import HostError, StateError


def refuse_used(directory: str, inside: list[int]) -> None:
    """Refuse a group that exists and has processes: two containers would share their limits.

    Raises:
        StateError: somebody is in it.
    """
    if inside:
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


def not_permitted(error: OSError) -> HostError:
    """Return what to tell a user who may not make groups."""
    return HostError(
        f"mkdir({error.filename!r}): {errno.errorcode[error.errno or errno.EPERM]}",
        hint="run as root, delegate a v2 group to this user (systemd: Delegate=yes), "
        "or use --cgroup-manager disabled",
    )
