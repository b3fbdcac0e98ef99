"""Where a container is kept, and what its shim knows about it: facts only, and light to import.

Next: ``run.py``.
"""

from __future__ import annotations

from ..container.files import read_file, replace_file
from ..container.store import Store
from ..decode import decode, encode
from ..errors import StateError
from ..quickjson import dumps, loads
from ..record import EMPTY, Record
from ..steps.overlay import Overlay
from .streams import Ends

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import TypeVar

    from ..lifecycle import Container

    R = TypeVar("R", bound=Record)


class StartFile(Record):
    """``start.json``: what a start needs beside record and spec.

    Args:
        overlay: the layers; None when the spec's root is a directory.
        network: ``bridge``, ``none``, ``host`` or ``container:ID``.
        publish: ports as ``-p`` spells them.
        extra_hosts: ``name:address`` for /etc/hosts.
        hostname: the container's name, for /etc/hosts.
        default_seccomp: whether the default profile applies.
        etc: {"/etc/hosts": the file on the host} of what is mounted over the image's.
    """

    overlay: Overlay | None = None
    network: str = "bridge"
    publish: tuple[str, ...] = ()
    extra_hosts: tuple[str, ...] = ()
    hostname: str = ""
    default_seccomp: bool = True
    etc: Mapping[str, str] = EMPTY


class Place(Record):
    """Where a container is kept: the data directory and the state root."""

    data: str
    root: str
    id: str

    @property
    def store(self) -> Store:
        """Return the records."""
        return Store(self.data)

    def file(self, name: str) -> str:
        """Return a file of the container's folder."""
        return f"{self.data}/containers/{self.id}/{name}"

    @property
    def socket(self) -> str:
        """Return where clients find the shim; like what listens there, gone after a reboot."""
        return f"{self.root}/.attach/{self.id}"

    def container(self) -> Container:
        """Return the runtime's view; heavy to import, and needed at the two ends only."""
        from ..host import known
        from ..lifecycle import Container

        return Container(self.root, self.id, known())

    def read(self, name: str, kind: type[R]) -> R:
        """Return a record from one of the container's files."""
        return decode(kind, loads(self.read_text(name)))

    def read_text(self, name: str) -> str:
        """Return one of the container's files as it is."""
        content = read_file(self.file(name))
        if content is None:
            raise StateError(f"{self.file(name)} is missing", hint="minirun rm -f removes the rest")
        return content.decode()

    def write(self, name: str, record: Record) -> None:
        """Replace one of the container's files by a record."""
        replace_file(self.file(name), dumps(encode(record)).encode(), durable=False)


class Running(Record):
    """A container that was started."""

    pid: int
    start_time: int
    ends: Ends
    cgroup: str
