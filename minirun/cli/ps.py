"""``ps`` and ``port``: which containers there are.

Next: ``inspect.py``.
"""

from __future__ import annotations

import click

from ..engine.home import default_home
from .common import container_argument, find, format_option
from .output import ago, human_time, seconds_since, show

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..container.entry import ContainerRecord

_COLUMNS = (
    ("CONTAINER ID", "ID"),
    ("IMAGE", "Image"),
    ("COMMAND", "Command"),
    ("CREATED", "RunningFor"),
    ("STATUS", "Status"),
    ("PORTS", "Ports"),
    ("NAMES", "Names"),
)


@click.command()
@click.option("-a", "--all", "every", is_flag=True, help="Also those that have ended.")
@click.option("-q", "--quiet", is_flag=True, help="Ids only.")
@click.option("-n", "--last", type=int, default=-1, help="The last N that were made.")
@click.option("-l", "--latest", is_flag=True, help="The last one that was made.")
@click.option("--no-trunc", is_flag=True, help="Whole ids and commands.")
@click.option("-s", "--size", is_flag=True, help="Show the writable layer's size.")
@click.option("-f", "--filter", "filters", multiple=True, metavar="KEY=VALUE",
              help="name, id, status, exited, label, ancestor, health or volume.")  # fmt: skip
@format_option
def ps_command(
    last: int,
    filters: tuple[str, ...],
    chosen: str,
    *,
    every: bool,
    quiet: bool,
    latest: bool,
    no_trunc: bool,
    size: bool,
) -> int:
    """List containers.

    \b
      minirun ps -a
      minirun ps -q -f status=exited
      minirun ps --format '{{.Names}} {{.Status}}'
    """  # noqa: D301
    from ..engine.select import matching
    from ..engine.status import everything, is_up

    home = default_home()
    records = matching(everything(home), filters)
    last = 1 if latest else last
    if last >= 0:
        records = records[:last]
    elif not every and not any(text.startswith(("status=", "exited=")) for text in filters):
        records = [record for record in records if is_up(record)]
    rows = [row(record, whole=no_trunc) for record in records]
    columns: tuple[tuple[str, str], ...] = _COLUMNS
    if size:
        from ..container.sizes import human_size
        from ..engine.usage import writable_bytes

        for record, shown in zip(records, rows, strict=True):
            shown["Size"] = human_size(writable_bytes(home, record))
        columns = (*_COLUMNS, ("SIZE", "Size"))
    show(rows, columns, chosen, quiet="ID" if quiet else "")
    return 0


def row(record: ContainerRecord, *, whole: bool = False) -> dict[str, Any]:
    """Return what ``ps`` tells about a container, under docker's names."""
    command = " ".join(record.args)
    shown = command if whole or len(command) <= 20 else command[:19] + "…"
    return {
        "ID": record.id if whole else record.id[:12],
        "Image": record.image,
        "Command": f'"{shown}"',
        "CreatedAt": record.created,
        "RunningFor": ago(record.created),
        "State": record.state.status,
        "Status": status(record),
        "Ports": ", ".join(record.state.attachment.ports) if record.state.pid else "",
        "Names": record.name,
        "Labels": ",".join(f"{key}={value}" for key, value in record.labels.items()),
        "Networks": record.options.network.mode,
        "Mounts": ",".join(record.volumes.values()),
    }


def status(record: ContainerRecord) -> str:
    """Return the status as docker words it: ``Up 2 minutes (healthy)``, ``Exited (0) …``."""
    state = record.state
    up = f"Up {human_time(seconds_since(state.started_at))}"
    health = f" ({state.health.status})" if state.health else ""
    reason = {"oom": ", out of memory", "error": ", " + state.error}.get(state.reason, "")
    ended = f"Exited ({state.exit_code}{reason}) {ago(state.finished_at)}".removesuffix(" N/A")
    words = {
        "running": up + health,
        "paused": f"{up} (Paused)",
        "created": "Created",
        "restarting": f"Restarting ({state.exit_code}) {ago(state.finished_at)}",
        "dead": f"Dead: {state.error}",
        "removing": "Removal In Progress",
    }
    return words.get(state.status, ended)


@click.command()
@format_option
@container_argument()
@click.argument("wanted", required=False, default="", metavar="[PORT[/udp]]")
def port_command(name: str, wanted: str, chosen: str) -> int:
    """Show the published ports of a container, or where one of them is."""
    from ..errors import StateError

    record = find(default_home(), name)
    key = wanted if "/" in wanted or not wanted else f"{wanted}/tcp"
    pairs = (text.split("->") for text in record.state.attachment.ports)
    rows = [{"Port": inside, "Host": host} for host, inside in pairs if key in ("", inside)]
    if key and not rows:
        raise StateError(
            f"no public port {key!r} published for {name}", hint=f"minirun port {name}"
        )
    usual = "{{.Host}}" if key else "{{.Port}} -> {{.Host}}"
    show(rows, (("PORT", "Port"), ("HOST", "Host")), chosen or usual)
    return 0
