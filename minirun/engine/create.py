"""Make a container: options and an image become a record, a spec and ``start.json``.

Everything is decided here, so that a start, be it the first or one after a crash, needs no image
store, no command line and no environment.

Next: ``start.py``.
"""

from __future__ import annotations

import os

from ..container import clock, command, init, names, specify, users
from ..container.devices import every_node, node
from ..container.entry import ContainerRecord
from ..container.limits import limited_devices
from ..container.options import check
from ..container.specify import Facts
from ..container.words import signal_number
from ..decode import decode
from ..errors import HostError, MinirunError, UsageError
from ..host import in_user_namespace
from ..record import Record, replace
from ..shim.place import StartFile
from ..spec import IdMapping, Root, Spec
from ..steps.overlay import Overlay
from .keep import confirm_kept
from .volumes import fill_fresh_volumes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from ..container.options import RunOptions
    from ..spec import Device, Seccomp
    from .home import Home
    from .images import Target

    Fill = Callable[[Home, Mapping[str, str], tuple[str, ...], Collection[str]], None]

_NO_TIME = 10


class _Volumes(Record):
    """{target: volume name}, and the names that go away with the container."""

    by_target: Mapping[str, str]
    anonymous: tuple[str, ...]


def create(
    home: Home, options: RunOptions, target: Target, fill: Fill = fill_fresh_volumes
) -> ContainerRecord:
    """Make a container that can be started.

    Args:
        home: where.
        options: how.
        target: of what.
        fill: gives new volumes their first content.

    Raises:
        MinirunError: an option cannot be had with this image on this host; nothing is left.
    """
    check(options)
    _refuse_unsupported(options)
    container_id = names.new_id()
    hostname = specify.hostname_for(options, container_id, os.uname().nodename)
    record = home.containers.create(_record(home, options, target, container_id))
    try:
        confirm_kept(home, target)
        volumes = _make_volumes(home, options, target)
        facts = _facts(home, options, target, container_id, hostname, volumes)
        spec = _spec(specify.with_name(options, record.name), target, facts)
        overlay = _overlay(home, target, container_id)
        place = home.place(container_id)
        place.write("config.json", spec)
        place.write("start.json", _start_file(options, target, facts, overlay))
        record = replace(record, volumes=volumes.by_target, anonymous=volumes.anonymous)
        record = replace(record, args=spec.process.args if spec.process else ())
        home.containers.write(record)
        untouched = {request.target for request in options.mounts if request.no_copy}
        fill(home, volumes.by_target, target.lowers, untouched)
    except BaseException:
        home.containers.remove(container_id)
        raise
    return record


def _refuse_unsupported(options: RunOptions) -> None:
    """Say by name what is not there."""
    network = options.network
    given = {
        "--ip": network.ip,
        "--mac-address": network.mac_address,
        "--network-alias": network.aliases,
    }
    for flag, value in given.items():
        if value:
            raise UsageError(
                f"{flag} is not supported", hint="addresses on the bridge are chosen by minirun"
            )
    if options.userns == "auto":
        _refuse_with_userns(options)
    if options.platform:
        from ..image.build import host_architecture

        host_architecture(options.platform)
    available = os.cpu_count() or 1
    if options.resources.cpus_nano > available * 10**9:
        raise UsageError(
            f"--cpus {options.resources.cpus_nano / 1e9:g} is more than this host has",
            hint=f"from 0.01 to {available}",
        )


def _refuse_with_userns(options: RunOptions) -> None:
    """The root of a user namespace has no say in namespaces that are not its own."""
    if in_user_namespace():
        raise UsageError(
            "--userns auto needs root: layers are id-mapped for it",
            hint="without root every container is in the user's namespace already: leave it out",
        )
    if options.privileged:
        raise UsageError(
            "privileged mode is incompatible with user namespaces", hint="add --userns host"
        )
    shared = {"network": options.network.mode, "PID": options.pid, "IPC": options.ipc}
    for kind, mode in {**shared, "UTS": options.uts, "cgroup": options.cgroupns}.items():
        if mode == "host" or mode.startswith("container:"):
            raise UsageError(
                f"cannot share a {kind} namespace when user namespaces are enabled",
                hint="leave out --userns auto, or the sharing",
            )


def _record(home: Home, options: RunOptions, target: Target, container_id: str) -> ContainerRecord:
    config = target.config
    own_signal = signal_number(config.stop_signal) if config.stop_signal else 15
    timeout = options.stop_timeout_s
    return ContainerRecord(
        container_id,
        options.name,
        clock.now(),
        options,
        image=target.text,
        image_id=target.image_id,
        labels={**config.labels, **options.labels},
        health_check=command.health_check(options, config),
        stop_signal=options.stop_signal or own_signal,
        stop_timeout_s=_NO_TIME if timeout is None else timeout,
        rootfs=f"{home.root}/{container_id}/rootfs",
    )


def _spec(options: RunOptions, target: Target, facts: Facts) -> Spec:
    """Return the spec: ours, or the bundle's own."""
    if not target.bundle:
        return specify.to_spec(options, target.config, facts)
    import json

    with open(f"{target.bundle}/config.json", encoding="utf-8") as file:
        try:
            spec = decode(Spec, json.load(file))
        except ValueError as error:
            raise UsageError(f"{target.bundle}/config.json is not JSON: {error}") from error
    rootfs = os.path.join(target.bundle, spec.root.path)
    process = spec.process
    if process is not None:
        process = replace(
            process,
            args=options.command or process.args,
            env=(*process.env, *options.env),
            terminal=options.tty,
            console_size=None,
        )
    linux = replace(spec.linux, cgroups_path=specify.cgroups_path(options, facts.id))
    return replace(spec, root=Root(rootfs, spec.root.readonly), process=process, linux=linux)


def _overlay(home: Home, target: Target, container_id: str) -> Overlay | None:
    """Make the writable layer; a bundle has its own root."""
    if target.bundle:
        return None
    place = home.place(container_id)
    for name in ("upper", "work"):
        os.mkdir(place.file(name), 0o755)
    return Overlay(target.lowers, place.file("upper"), place.file("work"))


def _start_file(
    options: RunOptions, target: Target, facts: Facts, overlay: Overlay | None
) -> StartFile:
    builtin = options.security.seccomp == "builtin" and not options.privileged
    publish = options.network.publish
    if options.network.publish_all:
        publish += tuple(sorted(target.config.exposed_ports))
    return StartFile(
        overlay,
        "host" if target.bundle else options.network.mode,
        publish,
        tuple(f"{entry}" for entry in options.network.add_host),
        facts.hostname,
        builtin and not target.bundle,
        facts.etc_files,
    )


# ── facts ─────────────────────────────────────────────────────────────────────────────────────


def _facts(
    home: Home,
    options: RunOptions,
    target: Target,
    container_id: str,
    hostname: str,
    volumes: _Volumes,
) -> Facts:
    """Look up what the pure part cannot."""
    uid_mappings, gid_mappings = _mappings(options)
    paths = {place: home.volumes.path(name) for place, name in volumes.by_target.items()}
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
        init=init.find() if options.init else "",
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
    """Return the maps for ``--userns``, from /etc/subuid and /etc/subgid of the caller."""
    if options.userns in ("host", "private", ""):
        return (), ()
    return (_subordinate("/etc/subuid"),), (_subordinate("/etc/subgid"),)


def _subordinate(path: str) -> IdMapping:
    """Return the range that is set aside for minirun, else the conventional one. See: subuid(5)."""
    try:
        with open(path, encoding="utf-8") as file:
            lines = [line.strip().split(":") for line in file]
    except FileNotFoundError:
        lines = []
    for owner, first, count in (line for line in lines if len(line) == 3):
        if owner == "minirun":
            return IdMapping(0, int(first), int(count))
    return IdMapping(0, 100000, 65536)


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


# ── files and volumes ─────────────────────────────────────────────────────────────────────────


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


_ETC = ("hosts", "hostname", "resolv.conf")


def _make_volumes(home: Home, options: RunOptions, target: Target) -> _Volumes:
    """Make the volumes that are missing, and the host directories that ``-v`` promises."""
    by_target, anonymous = {}, []
    try:
        for request in options.mounts:
            # A file or a socket may be bound as well: only what is missing becomes a directory.
            missing = request.create_source and not os.path.exists(request.source)
            if request.type == "bind" and missing:
                os.makedirs(request.source, exist_ok=True)
            if request.type == "volume":
                volume = home.volumes.ensure(request.source, request.labels)
                by_target[request.target] = volume.name
                if not request.source:
                    anonymous.append(volume.name)
    except OSError as error:
        reason = os.strerror(error.errno or 0).lower()
        hint = "a source of -v that is missing becomes a directory: make it yourself, or correct it"
        raise MinirunError(f"{error.filename}: {reason}", hint=hint) from error
    for place in specify.anonymous_volumes(options, target.config):
        volume = home.volumes.ensure()
        by_target[place] = volume.name
        anonymous.append(volume.name)
    return _Volumes(by_target, tuple(anonymous))
