"""``stats`` and ``top``: what containers use, and which processes they have.

Next: ``cp.py``.
"""

from __future__ import annotations

import sys
import time

import click

from ..engine.home import default_home
from ..errors import StateError
from .common import PLAIN, container_argument, containers_argument, find, format_option
from .output import show, write

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..engine.home import Home
    from ..engine.usage import Sample

_COLUMNS = (
    ("CONTAINER ID", "ID"),
    ("NAME", "Name"),
    ("CPU %", "CPUPerc"),
    ("MEM USAGE / LIMIT", "MemUsage"),
    ("MEM %", "MemPerc"),
    ("NET I/O", "NetIO"),
    ("BLOCK I/O", "BlockIO"),
    ("PIDS", "PIDs"),
)


@click.command()
@click.option("--no-stream", is_flag=True, help="Once, then end.")
@click.option("-a", "--all", "every", is_flag=True, help="Also those that do not run.")
@format_option
@containers_argument(required=False)
def stats_command(names: tuple[str, ...], chosen: str, *, no_stream: bool, every: bool) -> int:
    """Show what containers use, once a second.

    \b
      minirun stats
      minirun stats --no-stream --format json web
    """  # noqa: D301
    home = default_home()
    live = sys.stdout.isatty() and not no_stream and chosen in ("", "table")
    try:
        while True:
            rows = _rows(home, names, every=every)
            if live:
                write("\x1b[H\x1b[J")
            show(rows, _COLUMNS, chosen)
            sys.stdout.flush()
            if no_stream:
                return 0
    except KeyboardInterrupt:
        return 130


def _rows(home: Home, names: tuple[str, ...], *, every: bool) -> list[dict[str, str]]:
    """Look twice, a moment apart: use of a processor is a difference."""
    from ..engine.status import everything
    from ..engine.usage import sample

    def look() -> dict[str, Sample]:
        chosen = [find(home, name) for name in names] or everything(home)
        samples = (sample(home, record) for record in chosen)
        return {s.id: s for s in samples if s.running or every or names}

    first = look()
    time.sleep(1.0 if sys.stdout.isatty() else 0.2)
    second = look()
    return [_row(first[key], now) for key, now in second.items() if key in first]


def _row(before: Sample, now: Sample) -> dict[str, str]:
    from ..container.sizes import human_size

    elapsed = (now.taken_ns - before.taken_ns) or 1
    cpu = 100 * max(0, now.cpu_ns - before.cpu_ns) / elapsed
    limit = now.memory_limit_bytes or 1
    return {
        "ID": now.id[:12],
        "Name": now.name,
        "CPUPerc": f"{cpu:.2f}%",
        "MemUsage": f"{human_size(now.memory_bytes)} / {human_size(now.memory_limit_bytes)}",
        "MemPerc": f"{100 * now.memory_bytes / limit:.2f}%",
        "NetIO": f"{human_size(now.received_bytes)} / {human_size(now.sent_bytes)}",
        "BlockIO": f"{human_size(now.read_bytes)} / {human_size(now.written_bytes)}",
        "PIDs": str(now.pids),
        "MemPeak": human_size(now.memory_peak_bytes),
    }


@click.command(context_settings={**PLAIN, "ignore_unknown_options": True})
@container_argument()
@click.argument("options", nargs=-1, type=click.UNPROCESSED, metavar="[PS OPTIONS]")
def top_command(name: str, options: tuple[str, ...]) -> int:
    """Show the processes of a container, as ps(1) of the host prints them."""
    import subprocess

    from ..ownership import processes

    home = default_home()
    record = find(home, name)
    if record.state.status not in ("running", "paused"):
        raise StateError(f"container {record.id[:12]} is not running")
    container = home.place(record.id).container()
    pids = set(processes(container, container.state()))
    try:
        listed = subprocess.run(
            ["ps", *(options or ("-ef",))], capture_output=True, text=True, check=False
        )
    except FileNotFoundError as error:
        raise StateError("there is no ps on this host", hint="apt-get install procps") from error
    if listed.returncode:
        raise StateError(f"ps: {listed.stderr.strip()}", hint="the options are those of ps(1)")
    heading, *lines = listed.stdout.splitlines()
    words = heading.split()
    if "PID" not in words:
        raise StateError(
            "ps did not print a column PID", hint="leave the options out, or add -o pid"
        )
    at = words.index("PID")
    write(f"{heading}\n")
    for line in lines:
        fields = line.split(None, len(words) - 1)
        if len(fields) > at and fields[at].isdecimal() and int(fields[at]) in pids:
            write(f"{line}\n")
    return 0
