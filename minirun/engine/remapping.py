"""``--userns auto``: which ids the container's root and users are outside, and what that rules out.

See: user_namespaces(7), subuid(5). Next: ``start.py``.
"""

from __future__ import annotations

from ..errors import UsageError
from ..host import in_user_namespace
from ..spec import IdMapping

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..container.options import RunOptions

#: Where nothing is set aside for minirun: what useradd(8) gives to the first user.
CONVENTIONAL = IdMapping(0, 100000, 65536)


def refuse_shared(options: RunOptions) -> None:
    """Refuse what is not its own: the root of a user namespace has no say in it.

    Raises:
        UsageError: the options name a namespace of the host, or of another container.
    """
    if in_user_namespace():
        raise UsageError(
            "--userns auto needs root: layers are id-mapped for it",
            hint="without root every container is in the user's namespace already: leave it out",
        )
    if options.privileged:
        raise UsageError(
            "privileged mode is incompatible with user namespaces", hint="add --userns host"
        )
    shared = {"network": options.network.mode, "PID": options.pid, "IPC": options.ipc}
    for kind, mode in {**shared, "UTS": options.uts, "cgroup": options.cgroupns}.items():
        if mode == "host" or mode.startswith("container:"):
            raise UsageError(
                f"cannot share a {kind} namespace when user namespaces are enabled",
                hint="leave out --userns auto, or the sharing",
            )


def subordinate(path: str) -> IdMapping:
    """Return the range that is set aside for minirun, else the conventional one. See: subuid(5)."""
    try:
        with open(path, encoding="utf-8") as file:
            lines = [line.strip().split(":") for line in file]
    except FileNotFoundError:
        lines = []
    for owner, first, count in (line for line in lines if len(line) == 3):
        if owner == "minirun":
            return IdMapping(0, int(first), int(count))
    return CONVENTIONAL
