"""Make a container: options and an image become a record, a spec and ``start.json``.

Everything is decided here, so that a start, be it the first or one after a crash, needs no image
store, no command line and no environment.

Next: ``facts.py``, what it looks up; then ``start.py``.
"""

from __future__ import annotations

import os

from ..container import clock, command, names, specify
from ..container.entry import ContainerRecord
from ..container.options import check
from ..container.words import signal_number
from ..decode import decode
from ..errors import MinirunError, UsageError
from ..record import Record, replace
from ..shim.place import StartFile
from ..spec import Root, Spec
from ..steps.overlay import Overlay
from .facts import look_up
from .foundation import foundation
from .keep import confirm_kept

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from ..container.options import RunOptions
    from ..container.specify import Facts
    from .home import Home
    from .images import Target

    Fill = Callable[[Home, Mapping[str, str], tuple[str, ...], Collection[str]], None]

_NO_TIME = 10


class _Volumes(Record):
    """{target: volume name}, and the names that go away with the container."""

    by_target: Mapping[str, str]
    anonymous: tuple[str, ...]


def create(
    home: Home, options: RunOptions, target: Target, fill: Fill | None = None
) -> ContainerRecord:
    """Make a container that can be started.

    Args:
        home: where.
        options: how.
        target: of what.
        fill: gives new volumes their first content; a program with threads brings its own.

    Raises:
        MinirunError: an option cannot be had with this image on this host; nothing is left.
    """
    check(options)
    _refuse_unsupported(options)
    container_id = names.new_id()
    record = home.containers.claim(_record(home, options, target, container_id))
    try:
        volumes = _make_volumes(home, options, target)
        facts = look_up(home, options, target, container_id, volumes.by_target)
        spec = _spec(specify.with_name(options, record.name), target, facts)
        overlay = _overlay(home, target, container_id)
        place = home.place(container_id)
        place.write("config.json", spec)
        place.write("start.json", _start_file(options, target, facts, overlay))
        record = replace(record, volumes=volumes.by_target, anonymous=volumes.anonymous)
        record = replace(record, args=spec.process.args if spec.process else ())
        home.containers.add(record)
        confirm_kept(home, target)
        if volumes.by_target:
            _fill_volumes(home, options, target, volumes, fill)
    except BaseException as error:
        home.containers.remove(container_id)
        if isinstance(error, Exception):
            confirm_kept(home, target)  # what was not found may be the image, collected just now
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
        from .remapping import refuse_shared

        refuse_shared(options)
    if options.platform:
        from ..image.build import host_architecture

        host_architecture(options.platform)
    available = os.cpu_count() or 1
    if options.resources.cpus_nano > available * 10**9:
        raise UsageError(
            f"--cpus {options.resources.cpus_nano / 1e9:g} is more than this host has",
            hint=f"from 0.01 to {available}",
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
    lowers = (*target.lowers, foundation(home))
    return Overlay(lowers, place.file("upper"), place.file("work"))


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
        options.network.add_host,
        facts.hostname,
        builtin and not target.bundle,
        facts.etc_files,
    )


def _fill_volumes(
    home: Home, options: RunOptions, target: Target, volumes: _Volumes, fill: Fill | None
) -> None:
    """Give new volumes what the image has at their places."""
    from .volumes import fill_fresh_volumes  # few containers have one

    untouched = {request.target for request in options.mounts if request.no_copy}
    (fill or fill_fresh_volumes)(home, volumes.by_target, target.lowers, untouched)


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
