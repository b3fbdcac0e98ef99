"""``cordon``, ``uncordon``, ``drain``: the host before and after somebody works on it.

Next: ``quota.py``.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from minirun import MinirunError

from .common import client, seconds
from .output import say

if TYPE_CHECKING:
    from ..client import Client

_LOOK_EVERY_S = 0.2


@click.command()
def cordon_command() -> int:
    """Place nothing new on this host; what runs goes on."""
    client().cordon()
    say("host cordoned")
    return 0


@click.command()
def uncordon_command() -> int:
    """Place replicas on this host again."""
    client().uncordon()
    say("host uncordoned")
    return 0


@click.command()
@click.option("--wait/--no-wait", default=True, help="Wait until no replica is left.")
@click.option("--timeout", default="5m", help="How long to wait (5m).")
def drain_command(timeout: str, *, wait: bool) -> int:
    """Cordon the host, and let every replica end its requests and stop.

    What was drained is pending until minisched uncordon.
    """
    sched, patience_s = client(), seconds(timeout, "--timeout")
    sched.drain()
    say("host draining")
    if wait:
        _until_empty(sched, patience_s)
        say("host drained")
    return 0


def _until_empty(sched: Client, patience_s: float) -> None:
    deadline = time.monotonic() + patience_s
    while left := sched.host()["allocations"]:
        if time.monotonic() > deadline:
            names = ", ".join(sorted(row["replica"] for row in left))
            hint = "minisched get replicas shows what they wait for"
            raise MinirunError(f"still there: {names}", hint=hint, exit_code=1)
        time.sleep(_LOOK_EVERY_S)
