"""The proxy's configuration, rendered once for the life of a process. Pure.

    client ─▶ listen gateway ─ which deployment? ─ hold ─ which pool? ─▶ backend <place>-stable
                                                                      ╰▶ backend <place>-canary

A proxy that rereads its configuration has two processes for a while: two queues, and twice each
replica's concurrency. So this one never does. Backends cannot be made at run time, so there is a
supply of empty ones, in pairs. A deployment takes a pair, its *place*, by an entry in a map;
replicas are added to it through the Runtime API. Published ports belong to processes of their own
(``doors.py``), which know nothing but the way here.

``timeout queue`` is the one time limit that HAProxy does not read from a variable: places come in
classes, and a deployment gets one whose queue is at least as patient as it asked for.

The text is in ``proxy.cfg``, what it says in https://docs.haproxy.org/2.6/configuration.html.
Next: ``routing.py``, which says what the maps hold.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from string import Template

#: {seconds in the queue: how many deployments may ask for that, or for less}
PLACES = {1: 16, 5: 16, 10: 32, 30: 256, 60: 32, 120: 16, 300: 16, 3600: 16}
POOLS = ("stable", "canary")
LEAST_MAXCONN, MOST_MAXCONN = 100, 50_000
_HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Listen:
    """Where requests come in. The defaults can be reached from this machine alone.

    Args:
        address: a TCP address such as ``127.0.0.1:8080`` or ``*:80``; "" for none.
        socket: also on the Unix socket ``http.sock`` in the gateway's folder.
        tls_address: where TLS is spoken; "" for nowhere.
        tls_pem: the certificate, its chain and its key in one file.
        publish_on: the IP address that published ports are bound to.
    """

    address: str = "127.0.0.1:8080"
    socket: bool = True
    tls_address: str = ""
    tls_pem: Path | None = None
    publish_on: str = "127.0.0.1"


def places() -> Iterator[tuple[str, int]]:
    """Yield every place with how long its queue waits, in seconds; the impatient come first.

    >>> next(places())
    ('q1-0', 1)
    """
    for seconds, count in PLACES.items():
        for number in range(count):
            yield f"q{seconds}-{number}", seconds


def render(folder: Path, listen: Listen, threads: int, open_files: int) -> str:
    """Return the configuration file.

    Args:
        folder: where maps and sockets are.
        listen: where requests come in.
        threads: how many threads serve them.
        open_files: how many files the process may have open: two for each request.
    """
    head = Template((_HERE / "proxy.cfg").read_text()).substitute(
        threads=threads,
        maxconn=min(max((open_files - 200) // 2, LEAST_MAXCONN), MOST_MAXCONN),
        folder=folder,
        lua=_HERE / "hold.lua",
        binds="\n".join(f"    bind {bind}" for bind in _binds(folder, listen)),
    )
    return head + "".join(
        f"\nbackend {name}-{pool} from pool\n    timeout queue {seconds}s\n"
        for name, seconds in places()
        for pool in POOLS
    )


def render_door(folder: Path, socket: Path, address: str) -> str:
    """Return the configuration of a process that lets in the connections of one published port."""
    template = Template((_HERE / "door.cfg").read_text())
    return template.substitute(folder=folder, socket=socket, address=address)


def _binds(folder: Path, listen: Listen) -> Iterator[str]:
    yield f"unix@{folder}/door.sock mode 600 accept-proxy name door"
    if listen.socket:
        yield f"unix@{folder}/http.sock mode 666"
    if listen.address:
        yield listen.address
    if listen.tls_address:
        yield f"{listen.tls_address} ssl crt {listen.tls_pem} alpn h2,http/1.1"
