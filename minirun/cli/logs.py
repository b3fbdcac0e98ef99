"""``logs`` and ``events``: what was printed, and what happened.

Next: ``inspect.py``.
"""

from __future__ import annotations

import json
import sys
import time

import click

from ..engine.home import default_home
from ..errors import NotFoundError
from .common import container_argument, find
from .output import formatter, say

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..container.events import Event
    from ..container.logreader import Selection
    from ..engine.home import Home


@click.command()
@click.option("-f", "--follow", is_flag=True, help="Go on as long as the container runs.")
@click.option("--since", default="", help="RFC 3339, seconds since 1970, or 10m ago.")
@click.option("--until", default="", help="Likewise.")
@click.option("-n", "--tail", default="all", help="The last N lines (all).")
@click.option("-t", "--timestamps", is_flag=True, help="Show when each line was printed.")
@click.option("--details", is_flag=True, hidden=True)
@container_argument()
def logs_command(
    name: str, since: str, until: str, tail: str, *, follow: bool, timestamps: bool, details: bool
) -> int:
    """Show what a container printed.

    \b
      minirun logs -f web
      minirun logs --since 10m --tail 100 -t web
    """  # noqa: D301
    from ..container import logreader

    del details
    home = default_home()
    record = find(home, name)
    path = home.containers.log_path(record.id)
    chosen = _selection(since, until, tail)
    entries = (
        logreader.follow(path, lambda: _is_up(home, record.id), chosen)
        if follow
        else logreader.read(path, chosen)
    )
    try:
        for entry in entries:
            stream = sys.stderr if entry.stream == "stderr" else sys.stdout
            stream.buffer.write(entry.text(timestamps=timestamps).encode("utf-8", "replace"))
            if follow:
                stream.buffer.flush()
    except KeyboardInterrupt:
        return 130  # this is how one leaves
    return 0


def _is_up(home: Home, container_id: str) -> bool:
    from ..engine.status import current, is_up

    try:
        return is_up(current(home, home.containers.read(container_id)))
    except NotFoundError:
        return False


def _selection(since: str, until: str, tail: str) -> Selection:
    from ..container.clock import moment
    from ..container.logreader import Selection
    from ..container.words import integer

    now = time.time_ns()
    count = integer(tail, "--tail", -1, 2**31) if tail != "all" else -1
    return Selection(
        since=moment(since, now) if since else "",
        until=moment(until, now) if until else "",
        tail=count if count >= 0 else None,
    )


@click.command()
@click.option("--since", default="", help="RFC 3339, seconds since 1970, or 10m ago.")
@click.option("--until", default="", help="Likewise; without it there is no end.")
@click.option("-f", "--filter", "filters", multiple=True, metavar="KEY=VALUE",
              help="type, event, container or image.")  # fmt: skip
@click.option("--format", "chosen", default="", help="json or '{{.Action}}'.")
def events_command(since: str, until: str, filters: tuple[str, ...], chosen: str) -> int:
    """Show what happened, and what happens now, until Ctrl-C.

    \b
      minirun events
      minirun events --since 1h --until 0s --format json
    """  # noqa: D301
    from ..container.clock import moment, stamp
    from ..container.events import EventLog

    now = time.time_ns()
    first = moment(since, now) if since else stamp(now)
    last = moment(until, now) if until else ""
    wanted = _event_filters(filters)
    line = formatter(chosen) if chosen else None
    try:
        for event in EventLog(default_home().data).follow(first, last):
            if all(_fits(event, key, value) for key, value in wanted):
                say(line(_fields(event)) if line else _sentence(event))
                sys.stdout.flush()
    except KeyboardInterrupt:
        return 130
    return 0


def _event_filters(filters: tuple[str, ...]) -> list[tuple[str, str]]:
    from ..errors import UsageError

    pairs = [(text.partition("=")[0], text.partition("=")[2]) for text in filters]
    for key, _ in pairs:
        if key not in ("type", "event", "container", "image"):
            hint = "one of: container, event, image, type"
            raise UsageError(f"invalid filter {key!r}", hint=hint)
    return pairs


def _fits(event: Event, key: str, value: str) -> bool:
    if key == "type":
        return event.type == value
    if key == "event":
        return event.action == value
    if key == "image":
        return event.attributes.get("image") == value
    return event.id.startswith(value) or event.attributes.get("name") == value


def _fields(event: Event) -> dict[str, object]:
    actor = {"ID": event.id, "Attributes": dict(event.attributes)}
    return {"Type": event.type, "Action": event.action, "Actor": actor, "time": event.time}


def _sentence(event: Event) -> str:
    notes = ", ".join(f"{key}={json.dumps(value)[1:-1]}" for key, value in event.attributes.items())
    return f"{event.time} {event.type} {event.action} {event.id}" + (f" ({notes})" if notes else "")
