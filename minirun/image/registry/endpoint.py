"""From a registry's name to where it is reached, and how much it must prove.

    >>> of("docker.io", Settings()).host
    'registry-1.docker.io'
    >>> of("127.0.0.1:5000", Settings()).may_be_plain
    True
    >>> of("registry.example", Settings()).may_be_plain
    False

A host of 127.0.0.0/8 may speak plain HTTP, as with Docker: its traffic does not leave the machine.
Where such a host does speak TLS, its certificate is checked; only a registry that the settings list
as insecure need not have a good one.

May not import anything with an effect. Next: ``connection.py``.
"""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from ...errors import ImageError
from ...record import Record
from ..reference import DEFAULT_REGISTRY
from .settings import Settings

HUB_HOST = "registry-1.docker.io"
#: What Docker calls its own registry in config.json; kept for the sake of existing files.
HUB_CREDENTIALS = "https://index.docker.io/v1/"


class Endpoint(Record):
    """One registry, or a mirror of one.

    Args:
        host: with its port, as in a URL.
        credentials: the name that its credentials are kept under.
        scheme: ``https`` or ``http``; "" tries the first, and the second where that is allowed.
        may_be_plain: HTTP without TLS is accepted.
        unverified: any certificate is accepted.
    """

    host: str
    credentials: str
    scheme: str = ""
    may_be_plain: bool = False
    unverified: bool = False


def of(domain: str, settings: Settings) -> Endpoint:
    """Return where a registry is reached.

    Args:
        domain: of a reference: ``docker.io``, ``host:5000``.
        settings: name the insecure registries.

    Raises:
        ImageError: the domain is "", since there is no default registry.
    """
    if not domain:
        raise ImageError(
            "image name has no registry, and there is no default one",
            hint="write it as HOST/NAME, or set default-registry in the registries file",
        )
    if domain == DEFAULT_REGISTRY:
        return Endpoint(HUB_HOST, HUB_CREDENTIALS, "https")
    listed = _is_listed(domain, settings.insecure)
    return Endpoint(domain, domain, "", listed or is_loopback(domain), listed)


def of_mirror(url: str, settings: Settings) -> Endpoint:
    """Return where a mirror is reached; plain HTTP is a matter of writing ``http://``.

    Raises:
        ImageError: it is no URL of a host.
    """
    parts = urlsplit(url if "://" in url else f"https://{url}")
    if parts.scheme not in ("http", "https") or not parts.netloc or parts.path.strip("/"):
        raise ImageError(f"mirror {url!r} is not of the form https://HOST[:PORT]")
    host = parts.netloc.rpartition("@")[2]
    plain = parts.scheme == "http"
    return Endpoint(host, host, parts.scheme, plain, _is_listed(host, settings.insecure))


def is_loopback(host: str) -> bool:
    """Return True where a host is this machine, whatever the network says."""
    name = _name_of(host)
    address = _address(name)
    return name == "localhost" or (address is not None and address.is_loopback)


def _is_listed(host: str, insecure: tuple[str, ...]) -> bool:
    """Return True where the settings name the host, with or without its port, or its network."""
    name = _name_of(host)
    if host in insecure or name in insecure:
        return True
    address = _address(name)
    networks = (_network(text) for text in insecure)
    return address is not None and any(n is not None and address in n for n in networks)


def _name_of(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.rpartition(":")[0] or host


def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(name)
    except ValueError:
        return None


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    try:
        return ipaddress.ip_network(text)
    except ValueError:
        return None
