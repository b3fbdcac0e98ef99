"""``events``: what was decided and why, as it happens.

Next: ``top.py``.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from .common import client, complete_deployment
from .complaints import EXIT_INTERRUPTED, complain
from .output import one_line, say

if TYPE_CHECKING:
    from ..client import Client

#: Nobody answers, or not yet.
_GONE = (0, 502, 503)
_LOOK_EVERY_S = 0.5


@click.command()
@click.argument("name", required=False, metavar="[DEPLOYMENT]", shell_complete=complete_deployment)
@click.option("-w", "--watch", is_flag=True, help="Go on until Ctrl-C.")
@click.option("--after", type=int, metavar="N", help="Only those after the event numbered N.")
@click.option("-n", "--limit", type=int, default=100, help="The last N (100).")
@click.option("--inputs", is_flag=True, help="Show the numbers that a decision was made by.")
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table",
              help="json is one object per line.")  # fmt: skip
def events_command(
    name: str | None, after: int | None, limit: int, form: str, *, watch: bool, inputs: bool
) -> int:
    """Show what was decided and why, oldest first.

    \b
      minisched events digits
      minisched events -w --inputs
    """  # noqa: D301
    try:
        for event in _events(client(), name or "", after, limit, watch=watch):
            say(
                json.dumps(event, ensure_ascii=False)
                if form == "json"
                else _line(event, inputs=inputs)
            )
            sys.stdout.flush()
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED  # this is how one leaves
    return 0


def _events(
    sched: Client, name: str, after: int | None, limit: int, *, watch: bool
) -> Iterator[dict[str, Any]]:
    """Yield the last events and, where wanted, those that follow: none between is skipped."""
    last = after
    for event in sched.events(deployment=name, after=after, limit=limit):
        yield event
        last = event["sequence"]
    if watch:
        yield from _watched(sched, name, last or 0)


def _watched(sched: Client, name: str, last: int) -> Iterator[dict[str, Any]]:
    """Yield what happens after an event, by this scheduler and by those that come after it."""
    from ..client import ApiError

    is_told = False
    while True:
        why = "the scheduler has gone"
        try:
            for event in sched.watch(deployment=name, after=last):
                last, is_told = event["sequence"], False
                yield event
        except ApiError as error:
            if error.status not in _GONE:
                raise
            why = error.message if error.status else why
        if not is_told:
            complain(why, "nothing is skipped: the watch goes on as soon as it can")
        is_told = True
        time.sleep(_LOOK_EVERY_S)


def _line(event: dict[str, Any], *, inputs: bool) -> str:
    at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(event["unix_s"]))
    text = f"{at}  {event['deployment']:16} {event['kind']:14} {event['message']}"
    if inputs and event["inputs"]:
        text += " " + json.dumps(event["inputs"], ensure_ascii=False)
    return one_line(text)
