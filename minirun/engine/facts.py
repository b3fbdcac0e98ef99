"""What ``create`` has to look up on this host, so that the rest of it can be pure.

Who the user is by the image's own database, where volumes are, which namespaces other containers
lend, which devices there are, the user's seccomp profile, and the files of /etc that name hosts.

Next: ``start.py``. See: ``../container/specify.py``, which takes these facts.
"""

from __future__ import annotations

import os

from ..container import specify, users
from ..container.devices import every_node, node
from ..container.limits import limited_devices
from ..container.specify import Facts
from ..errors import HostError, UsageError
from ..host import in_user_namespace
from ..record import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..container.options import RunOptions
    from ..spec import Device, IdMapping, Seccomp
    from .home import Home
    from .images import Target

_ETC = ("hosts", "hostname", "resolv.conf")


def look_up(
    home: Home,
    options: RunOptions,
    target: Target,
    container_id: str,
    volumes: Mapping[str, str],
) -> Facts:
    """Return what ``specify.to_spec`` has to be told, and write the files that it mounts.

    Args:
        home: where containers and volumes are.
        options: what the user asks for.
        target: the image, or the bundle.
        container_id: whose container it is to be.
        volumes: {target: volume name}.
    """
    hostname = specify.hostname_for(options, container_id, os.uname().nodename)
    uid_mappings, gid_mappings = _mappings(options)
    paths = {place: home.volumes.path(name) for place, name in volumes.items()}
    return Facts(
        id=container_id,
        hostname=hostname,
        rootfs="rootfs",
        identity=_identity(options, target),
        joins=_joins(home, options),
        volumes=paths,
        etc_files=_write_etc_files(home, options, container_id, hostname),
        devices=_devices(options),
        device_numbers=_device_numbers(options),
        seccomp=_own_profile(options),
        init=_init(options),
        uid_mappings=uid_mappings,
        gid_mappings=gid_mappings,
        rootless=in_user_namespace(),
    )


def _identity(options: RunOptions, target: Target) -> users.Identity:
    """Return who the process is, by the user database of the image."""
    text = options.user or target.config.user
    passwd, group = (_from_layers(target.lowers, f"etc/{name}") for name in ("passwd", "group"))
    return users.resolve(text, passwd, group, options.group_add)


def _from_layers(lowers: tuple[str, ...], name: str) -> bytes:
    """Return a file of the topmost layer that has it."""
    for lower in lowers:
        fd = os.open(lower, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            if content := users.read_database(fd, name):
                return content
        finally:
            os.close(fd)
    return b""


def _joins(home: Home, options: RunOptions) -> dict[str, str]:
    """Return the namespaces of other containers that are shared."""
    asked = {
        "pid": options.pid,
        "ipc": options.ipc,
        "uts": options.uts,
        "network": options.network.mode,
    }
    kinds = {"pid": "pid", "ipc": "ipc", "uts": "uts", "network": "net"}
    joins = {}
    for kind, mode in asked.items():
        if mode.startswith("container:"):
            other = home.containers.find(mode.partition(":")[2])
            if not other.state.pid:
                raise UsageError(
                    f"cannot share the {kind} namespace of {other.name}: it is not running",
                    hint=f"minirun start {other.name}",
                )
            joins[kind] = f"/proc/{other.state.pid}/ns/{kinds[kind]}"
    return joins


def _mappings(options: RunOptions) -> tuple[tuple[IdMapping, ...], tuple[IdMapping, ...]]:
    """Return the maps for ``--userns``, for users and for groups."""
    if options.userns in ("host", "private", ""):
        return (), ()
    from .remapping import subordinate

    return (subordinate("/etc/subuid"),), (subordinate("/etc/subgid"),)


def _init(options: RunOptions) -> str:
    """Return the path of the program that ``--init`` mounts, or ""."""
    if not options.init:
        return ""
    from ..container import init

    return init.find()


def _devices(options: RunOptions) -> tuple[Device, ...]:
    return every_node() if options.privileged else tuple(map(node, options.devices))


def _device_numbers(options: RunOptions) -> dict[str, tuple[int, int]]:
    numbers = {}
    for path in limited_devices(options.resources):
        try:
            found = os.stat(path).st_rdev
        except OSError as error:
            raise HostError(f"device {path}: {os.strerror(error.errno or 0)}") from error
        numbers[path] = (os.major(found), os.minor(found))
    return numbers


def _own_profile(options: RunOptions) -> Seccomp | None:
    """Return the user's seccomp profile; the default one is compiled ahead, see ``shim/run.py``."""
    path = options.security.seccomp
    if path in ("builtin", "unconfined"):
        return None
    from .. import capabilities
    from ..seccomp import profile

    try:
        with open(path, "rb") as file:
            parsed = profile.parse(file.read(), path)
    except OSError as error:
        reason = os.strerror(error.errno or 0).lower()
        hint = "give a JSON file, builtin or unconfined"
        raise UsageError(f"seccomp profile {path}: {reason}", hint=hint) from error
    kept = capabilities.select(options.cap_add, options.cap_drop)
    host = os.uname()
    return profile.resolve(parsed, kept, host.machine, host.release)


def _write_etc_files(
    home: Home, options: RunOptions, container_id: str, hostname: str
) -> dict[str, str]:
    """Write /etc/hosts, hostname and resolv.conf; ``container:`` shares the other's."""
    from ..network import NetworkConfig, host_resolv_conf, hosts, parse_extra_host, resolv_conf

    network = options.network
    if network.mode.startswith("container:"):
        other = home.containers.find(network.mode.partition(":")[2])
        return {f"/etc/{name}": home.place(other.id).file(name) for name in _ETC}
    config = NetworkConfig(
        mode=network.mode,
        dns=network.dns,
        search=network.dns_search,
        dns_options=network.dns_option,
        extra_hosts=tuple(map(parse_extra_host, network.add_host)),
        hostname=hostname,
    )
    own = hosts(replace(config, extra_hosts=())) if network.mode == "bridge" else hosts(config)
    texts = {
        "hosts": own,
        "hostname": f"{hostname}\n",
        "resolv.conf": resolv_conf(config, host_resolv_conf()),
    }
    place = home.place(container_id)
    for name, text in texts.items():
        fd = os.open(place.file(name), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        os.write(fd, text.encode())
        os.close(fd)
    return {f"/etc/{name}": place.file(name) for name in texts}
