"""Which processes are a container's, and may be shown, signalled and killed?

Those in its control group, where it has one. But a config.json may name the group itself, so two
containers can name the same. ``create`` refuses a group with somebody in it, and
``cgroups/claims.py`` keeps two from moving in at once; but a create that was killed before it had
looked, or a container that ended before the next one took its group over, have the group on paper
and nobody inside. Whoever tidies up after such a one must not kill the living.

See: ``deletion.py``, which asks. Next: ``execute.py``.
"""

from __future__ import annotations

import os

from .errors import StateError
from .state import Directory, is_alive

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from .lifecycle import Container
    from .state import State


def processes(container: Container, state: State) -> list[int]:
    """Return every process of the container, as seen from here.

    Without a control group they are known by their PID namespace; where that is shared with the
    host, only init is.
    """
    if state.cgroup_manager != "disabled":
        return container.driver(state).pids() if owns_group(container, state) else []
    if state.status in ("stopped", "creating"):
        return []
    init = _pid_namespace(state.pid)
    if init in (0, _pid_namespace(os.getpid())):
        return [state.pid]
    numbers = (int(name) for name in os.listdir("/proc") if name.isdecimal())
    return sorted(pid for pid in numbers if _pid_namespace(pid) == init)


def _pid_namespace(pid: int) -> int:
    """Return the inode of a process's PID namespace; 0 where it is gone or hidden from us."""
    try:
        return os.stat(f"/proc/{pid}/ns/pid").st_ino
    except OSError:
        return 0


def owns_group(container: Container, state: State) -> bool:
    """Tell whether those who are in a container's group are its own.

    Where init is gone and the group is not empty, which is rare, every state of the root is read.
    """
    if is_alive(state.pid, state.start_time) or not container.driver(state).pids():
        return True
    from .steps.limits import GROUP_MARK

    directory = container.directory
    state = directory.read()
    if state.status == "creating" and not os.path.exists(directory.file(GROUP_MARK)):
        return False  # killed before it came to its group
    return not any(_lives_in(other, state) for other in _others(directory))


def _others(directory: Directory) -> Iterator[State]:
    """Yield the states of the other containers of this root."""
    root = os.path.dirname(directory.path)
    for name in os.listdir(root):
        if name == directory.id:
            continue
        try:
            yield Directory(root, name).read()
        except StateError:
            continue  # not one of ours, or deleted while we looked


def _lives_in(other: State, state: State) -> bool:
    """Whether a container has the group of another, and is alive or being made."""
    same = (other.cgroup, other.cgroup_manager) == (state.cgroup, state.cgroup_manager)
    if not same:
        return False
    if other.status == "creating":
        return is_alive(other.runtime_pid, other.runtime_start_time)
    return is_alive(other.pid, other.start_time)
