"""What a container's network should be: ``--network``, ``--publish``, ``--dns`` and their kin.

Pure. Next: ``publish.py``, what a published port is.
"""

from __future__ import annotations

from ..errors import NetworkError
from ..record import Record
from .publish import PortMapping, check_ipv4

HOST_GATEWAY = "host-gateway"


class NetworkConfig(Record):
    """One container's network, as the user asked for it.

    Args:
        mode: ``bridge``, ``none``, ``host`` or ``container:<id>``.
        ports: what to publish; only a bridge can.
        dns: name servers for resolv.conf, instead of the host's.
        search: search domains, instead of the host's; ``.`` alone means none.
        dns_options: options of resolv.conf(5), instead of the host's.
        extra_hosts: (name, address) pairs for /etc/hosts; the address may be ``host-gateway``.
        hostname: the container's own name.
        aliases: further names of its own.
    """

    mode: str = "bridge"
    ports: tuple[PortMapping, ...] = ()
    dns: tuple[str, ...] = ()
    search: tuple[str, ...] = ()
    dns_options: tuple[str, ...] = ()
    extra_hosts: tuple[tuple[str, str], ...] = ()
    hostname: str = ""
    aliases: tuple[str, ...] = ()


def parse_network(text: str) -> str:
    """Return the mode that ``--network`` names.

    >>> parse_network("default")
    'bridge'

    Raises:
        NetworkError: there is no such network.
    """
    if text in ("", "default"):
        return "bridge"
    kind, colon, name = text.partition(":")
    if text in ("bridge", "none", "host") or (kind == "container" and name):
        return text
    if kind == "container" and colon:
        message = "invalid container format container:<id>: the id is missing"
        raise NetworkError(message, hint="write --network container:NAME")
    hint = "use bridge, none, host or container:<id>; networks of one's own are not supported"
    raise NetworkError(f"network {text} not found", hint=hint)


def parse_extra_host(text: str) -> tuple[str, str]:
    """Return (name, address) of ``--add-host name:address``; ``name=address`` is the same.

    >>> parse_extra_host("db:10.0.0.7")
    ('db', '10.0.0.7')

    Raises:
        NetworkError: a part is missing or the address is none.
    """
    name, separator, address = text.partition("=" if "=" in text else ":")
    if not separator or not name or not address:
        raise NetworkError(f"bad format for add-host: {text!r}", hint="write name:address")
    address = address.removeprefix("[").removesuffix("]")
    if address != HOST_GATEWAY and ":" not in address:
        check_ipv4(address)
    return name, address


def check(config: NetworkConfig) -> None:
    """Refuse what contradicts itself.

    Raises:
        NetworkError: ports are published without a bridge, or a shared network is renamed.
    """
    parse_network(config.mode)
    if config.ports and config.mode != "bridge":
        hint = "leave out -p, or use --network bridge"
        raise NetworkError(f"cannot publish ports with network mode {config.mode}", hint=hint)
    shared = config.mode.startswith("container:")
    if shared and (config.dns or config.search or config.dns_options or config.extra_hosts):
        hint = "give --dns, --dns-search and --add-host to the container whose network it is"
        raise NetworkError(f"cannot change names with network mode {config.mode}", hint=hint)
    if shared and config.hostname:
        hint = "the name is that of the container whose network it is"
        raise NetworkError(f"cannot set a hostname with network mode {config.mode}", hint=hint)
