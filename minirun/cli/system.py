"""``system info version launcher``: disk space, clearing up, facts about this host.

Next: ``explain.py``.
"""

from __future__ import annotations

import os
import sys

import click

from .. import __version__
from ..container.sizes import human_size
from ..engine.home import default_home
from .common import format_option
from .output import document, formatter, say, show

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


@click.command()
@format_option
def version_command(chosen: str) -> int:
    """Show the version."""
    uname = os.uname()
    facts = {
        "Version": __version__,
        "Python": sys.version.split()[0],
        "Kernel": uname.release,
        "Arch": uname.machine,
    }
    return _tell(facts, chosen)


@click.command()
@format_option
def info_command(chosen: str) -> int:
    """Show facts about this host, and what minirun has on it."""
    return _tell(_facts(), chosen)


def _tell(facts: dict[str, Any], chosen: str) -> int:
    if chosen == "json":
        document(facts)
    elif chosen in ("", "table"):
        for name, value in facts.items():
            shown = ", ".join(map(str, value)) if isinstance(value, list) else value
            say(f"{name}: {shown}")
    else:
        say(formatter(chosen)(facts))
    return 0


def _facts() -> dict[str, Any]:
    import psutil

    from ..engine.status import everything
    from ..host import probe

    home, host = default_home(), probe()
    states = [record.state.status for record in everything(home)]
    swap = psutil.swap_memory().total
    return {
        "ServerVersion": __version__,
        "Containers": len(states),
        "ContainersRunning": states.count("running"),
        "ContainersPaused": states.count("paused"),
        "ContainersStopped": len(states) - states.count("running") - states.count("paused"),
        "Images": len(home.images.images()),
        "Driver": "overlay",
        "CgroupDriver": "cgroupfs",
        "CgroupVersion": "2" if host.cgroup_mode == "v2" else f"1 ({host.cgroup_mode})",
        "Controllers": sorted(host.controllers),
        "KernelVersion": os.uname().release,
        "Architecture": host.arch,
        "NCPU": psutil.cpu_count(),
        "MemTotal": host.memory_bytes,
        "SwapTotal": swap,
        "Namespaces": sorted(host.namespaces),
        "Features": sorted(host.features),
        "UserNamespaces": host.user_namespaces,
        "AppArmor": host.apparmor,
        "DataRoot": home.data,
        "StateRoot": home.root,
    }


@click.group(name="system")
def system_command() -> None:
    """Disk space, clearing up, facts about the host."""


@system_command.command("df")
@click.option("-v", "--verbose", is_flag=True, help="Each image: shared and unique space.")
@format_option
def disk_free(chosen: str, *, verbose: bool) -> int:
    """Show what takes how much disk space."""
    if verbose:
        from .image_group import show_usage

        return show_usage(chosen)
    from ..engine.prune import in_use
    from ..engine.status import everything, is_up
    from ..engine.usage import writable_bytes
    from ..image.usage import unused_bytes

    home = default_home()
    images = home.images.df()
    idle = images.reclaimable_bytes + unused_bytes(home.images, in_use(home))
    records = everything(home)
    sizes = {record.id: writable_bytes(home, record) for record in records}
    volumes = {
        volume.name: home.volumes.disk_usage_bytes(volume.name) for volume in home.volumes.all()
    }
    used = {name for record in records for name in record.volumes.values()}
    ended = sum(sizes[record.id] for record in records if not is_up(record))
    rows = [
        _usage("Images", images.images, images.blob_bytes + images.layer_bytes, idle),
        _usage("Containers", len(records), sum(sizes.values()), ended),
        _usage("Local Volumes", len(volumes), sum(volumes.values()),
               sum(size for name, size in volumes.items() if name not in used)),
    ]  # fmt: skip
    columns = (
        ("TYPE", "Type"),
        ("TOTAL", "TotalCount"),
        ("SIZE", "Size"),
        ("RECLAIMABLE", "Reclaimable"),
    )
    show(rows, columns, chosen)
    return 0


def _usage(kind: str, count: int, size: int, reclaimable: int) -> dict[str, Any]:
    return {
        "Type": kind,
        "TotalCount": count,
        "Size": human_size(size),
        "Reclaimable": human_size(reclaimable),
    }


@system_command.command("prune")
@click.option("-a", "--all", "every", is_flag=True, help="Also images that have a name.")
@click.option("--volumes", "with_volumes", is_flag=True, help="Also unused volumes.")
@click.option("-f", "--force", is_flag=True, help="Do not ask.")
def prune(*, every: bool, with_volumes: bool, force: bool) -> int:
    """Remove ended containers, unused images and an unused bridge."""
    from ..engine import prune as engine
    from ..engine.reconcile import reconcile

    if not force and sys.stdin.isatty():
        click.confirm("This removes all that has ended or is unused. Go on?", abort=True)
    home = default_home()
    reconcile(home)
    parts = [engine.containers(home)]
    if with_volumes:
        parts.append(engine.volumes(home))
    parts.append(engine.images(home, every=every))
    engine.network(home)
    for name in (name for part in parts for name in part.names):
        say(f"deleted: {name}")
    say(f"Total reclaimed space: {human_size(sum(part.bytes for part in parts))}")
    return 0


@system_command.command("reconcile")
@click.option("--start", "start_too", is_flag=True,
              help="Start what its restart policy wants; for the time after a reboot.")  # fmt: skip
def reconcile_everything(*, start_too: bool) -> int:
    """Put right what a crash or a reboot left: records, addresses, control groups."""
    from ..engine.reconcile import reconcile
    from ..engine.restart import start_again

    home = default_home()
    report = reconcile(home)
    for text, ids in (
        ("ended while nobody watched", report.settled),
        ("removed, belonged to nobody", report.removed),
        ("address released", report.released),
    ):
        for container_id in ids:
            say(f"{container_id[:12]} {text}")
    for container_id in report.to_start if start_too else ():
        session = start_again(home, home.containers.read(container_id))
        if session is not None:
            session.close()
        say(f"{container_id[:12]} started")
    return 0


system_command.add_command(info_command, "info")


@click.command()
def launcher_command() -> int:
    """Serve starts from a warm process, in the foreground, until Ctrl-C.

    While it runs, starts take milliseconds. Killing it ends no container.
    """
    from .launching import launch

    return launch()
