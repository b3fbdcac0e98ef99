"""Publishing: what ``-p 127.0.0.1:8080:80/tcp`` means, and whether the host's port is free.

``parse_publish`` is pure and fails as docker does. ``reserve`` asks the kernel: a port is free
when a socket can be bound to it. The translation itself, from the host's port to the container,
is an element of a map in ``firewall.py``; no process copies bytes.

Next: ``firewall.py``.
"""

from __future__ import annotations

import _socket
import errno

from ..errors import NetworkError
from ..record import Record, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

ANY = "0.0.0.0"
_IPV6_HINT = "publish on an IPv4 address; the bridge carries IPv4 only"


class PortMapping(Record):
    """One published port.

    Args:
        container_port: where the container listens, 1 to 65535.
        protocol: ``tcp`` or ``udp``.
        host_ip: an address of the host, or 0.0.0.0 for all of them.
        host_port: the host's port; 0 asks for any free one.
        host_port_last: the end of the range to choose from, or 0 when ``host_port`` is meant.
    """

    container_port: int
    protocol: str = "tcp"
    host_ip: str = ANY
    host_port: int = 0
    host_port_last: int = 0

    def __str__(self) -> str:
        """Return it as ``docker ps`` prints it."""
        host = f"{self.host_ip}:{self.host_port}"
        return f"{host}->{self.container_port}/{self.protocol}"


def parse_publish(text: str) -> tuple[PortMapping, ...]:
    """Read one ``-p`` argument: ``[ip:]hostport:containerport[/tcp|udp]``.

    Ports may be ranges of equal length, or a range of host ports for one container port, of which
    a free one is chosen. Without a host port, or with 0, any free port is chosen.

    >>> parse_publish("127.0.0.1:8080:80/udp")[0].host_ip
    '127.0.0.1'
    >>> [str(m) for m in parse_publish("8000-8001:80-81")]
    ['0.0.0.0:8000->80/tcp', '0.0.0.0:8001->81/tcp']

    Raises:
        NetworkError: the text is malformed, or asks for IPv6 or another protocol.
    """
    ip, host, container, protocol = _split(text)
    first, last = _port_range(container, "containerPort", text)
    if host in ("", "0"):
        return tuple(PortMapping(p, protocol, ip) for p in range(first, last + 1))
    host_first, host_last = _port_range(host, "hostPort", text)
    if host_last - host_first == last - first:
        shift = host_first - first
        return tuple(PortMapping(p, protocol, ip, p + shift) for p in range(first, last + 1))
    if first == last:
        return (PortMapping(first, protocol, ip, host_first, host_last),)
    raise NetworkError(
        f"invalid ranges specified for container and host ports: {container} and {host}",
        hint="make both ranges the same length, as in 8000-8005:80-85",
    )


def _split(text: str) -> tuple[str, str, str, str]:
    """Return (ip, host port, container port, protocol) as texts; the ip is checked."""
    ports, _, protocol = text.partition("/")
    if "/" in text and protocol.lower() not in ("tcp", "udp"):
        raise NetworkError(f"invalid proto: {protocol!r} in {text!r}", hint="use /tcp or /udp")
    *front, container = ports.rsplit(":", 2)
    if not container:
        raise NetworkError(f"no port specified: {text!r}", hint="write -p 8080:80")
    host = front[-1] if front else ""
    ip = _address(front[0], text) if len(front) == 2 else ANY
    return ip, host, container, protocol.lower() or "tcp"


def _address(ip: str, text: str) -> str:
    if ":" in ip or ip.startswith("["):
        message = f"publishing on the IPv6 address {ip} is not supported: {text!r}"
        raise NetworkError(message, hint=_IPV6_HINT)
    return check_ipv4(ip) if ip else ANY


def check_ipv4(ip: str) -> str:
    """Return a dotted address unchanged.

    Raises:
        NetworkError: it is none. Short forms like ``127.1`` are refused, as docker does.
    """
    try:
        return _socket.inet_ntop(_socket.AF_INET, _socket.inet_pton(_socket.AF_INET, ip))
    except (OSError, ValueError) as error:
        hint = "an IPv4 address has four numbers, as in 127.0.0.1"
        raise NetworkError(f"invalid IP address: {ip!r}", hint=hint) from error


def _port_range(ports: str, what: str, text: str) -> tuple[int, int]:
    """Return (first, last) of ``80`` or ``80-85``."""
    first, dash, last = ports.partition("-")
    numbers = [first, last] if dash else [first, first]
    valid = all(n.isascii() and n.isdigit() and 0 < int(n) < 65536 for n in numbers)
    if not valid or int(numbers[0]) > int(numbers[1]):
        hint = "ports are 1 to 65535, or a range like 8000-8005"
        raise NetworkError(f"invalid {what}: {ports!r} in {text!r}", hint=hint)
    return int(numbers[0]), int(numbers[1])


# ── which host ports are free ─────────────────────────────────────────────────────────────────


def reserve(
    wanted: Sequence[PortMapping], published: Iterable[tuple[str, PortMapping]]
) -> tuple[tuple[PortMapping, ...], list[_socket.socket]]:
    """Choose a host port for each mapping and bind it, so that nobody takes it meanwhile.

    Args:
        wanted: the mappings as the user gave them.
        published: (container, mapping) of every port that containers hold already. Translation
            happens before a socket is looked up, so the kernel cannot tell these for us.

    Returns:
        The mappings with their ports filled in, and the sockets that hold them.

    Raises:
        NetworkError: a port is already allocated, or the address is not one of the host.
    """
    held = list(published)
    chosen: list[PortMapping] = []
    sockets: list[_socket.socket] = []
    try:
        for mapping in wanted:
            taken, found = _reserve_one(mapping, held)
            held.append(("this container", taken))
            chosen.append(taken)
            sockets.append(found)
    except BaseException:
        release(sockets)
        raise
    return tuple(chosen), sockets


def release(sockets: Iterable[_socket.socket]) -> None:
    """Close the sockets of a reservation."""
    for held in sockets:
        held.close()


def hold(ports: Sequence[PortMapping]) -> tuple[int, ...]:
    """Return fds that keep the ports bound, for a supervisor to keep as long as the container runs.

    Without them another program may bind a published port: it succeeds, and never sees a packet.
    """
    _, sockets = reserve(ports, ())
    return tuple(held.detach() for held in sockets)


def _reserve_one(
    mapping: PortMapping, held: list[tuple[str, PortMapping]]
) -> tuple[PortMapping, _socket.socket]:
    """Try each port of the range; the last refusal is the one reported."""
    if not mapping.host_port:
        return _reserve_any(mapping, held)
    last = mapping.host_port_last or mapping.host_port
    refusal: NetworkError | None = None
    for port in range(mapping.host_port, last + 1):
        candidate = replace(mapping, host_port=port, host_port_last=0)
        try:
            _refuse_published(candidate, held)
            return candidate, _bind(candidate)
        except NetworkError as error:
            refusal = error
    raise refusal or NetworkError(f"no port in the range of {mapping}")


def _reserve_any(
    mapping: PortMapping, held: list[tuple[str, PortMapping]]
) -> tuple[PortMapping, _socket.socket]:
    """Let the kernel pick: bind to port 0 until the pick is not one that is published."""
    rejected: list[_socket.socket] = []  # kept open, or the kernel may pick the same one again
    try:
        while True:
            found = _bind(mapping)
            candidate = replace(mapping, host_port=found.getsockname()[1])
            if not any(_collide(candidate, other) for _, other in held):
                return candidate, found
            rejected.append(found)
    finally:
        release(rejected)


def _refuse_published(mapping: PortMapping, held: list[tuple[str, PortMapping]]) -> None:
    for owner, other in held:
        if _collide(mapping, other):
            raise _allocated(mapping, f"{owner} publishes it; stop that, or choose another port")


def _collide(one: PortMapping, other: PortMapping) -> bool:
    same = (one.protocol, one.host_port) == (other.protocol, other.host_port)
    return same and (one.host_ip == other.host_ip or ANY in (one.host_ip, other.host_ip))


def _bind(mapping: PortMapping) -> _socket.socket:
    """Return a socket bound to the host's side of a mapping."""
    kind = _socket.SOCK_STREAM if mapping.protocol == "tcp" else _socket.SOCK_DGRAM
    bound = _socket.socket(_socket.AF_INET, kind | _socket.SOCK_CLOEXEC)
    try:
        if mapping.protocol == "tcp":
            # Forgive connections that linger in TIME_WAIT, but not a listener: listen(2) finds it.
            bound.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEADDR, 1)
        bound.bind((mapping.host_ip, mapping.host_port))
        if mapping.protocol == "tcp":
            bound.listen(1)
    except OSError as error:
        bound.close()
        raise _bind_error(mapping, error) from error
    return bound


def _bind_error(mapping: PortMapping, error: OSError) -> NetworkError:
    if error.errno == errno.EADDRINUSE:
        option = "t" if mapping.protocol == "tcp" else "u"
        look = f"ss -ln{option}p 'sport = :{mapping.host_port}'"
        return _allocated(mapping, f"another program listens there, see: {look}")
    where = f"{mapping.host_ip}:{mapping.host_port}/{mapping.protocol}"
    if error.errno == errno.EADDRNOTAVAIL:
        hint = "use an address that `ip addr` shows, or leave it out for all of them"
        return NetworkError(f"cannot publish on {where}: not an address of this host", hint=hint)
    if error.errno == errno.EACCES:
        hint = "a user may publish ports from 1024 on; net.ipv4.ip_unprivileged_port_start moves it"
        return NetworkError(f"cannot publish on {where}: the port is for root", hint=hint)
    name = errno.errorcode.get(error.errno or 0, str(error))
    return NetworkError(f"cannot publish on {where}: {name}", hint="see bind(2)")


def _allocated(mapping: PortMapping, hint: str) -> NetworkError:
    where = f"{mapping.host_ip}:{mapping.host_port}/{mapping.protocol}"
    return NetworkError(f"bind for {where} failed: port is already allocated", hint=hint)
