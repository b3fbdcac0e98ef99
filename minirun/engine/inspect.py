"""What ``inspect`` shows: records under docker's names, so that scripts find what they look for.

Next: ``kernelview.py``.
"""

from __future__ import annotations

from ..container.words import signal_name
from ..decode import encode
from ..shim.place import StartFile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..container.entry import ContainerRecord
    from ..container.mounts import MountRequest
    from ..image.store import Image
    from .home import Home

_NEVER = "0001-01-01T00:00:00Z"


def container(home: Home, record: ContainerRecord) -> dict[str, Any]:
    """Return a container as docker's API has it; what minirun adds is below ``Minirun``."""
    options = record.options
    place = home.place(record.id)
    command, *args = record.args or ("",)
    return {
        "Id": record.id,
        "Created": record.created,
        "Path": command,
        "Args": args,
        "State": _state(record),
        "Image": record.image_id or record.image,
        "ResolvConfPath": place.file("resolv.conf"),
        "HostnamePath": place.file("hostname"),
        "HostsPath": place.file("hosts"),
        "LogPath": home.containers.log_path(record.id),
        "Name": f"/{record.name}",
        "RestartCount": record.state.restart_count,
        "Driver": "overlay",
        "Platform": "linux",
        "HostConfig": _host_config(record),
        "Mounts": [_mount(home, record, request) for request in options.mounts],
        "Config": _config(record),
        "NetworkSettings": _network(record),
        "Minirun": {
            "Bundle": place.file("").rstrip("/"),
            "Overlay": encode(place.read("start.json", StartFile).overlay),
            "Reason": record.state.reason,
            "PeakMemoryBytes": record.state.peak_memory_bytes,
            "ShimPid": record.state.shim_pid,
            "StoppedByUser": record.state.stopped_by_user,
        },
    }


def _state(record: ContainerRecord) -> dict[str, Any]:
    state = record.state
    shown: dict[str, Any] = {
        "Status": state.status,
        "Running": state.status in ("running", "paused"),
        "Paused": state.status == "paused",
        "Restarting": state.status == "restarting",
        "OOMKilled": state.oom_killed,
        "Dead": state.status == "dead",
        "Pid": state.pid,
        "ExitCode": state.exit_code,
        "Error": state.error,
        "StartedAt": state.started_at or _NEVER,
        "FinishedAt": state.finished_at or _NEVER,
    }
    if state.health is not None:
        shown["Health"] = _health(record)
    return shown


def _health(record: ContainerRecord) -> dict[str, Any]:
    health = record.state.health
    assert health is not None
    log = [{_capital(k): v for k, v in encode(result).items()} for result in health.log]
    return {"Status": health.status, "FailingStreak": health.failing_streak, "Log": log}


def _capital(name: str) -> str:
    return name[:1].upper() + name[1:]


def _config(record: ContainerRecord) -> dict[str, Any]:
    options = record.options
    return {
        "Hostname": options.hostname or record.id[:12],
        "Domainname": options.domainname,
        "User": options.user,
        "AttachStdin": options.interactive,
        "Tty": options.tty,
        "OpenStdin": options.interactive,
        "Env": list(options.env),
        "Cmd": list(options.command) or None,
        "Entrypoint": list(options.entrypoint) if options.entrypoint is not None else None,
        "Image": record.image,
        "WorkingDir": options.workdir,
        "Labels": dict(record.labels),
        "StopSignal": signal_name(record.stop_signal),
        "StopTimeout": record.stop_timeout_s,
        "Healthcheck": encode(record.health_check) if record.health_check else None,
    }


def _host_config(record: ContainerRecord) -> dict[str, Any]:
    options, resources = record.options, record.options.resources
    return {
        "NetworkMode": options.network.mode,
        "RestartPolicy": {
            "Name": options.restart.name,
            "MaximumRetryCount": options.restart.max_retries,
        },
        "AutoRemove": options.remove,
        "Privileged": options.privileged,
        "ReadonlyRootfs": options.read_only,
        "CapAdd": list(options.cap_add) or None,
        "CapDrop": list(options.cap_drop) or None,
        "PidMode": options.pid,
        "IpcMode": options.ipc,
        "UTSMode": options.uts,
        "UsernsMode": options.userns,
        "CgroupnsMode": options.cgroupns,
        "CgroupParent": options.cgroup_parent,
        "ShmSize": resources.shm_size_bytes,
        "Memory": resources.memory_bytes,
        "MemorySwap": resources.memory_swap_bytes,
        "MemoryReservation": resources.memory_reservation_bytes,
        "NanoCpus": resources.cpus_nano,
        "CpuShares": resources.cpu_shares,
        "CpuPeriod": resources.cpu_period_us,
        "CpuQuota": resources.cpu_quota_us,
        "CpusetCpus": resources.cpuset_cpus,
        "CpusetMems": resources.cpuset_mems,
        "PidsLimit": resources.pids_limit,
        "BlkioWeight": resources.blkio_weight,
        "OomScoreAdj": resources.oom_score_adj,
        "OomKillDisable": resources.oom_kill_disable,
        "Ulimits": [{"Name": u.name, "Soft": u.soft, "Hard": u.hard} for u in resources.ulimits],
        "Sysctls": dict(options.sysctls),
        "Init": options.init,
        "LogConfig": {"Type": "json-file", "Config": encode(options.log)},
    }


def _mount(home: Home, record: ContainerRecord, request: MountRequest) -> dict[str, Any]:
    shown = {
        "Type": request.type,
        "Source": request.source,
        "Destination": request.target,
        "Mode": ",".join(request.tmpfs_options),
        "RW": not request.readonly,
        "Propagation": request.propagation,
    }
    if request.type == "volume":
        name = record.volumes.get(request.target, request.source)
        shown |= {"Name": name, "Source": home.volumes.path(name), "Driver": "local"}
    return shown


def _network(record: ContainerRecord) -> dict[str, Any]:
    attachment = record.state.attachment
    up = bool(record.state.pid)
    ports: dict[str, list[dict[str, str]]] = {}
    for text in attachment.ports if up else ():
        host, _, inside = text.partition("->")
        ip, _, port = host.rpartition(":")
        ports.setdefault(inside, []).append({"HostIp": ip, "HostPort": port})
    shown = {
        "Bridge": attachment.bridge if up else "",
        "Gateway": attachment.gateway if up else "",
        "IPAddress": attachment.ip if up else "",
        "MacAddress": attachment.mac if up else "",
    }
    return {**shown, "Ports": ports, "Networks": {record.options.network.mode: shown}}


def image(found: Image) -> dict[str, Any]:
    """Return an image as docker's API has it."""
    config = found.config
    return {
        "Id": found.id,
        "RepoTags": list(found.familiar_names),
        "RepoDigests": list(found.digests),
        "Created": config.created,
        "Author": config.author,
        "Architecture": config.architecture,
        "Os": config.os,
        "Size": size_bytes(found),
        "Annotations": dict(found.manifest.annotations),
        "Descriptor": encode(found.descriptor),
        "Config": encode(config.config),
        "RootFS": {"Type": "layers", "Layers": list(config.rootfs.diff_ids)},
        "GraphDriver": {"Name": "overlay", "Data": {"LowerDir": ":".join(found.lower_dirs())}},
    }


def size_bytes(found: Image) -> int:
    """Return what the image's layers take on the disk; a damaged layer counts nothing."""
    import os
    from contextlib import suppress

    from ..image.gc import layer_size

    total = 0
    for diff_id in dict.fromkeys(found.config.rootfs.diff_ids):
        with suppress(OSError):
            total += layer_size(os.path.join(found.root, "layers", diff_id.removeprefix("sha256:")))
    return total


def volume(home: Home, name: str) -> dict[str, Any]:
    """Return a volume as docker's API has it."""
    found = home.volumes.get(name)
    return {
        "Name": found.name,
        "Driver": "local",
        "CreatedAt": found.created,
        "Labels": dict(found.labels),
        "Mountpoint": home.volumes.path(found.name),
        "Scope": "local",
        "Anonymous": found.anonymous,
    }
