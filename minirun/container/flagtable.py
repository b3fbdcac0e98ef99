"""Every flag of ``run`` and ``create``, one row each.

A flag, by docker's name with ``_`` for ``-``, is a row of one of four kinds of table: kept as it
is, read by one parser, read and collected, or refused with the reason. The few that are given in
pairs, or name a file, are in ``readflags.py``. A flag that is nowhere does not exist.

Pure. Next: ``readflags.py``.
"""

from __future__ import annotations

from ..errors import UsageError
from . import devices, names, security, sizes, users, words
from .options import Ulimit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Parser = Callable[[str], Any]


def _number(what: str, low: int, high: int) -> Parser:
    return lambda text: words.integer(text, what, low, high)


def _mode(kind: str) -> Parser:
    return lambda text: security.namespace_mode(kind, text)


def _ulimit(text: str) -> Ulimit:
    return Ulimit(*words.ulimit(text))


def _workdir(text: str) -> str:
    return words.absolute_path(text, "working directory") if text else ""


def _plain(what: str) -> Parser:
    return lambda text: words.no_nul(text, what)


def _hostname(text: str) -> str:
    """Return a name that sethostname(2) takes and that a resolver can look up."""
    labels = text.split(".")
    if len(text) > 64 or not all(part and not set(part) - words.NAME_REST for part in labels):
        hint = "up to 64 letters, digits, '-' and '.'"
        raise UsageError(f"invalid hostname {text!r}", hint=hint)
    return text


def _network(text: str) -> str:
    from ..network.config import parse_network

    return parse_network(text)


def _published(text: str) -> str:
    from ..network.publish import parse_publish

    parse_publish(text)
    return text


def _extra_host(text: str) -> str:
    from ..network.config import parse_extra_host

    parse_extra_host(text)
    return text


def _exposed(text: str) -> str:
    ports, _, protocol = text.partition("/")
    words.one_of(protocol or "tcp", "protocol", ("tcp", "udp"))
    first, dash, last = ports.partition("-")
    low = words.integer(first, "port", 1, 65535)
    if dash and words.integer(last, "port", 1, 65535) < low:
        raise UsageError(f"invalid port range {text!r}")
    return text


def _cgroup_parent(text: str) -> str:
    if ".." in words.no_nul(text, "cgroup parent").split("/"):
        raise UsageError(f"invalid cgroup parent {text!r}", hint="without '..'")
    return text


_MAX_I64 = 2**63 - 1

#: flag: (field, parser) for flags of RunOptions that are given once.
ONCE: dict[str, tuple[str, Parser]] = {
    "name": ("name", names.container_name),
    "hostname": ("hostname", _hostname),
    "domainname": ("domainname", _hostname),
    "platform": ("platform", _plain("platform")),
    "cidfile": ("cidfile", _plain("cidfile")),
    "restart": ("restart", security.restart_policy),
    "stop_signal": ("stop_signal", words.signal_number),
    "stop_timeout": ("stop_timeout_s", _number("stop timeout", -1, 2**31 - 1)),
    "workdir": ("workdir", _workdir),
    "user": ("user", users.check),
    "cgroup_parent": ("cgroup_parent", _cgroup_parent),
    **{kind: (kind, _mode(kind)) for kind in ("pid", "ipc", "uts", "userns", "cgroupns")},
}

RESOURCES_ONCE: dict[str, tuple[str, Parser]] = {
    "memory": ("memory_bytes", sizes.memory_limit),
    "memory_swap": ("memory_swap_bytes", sizes.swap_limit),
    "memory_reservation": ("memory_reservation_bytes", sizes.memory_limit),
    "memory_swappiness": ("memory_swappiness", _number("memory swappiness", -1, 100)),
    "cpus": ("cpus_nano", sizes.cpus_nano),
    "cpu_shares": ("cpu_shares", sizes.cpu_shares),
    "cpu_period": ("cpu_period_us", _number("cpu period", 1000, 1_000_000)),
    "cpu_quota": ("cpu_quota_us", _number("cpu quota", -1, _MAX_I64)),
    "cpu_rt_period": ("cpu_rt_period_us", _number("realtime period", 0, 1_000_000)),
    "cpu_rt_runtime": ("cpu_rt_runtime_us", _number("realtime runtime", 0, 1_000_000)),
    "cpuset_cpus": ("cpuset_cpus", sizes.cpu_list),
    "cpuset_mems": ("cpuset_mems", sizes.cpu_list),
    "pids_limit": ("pids_limit", _number("pids limit", -1, 2**22)),
    "blkio_weight": ("blkio_weight", _number("blkio weight", 10, 1000)),
    "shm_size": ("shm_size_bytes", sizes.byte_size),
    "oom_score_adj": ("oom_score_adj", _number("oom score adjustment", -1000, 1000)),
}

NETWORK_ONCE: dict[str, tuple[str, Parser]] = {
    "network": ("mode", _network),
    "mac_address": ("mac_address", security.mac_address),
    "ip": ("ip", security.ip_address),
}

HEALTH_ONCE: dict[str, tuple[str, Parser]] = {
    "health_cmd": ("cmd", _plain("health command")),
    "health_interval": ("interval_ns", sizes.duration_ns),
    "health_timeout": ("timeout_ns", sizes.duration_ns),
    "health_start_period": ("start_period_ns", sizes.duration_ns),
    "health_start_interval": ("start_interval_ns", sizes.duration_ns),
    "health_retries": ("retries", _number("number of retries", 0, 2**31 - 1)),
}

#: Flags that may be repeated; the values are collected in order.
REPEATED: dict[str, tuple[str, Parser]] = {
    "attach": (
        "attach",
        lambda t: words.one_of(t.lower(), "stream", ("stdin", "stdout", "stderr")),
    ),
    "device": ("devices", devices.device),
    "device_cgroup_rule": ("device_rules", devices.device_rule),
    "group_add": ("group_add", users.check_group),
    "cap_add": ("cap_add", _plain("capability")),
    "cap_drop": ("cap_drop", _plain("capability")),
}

RESOURCES_REPEATED: dict[str, tuple[str, Parser]] = {
    "ulimit": ("ulimits", _ulimit),
    "blkio_weight_device": ("blkio_weight_device", devices.device_weight),
    "device_read_bps": ("device_read_bps", devices.device_bytes),
    "device_write_bps": ("device_write_bps", devices.device_bytes),
    "device_read_iops": ("device_read_iops", devices.device_operations),
    "device_write_iops": ("device_write_iops", devices.device_operations),
}

NETWORK_REPEATED: dict[str, tuple[str, Parser]] = {
    "publish": ("publish", _published),
    "expose": ("expose", _exposed),
    "dns": ("dns", security.ip_address),
    "dns_search": ("dns_search", _plain("search domain")),
    "dns_option": ("dns_option", _plain("resolver option")),
    "add_host": ("add_host", _extra_host),
    "network_alias": ("aliases", _hostname),
}

#: Flags without a value, and where they go.
SWITCHES = {
    **dict.fromkeys(("detach", "interactive", "tty", "init", "read_only", "privileged"), ""),
    **dict.fromkeys(("no_healthcheck", "sig_proxy"), ""),
    "rm": "remove",
}

#: Flags that docker has and minirun has not, each with what to do instead.
REFUSED = {
    "link": "containers on the bridge reach each other by address; see --add-host",
    "volumes_from": "name the volumes with -v",
    "volume_driver": "volumes are directories of this host",
    "storage_opt": "limit disk space with a quota on the data directory",
    "gpus": "name the device nodes with --device",
    "runtime": "minirun is the runtime",
    "isolation": "it exists on another system only",
    "kernel_memory": "the kernel removed it; limit memory with -m",
    "link_local_ip": "the bridge gives one address",
    "ip6": "the bridge carries IPv4 only",
    "disable_content_trust": "a policy says whose signatures count: see docs/images.md",
    "use_api_socket": "mount the socket with -v",
    "cpu_count": "it exists on another system only",
    "cpu_percent": "it exists on another system only",
    "io_maxbandwidth": "use --device-read-bps and --device-write-bps",
    "io_maxiops": "use --device-read-iops and --device-write-iops",
}
