"""A template as the options of a container.

What the scheduler does itself is switched off there: the container is not restarted, and it has no
health check. A limit is a limit of its control group; a request of CPU is its weight when the host
is busy. Every replica is a likelier victim than the host's own processes when memory runs out.

Next: ``replica.py``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from minirun import (
    DeviceRequest,
    LogOptions,
    MountRequest,
    NetworkOptions,
    ResourceOptions,
    RunOptions,
)

from ..actions import Start
from ..model import Resources, Template, Volume
from .capacity import Cpuset, devices_of
from .folder import file_of

LOG_BYTES, LOG_FILES = 10 << 20, 3
SECRETS = "/run/secrets"
#: oom_score_adj(5): the kernel prefers these to whatever else the host runs.
VICTIM = 500


def names_of(wanted: Start, owner: str) -> tuple[str, ...]:
    """Return the names that a replica's container may have, the best first.

    A name is only for people, who know the replica by it. Somebody else may have it: another
    scheduler on this host, or a container left by one whose data is lost. Then the name says whose
    this one is; and should that be taken as well, it is told apart by chance.
    """
    return wanted.id, f"{wanted.id}-{owner[:6]}", f"{wanted.id}-{os.urandom(6).hex()}"


def options_of(
    wanted: Start, name: str, folder: Path, cpuset: Cpuset, labels: Mapping[str, str]
) -> RunOptions:
    """Return the options of a replica's container.

    Args:
        wanted: the replica.
        name: of its container.
        folder: its own, from ``folder.py``.
        cpuset: where it was placed.
        labels: by which it is found again.
    """
    template = wanted.template
    return RunOptions(
        command=template.command or (),
        entrypoint=template.entrypoint,
        name=name,
        hostname=_hostname(wanted.id),
        labels=labels,
        detach=True,
        no_healthcheck=True,
        log=LogOptions(LOG_BYTES, LOG_FILES),
        env=tuple(f"{name}={value}" for name, value in template.env.items()),
        workdir=template.working_dir,
        read_only=template.read_only,
        mounts=(*map(_mount, template.volumes), *_own_mounts(template, folder)),
        devices=tuple(DeviceRequest(path, path, "rw") for path in devices_of(wanted.grants)),
        user=template.user,
        resources=_resources(template.limits, template.requests, cpuset),
        network=NetworkOptions(),
    )


def _hostname(replica_id: str) -> str:
    """Return a name that hostname(7) allows: at most 63 letters, digits and dashes."""
    name, _, serial = replica_id.rpartition(".")
    return f"{name[: 62 - len(serial)].rstrip('-')}-{serial}"


def _mount(volume: Volume) -> MountRequest:
    if volume.kind == "tmpfs":
        size = (f"size={volume.size_bytes}",) if volume.size_bytes else ()
        return MountRequest("tmpfs", volume.target, readonly=volume.read_only, tmpfs_options=size)
    return MountRequest(volume.kind, volume.target, volume.source, readonly=volume.read_only)


def _own_mounts(template: Template, folder: Path) -> Iterator[MountRequest]:
    """Yield the folder of the socket, that of the secrets, and secrets with a path of their own."""
    if template.socket:
        yield MountRequest("bind", os.path.dirname(template.socket), str(folder / "socket"))
    if not template.secrets:
        return
    yield MountRequest("bind", SECRETS, str(folder / "secrets"), readonly=True)
    for number, secret in enumerate(template.secrets):
        if secret.target.startswith("/"):
            source = folder / "secrets" / file_of(secret, number)
            yield MountRequest("bind", secret.target, str(source), readonly=True)


def _resources(limits: Resources, requests: Resources, cpuset: Cpuset) -> ResourceOptions:
    most = 1000 * (os.cpu_count() or 1)
    return ResourceOptions(
        memory_bytes=limits.memory_bytes,
        memory_swap_bytes=limits.memory_bytes,  # memory and swap together: none of the latter
        cpus_nano=min(limits.cpu_millis, most) * 1_000_000,
        cpu_shares=max(2, requests.cpu_millis * 1024 // 1000) if requests.cpu_millis else 0,
        cpuset_cpus=cpuset.cpus,
        cpuset_mems=cpuset.mems,
        pids_limit=limits.pids,
        oom_score_adj=VICTIM,
    )
