"""``delete``: kill whoever is left, remove what create made, tell the poststop hooks.

    Container.delete ─▶ delete(container) ─▶ nothing of it is left

Apart from ``lifecycle.py`` because nobody but a delete needs it, and a create that takes over the
id of one that was killed.

See: runtime.md, Delete. Next: ``ownership.py``, which says who may be killed.
"""

from __future__ import annotations

import os
import time

from .errors import MinirunError, NotFoundError, StateError
from .lifecycle import signal_pid
from .ownership import owns_group
from .record import replace
from .state import hook_state, is_alive

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal

    from .lifecycle import Container
    from .state import State
else:
    # The C half has all that is needed; the Python half builds enums for 3 ms.
    import _signal as signal

_PATIENCE_S = 10


def delete(container: Container, *, force: bool) -> None:
    """Remove everything that create made; see ``Container.delete``."""
    try:
        if force:
            _kill_init(container)
        with container.directory.lock():
            state = container.state()
            if state.status not in ("stopped", "created") and not force:
                raise StateError(
                    f"cannot delete container {container.id} that is not stopped: {state.status}",
                    hint="stop it first, or use --force",
                )
            kill_everything(container, state)
            tear_down(container, state)
    except NotFoundError:
        if not force:
            raise


def _kill_init(container: Container) -> None:
    """A start keeps the lock until execve, and a startContainer hook may never end."""
    state = container.directory.read()
    if is_alive(state.pid, state.start_time):
        signal_pid(state.pid, signal.SIGKILL)


def kill_everything(container: Container, state: State) -> None:
    """Kill init and whoever else is in the group, and wait until they are gone."""
    driver = container.driver(state)
    with driver.claim:  # nobody moves in between the look and the kill
        if state.pid and is_alive(state.pid, state.start_time):
            signal_pid(state.pid, signal.SIGKILL)
        elif not owns_group(container, state):
            return
        driver.kill()
    deadline = time.monotonic() + _PATIENCE_S
    while is_alive(state.pid, state.start_time) or driver.pids(recursive=True):
        if time.monotonic() > deadline:
            raise StateError(
                f"container {container.id} did not die within {_PATIENCE_S} s of SIGKILL",
                hint="a process in state D waits for a device: see ps -o pid,stat,wchan",
            )
        time.sleep(0.002)


def tear_down(container: Container, state: State, *, keep_lock: bool = False) -> None:
    """Remove the group and the directory, then tell the poststop hooks.

    Args:
        container: which one.
        state: as it was read under the lock.
        keep_lock: leave the directory and its lock to a create that takes over the id.
    """
    driver, directory = container.driver(state), container.directory
    with driver.claim:
        if owns_group(container, state):
            if state.status != "creating" or driver.exists():
                driver.kill()
            driver.delete()
    if os.path.exists(directory.file("resctrl")):
        from .cgroups.resctrl import remove_noted

        remove_noted(directory.path)
    hooks = directory.read_hooks("poststop")
    if keep_lock:
        directory.clear()
    else:
        directory.remove()
    for hook in hooks:
        from .hooks import run_hooks

        try:
            run_hooks("poststop", (hook,), hook_state(replace(state, status="stopped")))
        except MinirunError:
            continue  # runtime.md: a warning, and the remaining hooks still run
