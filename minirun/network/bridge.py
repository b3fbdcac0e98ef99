"""The bridge: a switch inside the kernel that all containers of a host plug into.

It is made with the first container and stays, because making it costs more than a container. It
is found again by its name alone, and whatever is missing of it is made again: the address, the
filter table, the kernel parameters.

    MINIRUN_BRIDGE        its name, ``minirun0``; another name is another, separate network
    MINIRUN_SUBNET        its addresses; otherwise the first of SUBNETS that no route leads to
    MINIRUN_NETWORK_ROOT  where its ledger lies, ``/run/minirun-network``

IPv6 is switched off on it: an address that nothing filters would be a way around the filter.

See: bridge(8), ip_forward and route_localnet in the kernel's ip-sysctl document.
Next: ``connect.py``.
"""

from __future__ import annotations

import errno
import os

from ..errors import NetworkError, SyscallError
from ..record import Record
from . import compat, firewall, links
from .leases import Ledger, mac_of, to_number, to_text
from .netlink import NETLINK_NETFILTER, NETLINK_ROUTE, NetlinkSocket, write_sysctl
from .publish import check_ipv4

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

#: Outside of what docker (172.17-31, 192.168), podman (10.88-89), libvirt (192.168.122), k3s
#: (10.42-43) and kubeadm (10.96, 10.244) choose by themselves.
SUBNETS = tuple(f"10.{second}.0.0/16" for second in range(213, 223))
_FORWARDING = "net/ipv4/ip_forward"


class Names(Record):
    """What this minirun calls its things on the host."""

    bridge: str
    table: str
    folder: str


class Network(Record):
    """The bridge as it is: its index, its own address, and the subnet's prefix length."""

    index: int
    gateway: str
    prefix: int


def names() -> Names:
    """Return the names that the environment chooses.

    Raises:
        NetworkError: the bridge's name cannot be one of a link.
    """
    bridge = os.environ.get("MINIRUN_BRIDGE") or "minirun0"
    if not 0 < len(bridge) < 16 or not bridge.replace("_", "").replace("-", "").isalnum():
        hint = "a link's name has at most 15 letters, digits, - or _"
        raise NetworkError(f"MINIRUN_BRIDGE: {bridge!r} is not a name", hint=hint)
    # Two instances on one host are told apart by their bridge, and so are their tables.
    table = "minirun" if bridge == "minirun0" else "minirun_" + bridge.replace("-", "_")
    root = os.environ.get("MINIRUN_NETWORK_ROOT") or "/run/minirun-network"
    return Names(bridge, table, os.path.join(root, bridge))


def ensure(book: Ledger, ours: Names) -> Network:
    """Return the bridge, making whatever is missing of it.

    The usual case, nothing missing, is four netlink requests and one read.
    """
    with NetlinkSocket(NETLINK_ROUTE) as route, NetlinkSocket(NETLINK_NETFILTER) as netfilter:
        found = _find(route, ours)
        whole = found is not None and book.complete
        network = found if found and whole else _make(route, book, ours)
        _refuse_other_subnet(ours, network)
        if not whole or not firewall.table_exists(netfilter, ours.table):
            _load_rules(route, netfilter, book, ours, network)
        _ensure_forwarding(route, netfilter, book, ours, network)
        if compat.forward_is_dropped(netfilter):
            compat.let_through(netfilter, ours.bridge, _uplinks(route))
        if not whole:
            book.complete = True
            book.save()
    return network


def _refuse_other_subnet(ours: Names, network: Network) -> None:
    """Refuse a MINIRUN_SUBNET that the bridge, being there already, does not have."""
    wanted = os.environ.get("MINIRUN_SUBNET", "")
    if wanted and parse_subnet(wanted) != parse_subnet(f"{network.gateway}/{network.prefix}"):
        message = f"MINIRUN_SUBNET is {wanted}, but {ours.bridge} has {network.gateway}"
        hint = "remove all containers and the bridge first, or set MINIRUN_BRIDGE too"
        raise NetworkError(f"{message}/{network.prefix}", hint=hint)


def find(ours: Names) -> Network | None:
    """Return the bridge, or None where there is none or it has no address yet.

    Raises:
        NetworkError: the name belongs to another kind of link.
    """
    with NetlinkSocket(NETLINK_ROUTE) as route:
        return _find(route, ours)


def remove(book: Ledger, ours: Names) -> None:
    """Delete the bridge, its table and its ledger, and give back what was changed on the host.

    Forwarding is switched off again only if minirun switched it on and no other bridge is there
    that may have come to rely on it.

    Raises:
        NetworkError: containers are connected to it.
    """
    if book.leases:
        users = ", ".join(sorted(lease.container_id for lease in book.leases.values()))
        message = f"network {ours.bridge} has active endpoints: {users}"
        raise NetworkError(message, hint="remove these containers first")
    with NetlinkSocket(NETLINK_NETFILTER) as netfilter:
        firewall.delete_table(netfilter, ours.table)
    compat.withdraw(ours.bridge)
    with NetlinkSocket(NETLINK_ROUTE) as route:
        if _find_link(route, ours.bridge):
            route.request(links.delete_link(ours.bridge))
        others = [link for link in _links(route) if link.kind == "bridge"]
    if book.enabled_forwarding and not others:
        write_sysctl(_FORWARDING, "0")
    book.destroy()


def silence_ipv6(link: str) -> None:
    """Switch IPv6 off on a link of this process's network namespace, where the kernel has it."""
    if os.path.isdir("/proc/sys/net/ipv6"):  # not there after booting with ipv6.disable=1
        write_sysctl(f"net/ipv6/conf/{link}/disable_ipv6", "1")


def choose_subnet(routes: Iterable[tuple[str, int]], wanted: str = "") -> tuple[str, int]:
    """Return (gateway, prefix) of a subnet that no route leads to; pure.

    >>> choose_subnet([("10.213.4.0", 24)])
    ('10.214.0.1', 16)

    Args:
        routes: (network, prefix length) of the host's routes; the default route does not count.
        wanted: MINIRUN_SUBNET, or "".

    Raises:
        NetworkError: the wanted subnet, or each of the candidates, is in use.
    """
    taken = [route for route in routes if route[1]]
    for candidate in [wanted] if wanted else SUBNETS:
        network, prefix = parse_subnet(candidate)
        if not any(_overlap((network, prefix), route) for route in taken):
            return to_text(to_number(network) + 1), prefix
    what = f"subnet {wanted} overlaps" if wanted else "all subnets minirun knows overlap"
    hint = "set MINIRUN_SUBNET to a free one; `ip route` shows those in use"
    raise NetworkError(f"{what} a route of this host", hint=hint)


def parse_subnet(text: str) -> tuple[str, int]:
    """Return (network, prefix length) of ``10.213.0.0/16``.

    Raises:
        NetworkError: it is not an IPv4 subnet of at least two containers.
    """
    ip, _, prefix = text.partition("/")
    if not prefix.isdigit() or not 8 <= int(prefix) <= 29:
        hint = "write it like 10.213.0.0/16, with a prefix from 8 to 29"
        raise NetworkError(f"MINIRUN_SUBNET: invalid subnet {text!r}", hint=hint)
    return to_text(to_number(check_ipv4(ip)) & _mask(int(prefix))), int(prefix)


def _mask(prefix: int) -> int:
    return (1 << 32) - (1 << 32 - prefix)


def _overlap(one: tuple[str, int], other: tuple[str, int]) -> bool:
    mask = _mask(min(one[1], other[1]))
    return to_number(one[0]) & mask == to_number(other[0]) & mask


def _make(route: NetlinkSocket, book: Ledger, ours: Names) -> Network:
    """Make the bridge, or finish one that a crash left half made."""
    network = _find(route, ours)
    if network is None:
        routes = links.parse_routes(route.request(links.list_routes()))
        gateway, prefix = choose_subnet(routes, os.environ.get("MINIRUN_SUBNET", ""))
        if not _find_link(route, ours.bridge):
            route.request(links.new_bridge(ours.bridge, mac_of(gateway)))
        index = _find_link(route, ours.bridge)
        silence_ipv6(ours.bridge)
        route.request(links.add_address(index, gateway, prefix), links.set_up(index))
        network = Network(index, gateway, prefix)
    # Lets the host reach containers from 127.0.0.1; the filter table undoes the danger of it.
    write_sysctl(f"net/ipv4/conf/{ours.bridge}/route_localnet", "1")
    book.last = book.last or network.gateway
    return network


def _load_rules(
    route: NetlinkSocket, netfilter: NetlinkSocket, book: Ledger, ours: Names, network: Network
) -> None:
    """Write the table, and put back what the ledger says is published."""
    first = to_number(network.gateway) & _mask(network.prefix)
    uplinks = _uplinks(route) if book.enabled_forwarding else ()
    subnet = f"{to_text(first)}/{network.prefix}"
    firewall.load(firewall.ruleset(ours.table, ours.bridge, subnet, uplinks))
    firewall.rebuild(netfilter, ours.table, book.leases.values())


def _ensure_forwarding(
    route: NetlinkSocket, netfilter: NetlinkSocket, book: Ledger, ours: Names, network: Network
) -> None:
    """Let the kernel pass packets between links, where nothing has done so before."""
    with open(f"/proc/sys/{_FORWARDING}", encoding="ascii") as file:
        if file.read(1) == "1":
            return
    # The note first: after a crash in between, remove still knows that it was off. Then the rules
    # that keep the host from becoming a router between its own links, then the switch.
    book.enabled_forwarding = True
    book.save()
    _load_rules(route, netfilter, book, ours, network)
    write_sysctl(_FORWARDING, "1")


def _uplinks(route: NetlinkSocket) -> tuple[str, ...]:
    """Return the names of the links that routes lead out of, bridges not counted."""
    used = set(links.parse_uplinks(route.request(links.list_routes())))
    return tuple(
        link.name for link in _links(route) if link.index in used and link.kind != "bridge"
    )


def _links(route: NetlinkSocket) -> list[links.Link]:
    return list(links.parse_links(route.request(links.list_links())))


def ports_of(network: Network) -> list[str]:
    """Return the names of the cables that are plugged into the bridge."""
    with NetlinkSocket(NETLINK_ROUTE) as route:
        return [link.name for link in _links(route) if link.master == network.index]


def _find(route: NetlinkSocket, ours: Names) -> Network | None:
    index = _find_link(route, ours.bridge)
    if not index:
        return None
    for address in links.parse_addresses(route.request(links.list_addresses(index))):
        if address.index == index:
            return Network(index, address.ip, address.prefix)
    return None


def _find_link(route: NetlinkSocket, name: str) -> int:
    """Return the index of the bridge, or 0."""
    try:
        (link,) = links.parse_links(route.request(links.get_link(name)))
    except SyscallError as error:
        if error.errno == errno.ENODEV:
            return 0
        raise
    if link.kind != "bridge":
        hint = "set MINIRUN_BRIDGE to another name"
        raise NetworkError(f"{name} exists and is not a bridge", hint=hint)
    return link.index
