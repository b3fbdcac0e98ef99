"""Where containers are kept: one directory each, one lock each, one registry of names.

    MINIRUN_DATA/containers/<id>/                   flock(2)ed while the record changes
    MINIRUN_DATA/containers/<id>/container.json     the record: options and state (entry.py)
                                 config.json        the Spec that was made from it
                                 log.json, .1, …    what it wrote (logs.py)
                                 hosts hostname resolv.conf
                                 upper/ work/       the overlay's writable layer
                                 reserve            space for the last word, should the disk fill
    MINIRUN_DATA/names/<name>                       a symbolic link to the id
    MINIRUN_DATA/volumes/<name>/                    volumes.py
    MINIRUN_DATA/events.jsonl                       events.py

symlink(2) fails when the name exists, so of two processes that race for a name exactly one wins. A
crash between ``claim`` and ``add`` leaves a name, which the next one to ask for it may take over,
and a folder, which ``sweep`` removes.

Next: ``volumes.py``.
"""

from __future__ import annotations

import os

from ..errors import HostError, NotFoundError, StateError
from ..record import replace
from . import names
from .entry import ALIVE, DEAD, ContainerRecord, State, from_json, to_json
from .files import (
    Lock,
    host_error,
    make_folder,
    read_file,
    remove_tree,
    replace_file,
    reserve_space,
    spread,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_FIXED = "container.json"
#: Room for one more record and its blocks' rounding; without it a full disk loses the exit code.
_RESERVE_BYTES = 16384


class Store:
    """The containers below one data directory.

    Args:
        data: the directory, usually ``data_root()``.
    """

    def __init__(self, data: str) -> None:
        self.data = data
        self._containers = f"{data}/containers"
        self._names = f"{data}/names"

    # ── paths ─────────────────────────────────────────────────────────────────────────────────

    def folder(self, container_id: str) -> str:
        """Return the directory of a container."""
        return f"{self._containers}/{container_id}"

    def log_path(self, container_id: str) -> str:
        """Return where its output is kept."""
        return f"{self.folder(container_id)}/log.json"

    # ── create and remove ─────────────────────────────────────────────────────────────────────

    def claim(self, record: ContainerRecord) -> ContainerRecord:
        """Make its folder and take its name, or make one; return the record with that name.

        Raises:
            StateError: the name is in use; nothing is left behind.
        """
        if not os.path.isdir(self._names):
            make_folder(self._names)
            make_folder(self._containers)
            spread(self._containers)
        make_folder(self.folder(record.id))
        try:
            return replace(record, name=self._take_name(record.name, record.id))
        except BaseException:
            # Ctrl-C as well as a full disk: a create that failed leaves nothing.
            remove_tree(self.folder(record.id))
            raise

    def add(self, record: ContainerRecord) -> None:
        """Write a claimed container down: from here on everybody sees it.

        Raises:
            HostError: the disk is full or read-only; ``remove`` is for the caller to call.
        """
        if not record.options.remove:  # ``--rm`` tells its end to its client only
            reserve_space(f"{self.folder(record.id)}/reserve", _RESERVE_BYTES)
        self.write(record)

    def remove(self, container_id: str) -> None:
        """Forget a container and its files; nothing may be mounted below its directory any more."""
        try:
            with self.lock(container_id):
                for name in self._names_of(container_id):
                    self._release(name, container_id)
                remove_tree(self.folder(container_id))
        except FileNotFoundError:
            return  # its directory is gone already

    def sweep(self) -> tuple[str, ...]:
        """Remove what claims have left that were never added; return their ids."""
        lost = [x for x in self.ids() if not self.exists(x) and not self._is_being_made(x)]
        for container_id in lost:
            self.remove(container_id)
        return tuple(lost)

    def _names_of(self, container_id: str) -> tuple[str, ...]:
        """Return the names that point to the id; the record cannot tell when it is damaged."""
        try:
            return (self.read(container_id).name,)
        except StateError:
            found = os.listdir(self._names) if os.path.isdir(self._names) else []
            return tuple(name for name in found if self._owner(name) == container_id)

    def rename(self, container_id: str, name: str) -> ContainerRecord:
        """Give a container another name. Raises StateError when it is in use."""
        wanted = names.container_name(name)
        with self.lock(container_id):
            record = self.read(container_id)
            if record.name == wanted:
                hint = "choose another name"
                raise StateError(f"the container is named {wanted!r} already", hint=hint)
            self._take_name(wanted, container_id)
            self.write(replace(record, name=wanted))
            self._release(record.name, container_id)
        return replace(record, name=wanted)

    def _take_name(self, name: str, container_id: str) -> str:
        """Return the name once it points to the id."""
        while True:
            chosen = name or names.generate(lambda n: os.path.lexists(f"{self._names}/{n}"))
            if self._link(chosen, container_id):
                return chosen
            if name:
                self._refuse(name)

    def _link(self, name: str, container_id: str) -> bool:
        """Return whether the name could be taken; one that nobody owns any more is taken over."""
        path = f"{self._names}/{name}"
        with Lock(f"{self.data}/names.lock"):
            owner = self._owner(name)
            if owner and (self.exists(owner) or self._is_being_made(owner)):
                return False
            try:
                if owner:
                    os.unlink(path)
                os.symlink(container_id, path)
            except OSError as error:
                raise host_error(error, path) from error
        return True

    def _owner(self, name: str) -> str:
        try:
            return os.readlink(f"{self._names}/{name}")
        except OSError:
            return ""

    def _is_being_made(self, container_id: str) -> bool:
        """Return whether a container without a record may still get one: it is seconds old."""
        import time

        try:
            return time.time() - os.stat(self.folder(container_id)).st_mtime < 10
        except OSError:
            return False

    def _refuse(self, name: str) -> None:
        owner = names.short_id(self._owner(name))
        hint = f"remove it with minirun rm {owner}, rename it, or choose another name"
        message = f"the container name {name!r} is already in use by container {owner}"
        raise StateError(message, hint=hint)

    def _release(self, name: str, container_id: str) -> None:
        """Give a name back, if it is still this container's."""
        with Lock(f"{self.data}/names.lock"):
            if self._owner(name) == container_id:
                os.unlink(f"{self._names}/{name}")

    # ── read and write ────────────────────────────────────────────────────────────────────────

    def lock(self, container_id: str) -> Lock:
        """Return the container's lock, to be held while its record is read and changed."""
        return Lock(self.folder(container_id), folder=True)

    def exists(self, container_id: str) -> bool:
        """Return whether the container has a record."""
        return os.path.exists(f"{self.folder(container_id)}/{_FIXED}")

    def read(self, container_id: str) -> ContainerRecord:
        """Return a container's record.

        Raises:
            NotFoundError: there is no such container.
            StateError: its file is damaged.
        """
        path = f"{self.folder(container_id)}/{_FIXED}"
        content = read_file(path)
        if content is None:
            raise NotFoundError(f"no such container: {names.short_id(container_id)}")
        return from_json(content, path)

    def write(self, record: ContainerRecord) -> None:
        """Replace a container's record; one of ``--rm`` need not survive a power cut."""
        path = f"{self.folder(record.id)}/{_FIXED}"
        lasting = not record.options.remove and record.state.status not in ALIVE
        try:
            replace_file(path, to_json(record), durable=lasting)
        except HostError as full:
            try:  # what was kept for this very moment
                os.unlink(f"{self.folder(record.id)}/reserve")
            except OSError:
                raise full from None
            replace_file(path, to_json(record), durable=lasting)

    def update(
        self, container_id: str, change: Callable[[ContainerRecord], ContainerRecord]
    ) -> ContainerRecord:
        """Change a record under its lock and return the new one.

        Raises:
            NotFoundError: the container was removed meanwhile.
        """
        try:
            with self.lock(container_id):
                changed = change(self.read(container_id))
                self.write(changed)
                return changed
        except FileNotFoundError as error:
            raise NotFoundError(f"no such container: {names.short_id(container_id)}") from error

    def set_state(self, container_id: str, **changes: object) -> ContainerRecord:
        """Change fields of the state under the lock."""
        return self.update(
            container_id, lambda record: replace(record, state=replace(record.state, **changes))
        )

    # ── find ──────────────────────────────────────────────────────────────────────────────────

    def ids(self) -> tuple[str, ...]:
        """Return the id of every container that has a directory, in no order."""
        try:
            return tuple(name for name in os.listdir(self._containers) if names.is_id(name))
        except FileNotFoundError:
            return ()

    def all(self) -> tuple[ContainerRecord, ...]:
        """Return every container, newest first; one with a damaged record is shown as dead."""
        found = [record for full in self.ids() if (record := self._read_or_none(full))]
        return tuple(sorted(found, key=lambda record: record.created, reverse=True))

    def _read_or_none(self, container_id: str) -> ContainerRecord | None:
        """Return a record, or None for a container that is being made or removed right now."""
        try:
            return self.read(container_id)
        except NotFoundError:
            return None
        except StateError as error:
            state = State(status=DEAD, reason="error", error=error.message)
            return ContainerRecord(container_id, names.short_id(container_id), "", state=state)

    def find(self, query: str) -> ContainerRecord:
        """Return the container with this id, name or unique prefix of an id.

        Raises:
            NotFoundError: there is none.
            StateError: more than one id starts so, or the record is damaged.
        """
        return self.read(self.resolve(query))

    def resolve(self, query: str) -> str:
        """Return the id that a query means, without reading the record. Raises as ``find``."""
        known, name = dict.fromkeys(self.ids(), ""), query.removeprefix("/")
        owner = self._owner(name) if name and "/" not in name else ""
        if owner in known and query not in known:
            known[owner] = name
        return names.find(query, known)


def data_root() -> str:
    """Return MINIRUN_DATA, else /var/lib/minirun, or the user's data directory without root."""
    if root := os.environ.get("MINIRUN_DATA"):
        return root
    if os.geteuid() == 0:
        return "/var/lib/minirun"
    home = os.environ.get("XDG_DATA_HOME") or os.path.expanduser("~/.local/share")
    return f"{home}/minirun"
