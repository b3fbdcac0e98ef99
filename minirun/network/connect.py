"""Connecting a container: from an empty network namespace to an address, a route and open ports.

    attach     lease ─▶ cable ─▶ address, route ─▶ translations        in this order
    detach     translations ─▶ flows ─▶ cable ─▶ lease                 the same, backwards

The lease comes first and goes last, so a crash at any point leaves something that ``reconcile``
can name. All of it happens under the bridge's lock, in one process, without a thread: entering a
namespace and coming back concerns the whole process otherwise.

Needs CAP_NET_ADMIN on the host and CAP_SYS_ADMIN over the container's namespace.
See: veth(4), setns(2), network_namespaces(7). Next: ``repair.py``.
"""

from __future__ import annotations

import errno
import os
from _socket import if_nametoindex

from .. import kernel
from ..errors import NetworkError, SyscallError
from ..flags import Clone
from ..host import in_user_namespace
from ..record import Record
from . import bridge, config, firewall, links, publish
from .leases import Ledger, mac_of, next_free
from .netlink import NETLINK_NETFILTER, NETLINK_ROUTE, NetlinkSocket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .bridge import Names, Network
    from .config import NetworkConfig
    from .leases import Lease
    from .publish import PortMapping

INTERFACE = "eth0"


class Attachment(Record):
    """How a container is connected. The fields after ``mode`` are empty unless it is ``bridge``.

    Args:
        container_id: whose it is.
        mode: ``bridge``, ``none``, ``host`` or ``container:<id>``.
        ip: its address; ``prefix`` is the length of the subnet's prefix.
        gateway: the bridge's address: the host, as the container sees it.
        mac: the hardware address of its interface.
        bridge: the bridge's name; ``veth`` is the host's end of the cable.
        ports: what is published, with the host ports that were chosen.
    """

    container_id: str
    mode: str
    ip: str = ""
    prefix: int = 0
    gateway: str = ""
    mac: str = ""
    bridge: str = ""
    veth: str = ""
    ports: tuple[PortMapping, ...] = ()


def attach(config_: NetworkConfig, container_id: str, netns_fd: int, state_dir: str) -> Attachment:
    """Connect a container's network namespace.

    Args:
        config_: what the user asked for.
        container_id: a container whose folder is in ``state_dir`` already: the lease lives as
            long as that folder.
        netns_fd: the namespace, new and empty: ``/proc/<pid>/ns/net``. Not used for ``host`` and
            ``container:<id>``, where the container joins a namespace that is set up.
        state_dir: the state root.

    Raises:
        NetworkError: the request contradicts itself, a port is taken, no address is free, or the
            kernel refused; whatever was done until then is undone.
    """
    config.check(config_)
    if config_.mode != "bridge":
        if config_.mode == "none":
            _set_up_loopback(netns_fd)
        return Attachment(container_id, config_.mode)
    if in_user_namespace():
        from . import usermode

        ports = usermode.attach(container_id, config_.ports, netns_fd, state_dir)
        where = usermode.IP, usermode.PREFIX, usermode.GATEWAY
        return Attachment(container_id, "bridge", *where, ports=ports)
    home = os.path.join(state_dir, container_id)
    if not os.path.isdir(home):
        hint = "make the container's state folder first: the lease lives as long as it"
        raise NetworkError(f"container {container_id} has no folder {home}", hint=hint)
    try:
        return _attach(config_, home, netns_fd)
    except SyscallError as error:
        message = f"cannot connect container {container_id}: {error}"
        raise NetworkError(message, hint=error.hint or _hint(error)) from error


def detach(container_id: str, state_dir: str) -> None:
    """Take away whatever attach made for a container; nothing is left to do the second time."""
    if in_user_namespace():
        from . import usermode

        usermode.detach(container_id, state_dir)
        return
    ours = bridge.names()
    if not os.path.isdir(ours.folder):
        return
    with Ledger(ours.folder) as book:
        lease = book.leases.get(os.path.join(state_dir, container_id))
        if lease:
            withdraw(book, ours, lease)


def _attach(config_: NetworkConfig, home: str, netns_fd: int) -> Attachment:
    """Attach to the bridge, under its lock."""
    ours = bridge.names()
    with Ledger(ours.folder) as book:
        network = bridge.ensure(book, ours)
        former = book.leases.get(home)
        for lease in [*book.dead(), *([former] if former else [])]:
            withdraw(book, ours, lease)
        ports, sockets = publish.reserve(config_.ports, book.published())
        try:
            taken = {lease.ip for lease in book.leases.values()}
            ip = next_free(network.gateway, network.prefix, taken, book.last)
            lease = book.grant(home, ip, ports)
            try:
                _connect(ours, network, lease, netns_fd)
                _publish(book, ours, lease)
            except BaseException:
                withdraw(book, ours, lease)
                raise
        finally:
            publish.release(sockets)
    return _attachment(ours, network, lease)


def _attachment(ours: Names, network: Network, lease: Lease) -> Attachment:
    return Attachment(
        lease.container_id,
        "bridge",
        lease.ip,
        network.prefix,
        network.gateway,
        mac_of(lease.ip),
        ours.bridge,
        lease.veth,
        lease.ports,
    )


def _connect(ours: Names, network: Network, lease: Lease, netns_fd: int) -> None:
    """Lay the cable, then set up the end that is inside."""
    cable = links.new_veth(lease.veth, network.index, INTERFACE, mac_of(lease.ip), netns_fd)
    with NetlinkSocket(NETLINK_ROUTE) as route:
        route.request(cable, links.set_hairpin(lease.veth))
    bridge.silence_ipv6(lease.veth)
    with Inside(netns_fd), NetlinkSocket(NETLINK_ROUTE) as inside:
        eth0 = if_nametoindex(INTERFACE)
        bridge.silence_ipv6(INTERFACE)
        inside.request(
            links.set_up(links.LOOPBACK_INDEX),
            links.add_address(eth0, lease.ip, network.prefix),
            links.set_up(eth0),
            links.add_default_route(network.gateway),
        )


def _publish(book: Ledger, ours: Names, lease: Lease) -> None:
    """Add the translations; should a crash have left others in their place, write all anew."""
    if not lease.ports:
        return
    try:
        with NetlinkSocket(NETLINK_NETFILTER) as netfilter:
            firewall.publish(netfilter, ours.table, lease)
    except SyscallError as error:
        if error.errno not in (errno.EEXIST, errno.EBUSY):
            raise
        with NetlinkSocket(NETLINK_NETFILTER) as netfilter:
            firewall.rebuild(netfilter, ours.table, book.leases.values())


def withdraw(book: Ledger, ours: Names, lease: Lease) -> None:
    """Undo a lease, whichever part of it was done."""
    # Closing the socket waits until deleted elements are out of use, deleting the cable waits for
    # the same grace period: one inside the other, so that it is waited for once.
    with NetlinkSocket(NETLINK_NETFILTER) as netfilter:
        firewall.unpublish(netfilter, ours.table, lease)
        firewall.forget(netfilter, lease.ip)
        delete_cable(lease.veth)
    book.drop(lease)


def delete_cable(veth: str) -> None:
    """Delete a cable, unless it went away with the container's namespace."""
    with NetlinkSocket(NETLINK_ROUTE) as route:
        try:
            route.request(links.delete_link(veth))
        except SyscallError as error:
            if error.errno != errno.ENODEV:
                raise


def _set_up_loopback(netns_fd: int) -> None:
    with Inside(netns_fd), NetlinkSocket(NETLINK_ROUTE) as inside:
        inside.request(links.set_up(links.LOOPBACK_INDEX))


class Inside:
    """Be in another network namespace for the length of a with block; single-threaded only."""

    def __init__(self, netns_fd: int) -> None:
        self._there = netns_fd
        self._here = -1

    def __enter__(self) -> None:
        self._here = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            kernel.setns(self._there, Clone.CLONE_NEWNET)
        except SyscallError:
            os.close(self._here)
            raise

    def __exit__(self, *_: object) -> None:
        kernel.setns(self._here, Clone.CLONE_NEWNET)
        os.close(self._here)


def _hint(error: SyscallError) -> str:
    if error.errno == errno.EPERM:
        return "a bridge needs CAP_NET_ADMIN; without it use --network none or host"
    if error.errno == errno.EEXIST:
        return "is the container's namespace new and empty?"
    return "see rtnetlink(7) and `dmesg`"
