"""Whose are the processes in a control group that two containers have been given?

A config.json may name the group itself, so two of them can name the same. ``create`` refuses a
group with somebody in it, and ``cgroups/claims.py`` keeps two from moving in at once. But a create
that was killed before it had looked, or a container that ended before the next one took its group
over, have the group on paper and nobody inside. Whoever tidies up after such a one must not kill
the living.

Asked only where the container's own process is gone and the group is not empty, which is rare:
every state of the root is read.

See: ``lifecycle.Container``, which asks.
"""

from __future__ import annotations

import os

from .errors import StateError
from .state import Directory, is_alive
from .steps.limits import GROUP_MARK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from .state import State


def owns_group(directory: Directory) -> bool:
    """Tell whether those who are in a container's group are its own.

    Args:
        directory: of a container whose init is not alive.
    """
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
