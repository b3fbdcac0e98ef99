"""``restart`` and ``delete``: what is done with whole deployments.

Next: ``get.py``.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from minirun import MinirunError

from .common import (
    client,
    complete_deployment,
    deployments_argument,
    for_each,
    labels_of,
    labels_option,
    seconds,
)
from .output import say

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..client import Client

_LOOK_EVERY_S = 0.2


@click.command()
@deployments_argument()
def restart_command(names: tuple[str, ...]) -> int:
    """Replace all replicas, gently: a rollout of what there is."""
    sched = client()

    def work(name: str) -> None:
        sched.restart(name)
        say(f"{name} restarting")

    return for_each(names, work)


@click.command()
@click.argument("names", nargs=-1, metavar="DEPLOYMENT…", shell_complete=complete_deployment)
@labels_option
@click.option("--wait", is_flag=True, help="Wait until nothing of them is left.")
@click.option("--timeout", default="5m", help="How long to wait (5m).")
def delete_command(
    names: tuple[str, ...], labels: tuple[str, ...], timeout: str, *, wait: bool
) -> int:
    """Drain deployments and remove them; what is in flight ends in peace."""
    sched = client()
    patience_s = seconds(timeout, "--timeout")
    chosen = [*names]
    if labels:
        chosen += [row["name"] for row in sched.deployments(labels_of(labels))]
    elif not names:
        raise MinirunError("name a deployment, or choose some by -l KEY=VALUE")

    def work(name: str) -> None:
        sched.delete(name)
        say(f"{name} deleted" + (", draining" if not wait else ""))

    code = for_each(dict.fromkeys(chosen), work)
    if wait and not code:
        _until_gone(sched, chosen, patience_s)
    return code


def _until_gone(sched: Client, names: Iterable[str], patience_s: float) -> None:
    deadline = time.monotonic() + patience_s
    while left := {row["name"] for row in sched.deployments()} & set(names):
        if time.monotonic() > deadline:
            hint = "minisched get replicas shows what is still draining"
            raise MinirunError(f"still there: {', '.join(sorted(left))}", hint=hint, exit_code=1)
        time.sleep(_LOOK_EVERY_S)
