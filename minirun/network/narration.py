"""The network's part of ``minirun explain``: each action, and why it is taken. Pure.

The calls are made by the functions that make the messages, with names for the numbers that only a
running host knows. A test compares them with what attach really sends.

Next: ``netlink.py``, whose messages these are.
"""

from __future__ import annotations

from . import links
from .config import check
from .firewall import element_text
from .leases import mac_of, veth_name
from .publish import ANY

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .config import NetworkConfig

Told = tuple[tuple[str, str], ...]

_LOOPBACK = (
    links.set_up(links.LOOPBACK_INDEX).call,
    "a new namespace's loopback interface is down: not even 127.0.0.1 answers",
)
_NO_IPV6 = "nothing filters IPv6 here, so an IPv6 address would be a way around the filter"


def describe(
    config: NetworkConfig, ip: str = "10.213.0.2", gateway: str = "10.213.0.1", prefix: int = 16
) -> Told:
    """Return (call, why) of everything that connecting a container does, in order.

    >>> from minirun.network.config import NetworkConfig
    >>> describe(NetworkConfig(mode="host"))[0][1]
    "no namespace of its own: the host's interfaces and ports are the container's"

    Args:
        config: what the user asked for.
        ip: its address; before a start, the one that a first container would get.
        gateway: the bridge's address.
        prefix: the length of the subnet's prefix.

    Raises:
        NetworkError: the request contradicts itself.
    """
    check(config)
    if config.mode == "none":
        return (_LOOPBACK,)
    if config.mode == "host":
        why = "no namespace of its own: the host's interfaces and ports are the container's"
        return (("(nothing)", why),)
    if config.mode != "bridge":
        other = config.mode.partition(":")[2]
        why = "both containers have one network: they meet on 127.0.0.1 and share their ports"
        return ((f"setns(/proc/<pid of {other}>/ns/net, CLONE_NEWNET)", why),)
    return (*_cable(ip), *_inside(ip, gateway, prefix), *_translations(config, ip))


def describe_bridge(
    bridge: str = "minirun0", gateway: str = "10.213.0.1", prefix: int = 16
) -> Told:
    """Return (call, why) of making the bridge, which only the first container of a host does."""
    localnet = f"net/ipv4/conf/{bridge}/route_localnet = 1"
    return (
        (
            links.new_bridge(bridge, mac_of(gateway)).call,
            "a switch inside the kernel, into which every container plugs",
        ),
        (f"net/ipv6/conf/{bridge}/disable_ipv6 = 1", _NO_IPV6),
        (
            _named(links.add_address(0, gateway, prefix).call, "dev 0", f"dev {bridge}"),
            "the host's own address among the containers; they use it as their gateway",
        ),
        (f"RTM_NEWLINK {bridge} up", "a switch that is down forwards nothing"),
        (localnet, "lets programs on the host reach a published port by 127.0.0.1"),
        ("nft -f -", "the rules: translation, masquerade, and what may not pass"),
        ("net/ipv4/ip_forward = 1", "the kernel passes packets between links only when told to"),
    )


def _cable(ip: str) -> Told:
    veth = veth_name(ip)
    cable = links.new_veth(veth, 0, "eth0", mac_of(ip), 0).call
    cable = _named(_named(cable, "master 0", "master <bridge>"), "netns 0", "netns <container>")
    return (
        (cable, "a virtual cable: one end is a port of the bridge, the other the container's eth0"),
        (
            links.set_hairpin(veth).call,
            "lets a container reach its own published port: the frame leaves where it came in",
        ),
        (f"net/ipv6/conf/{veth}/disable_ipv6 = 1", _NO_IPV6),
    )


def _inside(ip: str, gateway: str, prefix: int) -> Told:
    return (
        ("net/ipv6/conf/eth0/disable_ipv6 = 1", _NO_IPV6),
        _LOOPBACK,
        (
            _named(links.add_address(0, ip, prefix).call, "dev 0", "dev eth0"),
            "an address that no other container has; the route to its neighbours comes with it",
        ),
        ("RTM_NEWLINK eth0 up", "an interface that is down sends nothing"),
        (
            links.add_default_route(gateway).call,
            "all the rest goes by the bridge to the host, which puts its own address on it",
        ),
    )


def _translations(config: NetworkConfig, ip: str) -> Told:
    anywhere = [port for port in config.ports if port.host_ip == ANY]
    somewhere = [port for port in config.ports if port.host_ip != ANY]
    return tuple(
        (
            f"NFT_MSG_NEWSETELEM {name} {{ {', '.join(element_text(p, ip) for p in ports)} }}",
            "packets to these ports of the host are readdressed to the container",
        )
        for name, ports in (("published", anywhere), ("published_at", somewhere))
        if ports
    )


def _named(call: str, number: str, name: str) -> str:
    return call.replace(number, name)
