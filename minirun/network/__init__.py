"""Networks of containers: an address on a bridge, published ports, names. See README.md."""

from __future__ import annotations

from .config import NetworkConfig, parse_extra_host, parse_network
from .connect import Attachment, attach, detach
from .files import host_resolv_conf, hostname, hosts, resolv_conf
from .narration import describe, describe_bridge
from .publish import PortMapping, hold, parse_publish

__all__ = [
    "Attachment",
    "NetworkConfig",
    "PortMapping",
    "attach",
    "describe",
    "describe_bridge",
    "detach",
    "hold",
    "host_resolv_conf",
    "hostname",
    "hosts",
    "parse_extra_host",
    "parse_network",
    "parse_publish",
    "resolv_conf",
]
