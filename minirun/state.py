"""What is remembered about a container between two commands.

    <root>/<id>/state.json     this module: status, pid and its start time, cgroup, bundle
    <root>/<id>/config.json    the spec as it was at create; the bundle may change
    <root>/<id>/start          FIFO: one byte from ``start`` to init
    <root>/<id>/result         FIFO: why there is no program, from init to ``start``
    <root>/<id>/lock           ``lock.py``: held while an operation is under way

The directory is below /run, so it is gone after a reboot, as the processes are. A pid is kept with
its start time, because a number alone may meanwhile belong to somebody else.

See: runtime.md, State; proc(5), /proc/pid/stat. Next: ``lock.py``; then ``lifecycle.py``.
"""

from __future__ import annotations

import errno
import os
import time

from .decode import decode, encode
from .errors import NotFoundError, SpecError, StateError
from .quickjson import dumps, loads
from .record import EMPTY, Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from .lock import Lock
    from .spec import Hook, Spec

_ID_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_+-.")


class State(Record):
    """The file state.json.

    ``creating`` with a dead ``runtime_pid`` is a create that was killed: it counts as stopped.
    """

    id: str
    bundle: str
    status: str = "creating"
    pid: int = 0
    start_time: int = 0
    runtime_pid: int = 0
    runtime_start_time: int = 0
    created: str = ""
    rootfs: str = ""
    owner: str = ""
    oci_version: str = "1.3.0"
    annotations: Mapping[str, str] = EMPTY
    cgroup: str = ""
    cgroup_manager: str = "cgroupfs"
    cgroup_directories: Mapping[str, str] = EMPTY


class Directory:
    """One container's directory below the state root."""

    def __init__(self, root: str, container_id: str) -> None:
        check_id(container_id)
        self.id = container_id
        self.path = f"{root}/{container_id}"

    def file(self, name: str) -> str:
        """Return the path of one of our files."""
        return f"{self.path}/{name}"

    def exists(self) -> bool:
        """Whether a state.json is there."""
        return os.path.exists(self.file("state.json"))

    def read(self) -> State:
        """Return the state.

        Raises:
            NotFoundError: no such container.
            StateError: the file is none of ours.
        """
        path = self.file("state.json")
        try:
            with open(path, encoding="utf-8") as file:
                return decode(State, loads(file.read()))
        except (FileNotFoundError, NotADirectoryError) as error:
            raise NotFoundError(
                f"container {self.id}: container does not exist", hint="minirun ps --all lists them"
            ) from error
        except (ValueError, RecursionError, SpecError) as error:
            raise StateError(
                f"container {self.id}: {path} is damaged",
                hint=f"kill what it runs, then remove {self.path} by hand",
            ) from error

    def write(self, state: State) -> None:
        """Replace state.json: written aside, then renamed; after a reboot it means nothing."""
        replace_file(self.file("state.json"), dumps(encode(state)))

    def read_spec(self) -> Spec:
        """Return the spec as it was at create."""
        from .spec import Spec  # most commands read the state alone

        with open(self.file("config.json"), encoding="utf-8") as file:
            return decode(Spec, loads(file.read()))

    def read_hooks(self, kind: str) -> tuple[Hook, ...]:
        """Return ``poststart`` or ``poststop`` hooks alone; none where create was killed."""
        try:
            with open(self.file("config.json"), encoding="utf-8") as file:
                held = loads(file.read()).get("hooks") or {}
        except FileNotFoundError:
            return ()
        if not held.get(kind):
            return ()
        from .spec import Hooks

        hooks: tuple[Hook, ...] = getattr(decode(Hooks, held, "$.hooks"), kind)
        return hooks

    def write_spec(self, spec: Spec, text: str = "") -> None:
        """Freeze the spec; ``text`` is the same as JSON, where somebody has it."""
        replace_file(self.file("config.json"), text or dumps(encode(spec)))

    def lock(self, *, claim: bool = False) -> Lock:
        """Return a context manager that keeps other operations on this container out.

        Args:
            claim: make the directory when there is none, as ``create`` does.
        """
        from .lock import Lock  # who only looks takes none

        return Lock(self.path, claim=claim)

    def remove(self) -> None:
        """Remove the directory.

        State.json goes late, so a killed removal can be repeated; the lock goes last, so whoever
        wants the id waits for us and then looks again.
        """
        self.clear()
        try:
            os.unlink(self.file("lock"))
            os.rmdir(self.path)
        except FileNotFoundError:
            return
        except OSError as error:
            # Somebody has claimed the id the moment that the lock was gone.
            if error.errno != errno.ENOTEMPTY:
                raise

    def clear(self) -> None:
        """Remove everything but the lock: the id is taken over by whoever holds that."""
        try:
            names = os.listdir(self.path)
        except FileNotFoundError:
            return
        for name in sorted(names, key=lambda n: n == "state.json"):
            if name != "lock":
                _remove(self.file(name))


def check_id(container_id: str) -> None:
    """Refuse an id that could be anything but one plain path component.

    Raises:
        StateError: with runc's words, which callers search for.
    """
    if (
        not container_id
        or len(container_id) > 1024
        or container_id in (".", "..")
        or container_id[0] in ".-"
        or not _ID_CHARACTERS.issuperset(container_id)
    ):
        shown = container_id if len(container_id) <= 80 else container_id[:80] + "…"
        raise StateError(
            f"invalid container ID format: {shown!r}",
            hint="an id has letters, digits, _ + - and dots, and starts with none of - and .",
        )


def replace_file(path: str, text: str, mode: int = 0o600) -> None:
    """Write a file so that a reader sees the old text or the new, never a part.

    Raises:
        OSError: ENOSPC, EROFS …; the old file is still there.
    """
    fresh = f"{path}.{os.getpid()}"
    fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    try:
        data = text.encode()
        while data:
            data = data[os.write(fd, data) :]
        os.close(fd)
        os.rename(fresh, path)
    except OSError:
        os.unlink(fresh)
        raise


def hook_state(state: State) -> dict[str, Any]:
    """Return the state JSON of runtime.md, as hooks read it."""
    return {
        "ociVersion": state.oci_version,
        "id": state.id,
        "status": state.status,
        "pid": state.pid,
        "bundle": state.bundle,
        "annotations": encode(state.annotations),
    }


def process_start_time(pid: int) -> int:
    """Return when a process started, in clock ticks since boot; 0 when there is none or a zombie.

    See: proc(5), /proc/pid/stat, field 22. The name in field 2 may hold spaces and parentheses.
    """
    try:
        with open(f"/proc/{pid}/stat", "rb", buffering=0) as file:
            fields = file.readall().rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return 0 if fields[0] in b"ZX" else int(fields[19])


def is_alive(pid: int, start_time: int) -> bool:
    """Whether the process that was started then is still there."""
    return pid > 0 and start_time > 0 and process_start_time(pid) == start_time


def timestamp() -> str:
    """Return now as RFC 3339 with nanoseconds, in UTC."""
    now = time.time_ns()
    seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now // 10**9))
    return f"{seconds}.{now % 10**9:09d}Z"


def _remove(path: str) -> None:
    """Remove one file, or a directory of empty directories.

    Never more than that: should a mount of somebody be left below, its files must not be touched.
    """
    try:
        os.unlink(path)
    except IsADirectoryError:
        for name in os.listdir(path):
            os.rmdir(f"{path}/{name}")
        os.rmdir(path)
    except FileNotFoundError:
        return
