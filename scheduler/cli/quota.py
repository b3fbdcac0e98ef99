"""``quota``: what the deployments that name it may request together.

Next: ``secret.py``.
"""

from __future__ import annotations

import click

from minirun import MinirunError

from ..units import cpu_millis, size_bytes
from . import views
from .common import amount, client, for_each, form_option
from .get import show
from .output import say


@click.group("quota")
def quota_command() -> None:
    """Say what deployments may request together."""


@quota_command.command("set")
@click.argument("name")
@click.option("--cpu", metavar="N", help="CPUs, for example 1.5 or 500m.")
@click.option("--memory", metavar="SIZE", help="For example 4g.")
@click.option("--gpus", type=int, metavar="N")
@click.option("--replicas", type=int, metavar="N")
def set_(
    name: str, cpu: str | None, memory: str | None, gpus: int | None, replicas: int | None
) -> int:
    """Make a quota, or replace all of its bounds; what is left out is not bounded."""
    bounds = {
        "cpu_millis": None if cpu is None else amount(cpu, "--cpu", cpu_millis),
        "memory_bytes": None if memory is None else amount(memory, "--memory", size_bytes),
        "gpus": gpus,
        "replicas": replicas,
    }
    given = {key: value for key, value in bounds.items() if value is not None}
    if not given:
        raise MinirunError("a quota without a bound bounds nothing", hint="for example --cpu 2")
    client().set_quota(name, given)
    say(f"quota {name} set")
    return 0


@quota_command.command("list")
@form_option
def list_(form: str) -> int:
    """List quotas, and what of them is used."""
    show(client().quotas(), views.QUOTAS, form)
    return 0


@quota_command.command("delete")
@click.argument("names", nargs=-1, required=True, metavar="QUOTA…")
def delete(names: tuple[str, ...]) -> int:
    """Remove quotas."""
    sched = client()

    def work(name: str) -> None:
        sched.remove_quota(name)
        say(f"quota {name} deleted")

    return for_each(names, work)
