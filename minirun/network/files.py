"""The three files that a container's C library reads: /etc/hosts, /etc/hostname, /etc/resolv.conf.

The texts are made here from values alone; who mounts them is not decided here. ``host_resolv_conf``
is the one function that looks at the host.

See: hosts(5), hostname(5), resolv.conf(5). Next: ``narration.py``.
"""

from __future__ import annotations

import _socket

from ..errors import NetworkError
from .config import HOST_GATEWAY

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from .config import NetworkConfig

#: What docker uses when the host's own servers cannot be reached from a container.
PUBLIC_NAME_SERVERS = ("8.8.8.8", "8.8.4.4")
_RESOLVED_STUB = "127.0.0.53"
_RESOLVED_UPSTREAM = "/run/systemd/resolve/resolv.conf"

_LOCALHOST = """\
127.0.0.1\tlocalhost
::1\tlocalhost ip6-localhost ip6-loopback
fe00::\tip6-localnet
ff00::\tip6-mcastprefix
ff02::1\tip6-allnodes
ff02::2\tip6-allrouters
"""


def hosts(config: NetworkConfig, ip: str = "", gateway: str = "", host_hosts: str = "") -> str:
    """Return the container's /etc/hosts.

    Args:
        config: names the container's own name, its aliases and extra hosts.
        ip: the container's address; "" where it has none of its own.
        gateway: what ``host-gateway`` stands for: the host's address as the container sees it.
        host_hosts: the host's own file, which a container in the host's network shares.

    Raises:
        NetworkError: ``host-gateway`` is asked for where there is no gateway.
    """
    start = host_hosts if config.mode == "host" and host_hosts else _LOCALHOST
    lines = [f"{_resolve(address, gateway)}\t{name}\n" for name, address in config.extra_hosts]
    own = " ".join(dict.fromkeys(name for name in (config.hostname, *config.aliases) if name))
    if ip and own:
        lines.append(f"{ip}\t{own}\n")
    return start + ("" if start.endswith("\n") else "\n") + "".join(lines)


def hostname(config: NetworkConfig) -> str:
    """Return the container's /etc/hostname."""
    return f"{config.hostname}\n"


def resolv_conf(config: NetworkConfig, host_text: str) -> str:
    """Return the container's /etc/resolv.conf, made from the host's.

    The host's servers on loopback are left out, because loopback is another one inside; so are
    IPv6 servers, which the bridge does not reach. Where none is left, public ones are used, as
    docker does. In the host's own network everything stays as it is.
    """
    words = [line.split() for line in host_text.splitlines()]
    servers: Iterable[str] = config.dns or [w[1] for w in words if _is(w, "nameserver")]
    if config.mode == "bridge" and not config.dns:
        servers = [server for server in servers if _reachable(server)] or PUBLIC_NAME_SERVERS
    search = config.search or _last(words, "search") or _last(words, "domain")
    options = config.dns_options or _last(words, "options")
    lines = [f"nameserver {server}" for server in servers]
    if search and tuple(search) != (".",):
        lines.append(f"search {' '.join(search)}")
    if options:
        lines.append(f"options {' '.join(options)}")
    return "".join(f"{line}\n" for line in lines)


def host_resolv_conf() -> str:
    """Return the host's resolv.conf; systemd-resolved's real servers instead of its stub."""
    text = _read("/etc/resolv.conf")
    servers = [line.split()[1] for line in text.splitlines() if _is(line.split(), "nameserver")]
    if servers == [_RESOLVED_STUB]:
        return _read(_RESOLVED_UPSTREAM) or text
    return text


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except FileNotFoundError:
        return ""


def _resolve(address: str, gateway: str) -> str:
    if address != HOST_GATEWAY:
        return address
    if not gateway:
        hint = "use --network bridge, or write the address"
        raise NetworkError("host-gateway has no meaning without a bridge", hint=hint)
    return gateway


def _is(words: list[str], keyword: str) -> bool:
    return len(words) > 1 and words[0] == keyword


def _last(words: list[list[str]], keyword: str) -> tuple[str, ...]:
    """Return the arguments of the last line with a keyword: that is the one that counts."""
    found = [line[1:] for line in words if _is(line, keyword)]
    return tuple(found[-1]) if found else ()


def _reachable(server: str) -> bool:
    """Return True for an IPv4 address that is not on loopback."""
    try:
        return _socket.inet_pton(_socket.AF_INET, server)[0] != 127
    except OSError:
        return False
