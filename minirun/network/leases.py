"""Who has which address and which ports: one ledger per bridge, behind one file lock.

The kernel knows links and translations but not whose they are, and a firewall reload forgets the
latter; so this file is the truth, and everything in the kernel is made from it. A lease is written
before its first effect and removed after its last, so that whatever a crash leaves behind is named
here. It belongs to a container's state folder: a lease whose folder is gone is dead.

The ledger is the bridge's, not a state root's: two roots on one bridge share its addresses.

The lock is flock(2)'s: the kernel drops it when its holder dies, so there is no stale lock.
Next: ``firewall.py``.
"""

from __future__ import annotations

import fcntl
import os
import struct
from _socket import inet_aton, inet_ntoa

from ..errors import NetworkError
from ..quickjson import dumps, loads
from ..record import Record
from .publish import PortMapping

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any


class Lease(Record):
    """What one container holds.

    Args:
        home: its state folder; the lease lives as long as the folder.
        ip: its address on the bridge.
        ports: what it publishes, host ports filled in.
    """

    home: str
    ip: str
    ports: tuple[PortMapping, ...] = ()

    @property
    def container_id(self) -> str:
        """Return the container's id: the last part of its folder."""
        return os.path.basename(self.home)

    @property
    def veth(self) -> str:
        """Return the host's end of the cable: the address in its name is unique on the bridge."""
        return veth_name(self.ip)


def veth_name(ip: str) -> str:
    """Return the name of the link to an address; at most 15 characters fit (IFNAMSIZ).

    >>> veth_name("10.213.0.2")
    'mr-0ad50002'
    """
    return f"mr-{inet_aton(ip).hex()}"


def mac_of(ip: str) -> str:
    """Return the hardware address that goes with an address.

    A container that gets a used address also gets its hardware address, so what the neighbours
    remember stays right. 02 marks a locally administered address.

    >>> mac_of("10.213.0.2")
    '02:42:0a:d5:00:02'
    """
    return ":".join(f"{byte:02x}" for byte in b"\x02\x42" + inet_aton(ip))


def to_number(ip: str) -> int:
    """Return an address as the number it is."""
    return int.from_bytes(inet_aton(ip), "big")


def to_text(number: int) -> str:
    """Return a number as the address it is."""
    return inet_ntoa(struct.pack(">I", number))


def next_free(gateway: str, prefix: int, taken: set[str], last: str) -> str:
    """Return the next address of the subnet after the last one given out.

    Going round, instead of taking the lowest, keeps an address unused for as long as possible
    after its container is gone: whoever still sends to it reaches nobody, not somebody else.

    >>> next_free("10.213.0.1", 16, {"10.213.0.2"}, "")
    '10.213.0.3'

    Raises:
        NetworkError: every address is taken.
    """
    first = to_number(gateway) & -1 << 32 - prefix
    size = 1 << 32 - prefix
    start = to_number(last) - first if last else 1
    for step in range(1, size + 1):
        offset = (start + step) % size
        if offset in (0, size - 1):  # the network's own address and the broadcast address
            continue
        if (ip := to_text(first + offset)) not in taken and ip != gateway:
            return ip
    hint = "remove containers, or set MINIRUN_SUBNET to a larger subnet"
    raise NetworkError(f"no free address in {to_text(first)}/{prefix}", hint=hint)


class Ledger:
    """The open, locked ledger of one bridge; a context manager. ``save`` makes changes last.

    Args:
        folder: where it lies; made when missing.
    """

    leases: dict[str, Lease]
    last: str
    enabled_forwarding: bool
    complete: bool

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._lock = -1

    def __enter__(self) -> Ledger:
        self._lock = _locked(self._folder)
        self._load()
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._lock)

    def _load(self) -> None:
        found = _read(self._folder)
        rows = (_lease(row) for row in found.get("leases", ()))
        self.leases = {lease.home: lease for lease in rows}
        self.last = found.get("last", "")
        # True when it was minirun that made the host forward packets, so that it may stop again.
        self.enabled_forwarding = found.get("enabledForwarding", False)
        # True once the bridge was made to the end: a crash half way leaves it False.
        self.complete = found.get("complete", False)

    def save(self) -> None:
        """Replace the file: a reader sees the old text or the new one, also after a kill -9.

        Without fsync(2), which takes longer than all the rest of a start where /run is on a disk:
        a power cut ends everything that the ledger speaks of.
        """
        document = {
            "last": self.last,
            "enabledForwarding": self.enabled_forwarding,
            "complete": self.complete,
            "leases": [_row(lease) for lease in self.leases.values()],
        }
        path = f"{self._folder}/ledger.json"
        with open(f"{path}.new", "w", encoding="utf-8") as file:
            file.write(dumps(document))  # json.dump would do it in Python, piece by piece
        os.rename(f"{path}.new", path)

    def grant(self, home: str, ip: str, ports: tuple[PortMapping, ...]) -> Lease:
        """Write a lease down, before anything is done about it."""
        lease = Lease(home, ip, ports)
        self.leases[home] = lease
        self.last = ip
        self.save()
        return lease

    def drop(self, lease: Lease) -> None:
        """Forget a lease, after everything it names is gone."""
        self.leases.pop(lease.home, None)
        self.save()

    def published(self) -> Iterator[tuple[str, PortMapping]]:
        """Yield (container, port) of everything published on this host: its ports are one space."""
        for lease in (*self.leases.values(), *self._leases_of_siblings()):
            yield from ((f"container {lease.container_id}", port) for port in lease.ports)

    def _leases_of_siblings(self) -> Iterator[Lease]:
        """Yield the living leases of other bridges, read without their locks."""
        top, own = os.path.split(self._folder)
        for sibling in os.listdir(top):
            if sibling != own:
                rows = _read(f"{top}/{sibling}").get("leases", ())
                yield from (lease for lease in map(_lease, rows) if os.path.isdir(lease.home))

    def dead(self) -> list[Lease]:
        """Return the leases whose containers have no folder any more."""
        return [lease for lease in self.leases.values() if not os.path.isdir(lease.home)]

    def destroy(self) -> None:
        """Delete ledger, lock and folder; whoever waits for the lock starts a new one."""
        for name in ("ledger.json", "ledger.json.new", "lock"):
            if os.path.exists(f"{self._folder}/{name}"):
                os.unlink(f"{self._folder}/{name}")
        os.rmdir(self._folder)


def _read(folder: str) -> dict[str, Any]:
    """Return the ledger in a folder; empty where there is none yet."""
    try:
        with open(f"{folder}/ledger.json", encoding="utf-8") as file:
            found: dict[str, Any] = loads(file.read() or "{}")
    except (FileNotFoundError, NotADirectoryError):
        return {}
    return found


def _row(lease: Lease) -> dict[str, Any]:
    """Return a lease as JSON. Not by decode.py: this runs for every lease at every start."""
    ports = [[p.container_port, p.protocol, p.host_ip, p.host_port] for p in lease.ports]
    return {"home": lease.home, "ip": lease.ip, "ports": ports}


def _lease(row: dict[str, Any]) -> Lease:
    """Return a lease from its JSON."""
    return Lease(row["home"], row["ip"], tuple(PortMapping(*port) for port in row["ports"]))


def _locked(folder: str) -> int:
    """Return the fd of the lock file, locked.

    Raises:
        NetworkError: the folder cannot be made, which is what an unprivileged user sees first.
    """
    while True:
        try:
            os.makedirs(folder, mode=0o700, exist_ok=True)
            lock = os.open(f"{folder}/lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:
            continue  # destroyed between the two calls
        except PermissionError as error:
            hint = "a bridge needs root; without it use --network none or host"
            raise NetworkError(f"cannot write to {folder}", hint=hint) from error
        fcntl.flock(lock, fcntl.LOCK_EX)
        if _is_still(f"{folder}/lock", lock):
            return lock
        os.close(lock)


def _is_still(path: str, fd: int) -> bool:
    """Return True unless the file was deleted, or replaced, while we waited for its lock."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(fd))
    except FileNotFoundError:
        return False
