"""The network's part of ``minirun explain``: each action, and why it is taken. Pure.

The calls are the texts of the very messages that attach sends, so the two cannot disagree.
"""

from __future__ import annotations

from . import links
from .config import check
from .leases import mac_of, veth_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .config import NetworkConfig

_LOOPBACK = (
    "RTM_NEWLINK 1 up",
    "a new namespace has a loopback interface that is down: not even 127.0.0.1 answers",
)


def describe(
    config: NetworkConfig, ip: str = "10.213.0.2", gateway: str = "10.213.0.1", prefix: int = 16
) -> tuple[tuple[str, str], ...]:
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
    return (*_cable(ip, gateway, prefix), *_translations(config, ip))


def _cable(ip: str, gateway: str, prefix: int) -> tuple[tuple[str, str], ...]:
    veth = veth_name(ip)
    cable = links.new_veth(veth, 0, "eth0", mac_of(ip), 0).call
    for number, name in (("master 0", "master <bridge>"), ("netns 0", "netns <container>")):
        cable = cable.replace(number, name)
    eth0 = links.add_address(0, ip, prefix).call.replace("dev 0", "dev eth0")
    return (
        (
            cable,
            "a virtual cable: one end is a port of the bridge, the other is the container's eth0",
        ),
        (
            links.set_hairpin(veth).call,
            "lets a container reach its own published port: the frame leaves where it came in",
        ),
        _LOOPBACK,
        (eth0, "an address that no other container has; the route to its neighbours comes with it"),
        ("RTM_NEWLINK eth0 up", "an interface that is down sends nothing"),
        (
            links.add_default_route(gateway).call,
            "everything else goes through the bridge to the host, which puts its own address on it",
        ),
    )


def _translations(config: NetworkConfig, ip: str) -> tuple[tuple[str, str], ...]:
    return tuple(
        (
            f"NFT_MSG_NEWSETELEM published {port.protocol} . {port.host_port or '<free port>'}"
            f" : {ip} . {port.container_port}",
            f"packets to port {port.host_port or '<free port>'} of {port.host_ip} are readdressed"
            " to the container",
        )
        for port in config.ports
    )
