"""Volumes: directories that outlive containers.

    MINIRUN_DATA/volumes/<name>/volume.json     who made it, its labels
                                _data/          what the container sees

A new volume is empty and ``fresh``: docker copies into it what the image has at the mount's target,
and since that needs the image's mounted root, the caller does it and calls ``settle``. A crash in
between leaves it fresh, and the next container copies again.

Next: ``events.py``.
"""

from __future__ import annotations

import os

from ..decode import decode, encode
from ..errors import SpecError, StateError
from ..quickjson import dumps, loads
from ..record import EMPTY, Record, replace
from . import clock, names
from .files import Lock, host_error, make_folder, read_file, remove_tree, replace_file
from .mounts import volume_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


class Volume(Record):
    """One volume; ``anonymous`` ones go away with the container that made them (``rm -v``)."""

    name: str
    created: str
    labels: Mapping[str, str] = EMPTY
    anonymous: bool = False
    fresh: bool = True


class VolumeStore:
    """The volumes below one data directory."""

    def __init__(self, data: str) -> None:
        self._root = f"{data}/volumes"

    def path(self, name: str) -> str:
        """Return the directory that a container sees."""
        return f"{self._root}/{volume_name(name)}/_data"

    def ensure(self, name: str = "", labels: Mapping[str, str] = EMPTY) -> Volume:
        """Return the volume of this name, made when missing; no name makes an anonymous one."""
        chosen = volume_name(name) if name else names.new_id()
        make_folder(self._root)
        with Lock(f"{self._root}/lock"):
            found = self._read(chosen)
            if found:
                return found
            made = Volume(chosen, clock.now(), labels, anonymous=not name)
            try:
                # 0755: the container's users must be able to reach what they own inside.
                make_folder(self.path(chosen), 0o755)
                self._write(made)
            except BaseException:  # Ctrl-C as well as a full disk: no volume without a record
                remove_tree(f"{self._root}/{chosen}")
                raise
            return made

    def settle(self, name: str) -> None:
        """Remember that the image's content was copied into the volume."""
        with Lock(f"{self._root}/lock"):
            self._write(replace(self.get(name), fresh=False))

    def get(self, name: str) -> Volume:
        """Return a volume. Raises StateError when there is none."""
        found = self._read(volume_name(name))
        if not found:
            raise StateError(f"no such volume: {name}", hint="minirun volume ls lists them")
        return found

    def all(self) -> tuple[Volume, ...]:
        """Return every volume by name."""
        try:
            found = sorted(os.listdir(self._root))
        except FileNotFoundError:
            return ()
        return tuple(volume for name in found if (volume := self._read(name)))

    def remove(self, name: str, used_by: Iterable[str] = ()) -> None:
        """Delete a volume and what is in it.

        Args:
            name: which one.
            used_by: the ids of the containers that use it.

        Raises:
            StateError: there is no such volume, or it is in use.
        """
        self.get(name)
        users = ", ".join(map(names.short_id, used_by))
        if users:
            raise StateError(f"volume {name} is in use by {users}", hint="remove these first")
        with Lock(f"{self._root}/lock"):
            remove_tree(f"{self._root}/{name}")

    def _read(self, name: str) -> Volume | None:
        content = read_file(f"{self._root}/{name}/volume.json")
        if content is None:
            return None
        try:
            return decode(Volume, loads(content))
        except (ValueError, SpecError) as error:
            raise StateError(f"volume {name}: its volume.json is damaged: {error}") from error

    def _write(self, volume: Volume) -> None:
        path = f"{self._root}/{volume.name}/volume.json"
        replace_file(path, dumps(encode(volume)).encode(), durable=True)

    def disk_usage_bytes(self, name: str) -> int:
        """Return the space that the volume's files take."""
        total = 0
        try:
            for folder, _, files in os.walk(self.path(name)):
                total += sum(os.lstat(f"{folder}/{file}").st_blocks * 512 for file in files)
        except OSError as error:
            raise host_error(error, self.path(name)) from error
        return total
