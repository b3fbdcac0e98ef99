"""``scale`` and ``autoscale``: how many replicas there are, by a person's word or by traffic.

Next: ``life.py``.
"""

from __future__ import annotations

from typing import Any

import click

from minirun import MinirunError

from .common import client, complete_deployment, deployments_argument, for_each
from .output import say


@click.command()
@click.argument("name_and_count", nargs=-1, required=True, metavar="DEPLOYMENT[=N]…",
                shell_complete=complete_deployment)  # fmt: skip
@click.option("--replicas", type=int, metavar="N", help="For those that have no =N.")
def scale_command(name_and_count: tuple[str, ...], replicas: int | None) -> int:
    """Say how many replicas there are.

    \b
      minisched scale digits --replicas 5
      minisched scale digits=5 iris=2
    """  # noqa: D301
    counts = dict(_count(text, replicas) for text in name_and_count)
    sched = client()

    def work(name: str) -> None:
        sched.scale(name, counts[name])
        say(f"{name} scaled to {counts[name]}")

    return for_each(counts, work)


def _count(text: str, replicas: int | None) -> tuple[str, int]:
    name, equals, count = text.partition("=")
    if equals and count.isdecimal():
        return name, int(count)
    if equals or replicas is None:
        hint = f"minisched scale {name}=3, or --replicas 3"
        raise MinirunError(f"{text!r} does not say how many replicas", hint=hint)
    return name, replicas


@click.command()
@deployments_argument()
@click.option("--min", "minimum", type=int, metavar="N", help="At least; 0 lets it sleep.")
@click.option("--max", "maximum", type=int, metavar="N", help="At most.")
@click.option("--concurrency", type=float, metavar="N", help="Requests a replica takes at a time.")
@click.option("--rps", type=float, metavar="N", help="Requests a replica takes in a second.")
@click.option("--cpu-percent", type=float, metavar="N", help="Of the CPU that a replica requests.")
@click.option("--off", is_flag=True, help="Keep as many as there are.")
def autoscale_command(names: tuple[str, ...], *, off: bool, **given: float | None) -> int:
    """Let traffic say how many replicas there are.

    \b
      minisched autoscale digits --min 0 --max 10 --concurrency 4
      minisched autoscale digits --off
    """  # noqa: D301
    bounds = {key: value for key, value in given.items() if value is not None}
    if off == bool(bounds):
        hint = "for example --min 1 --max 10 --concurrency 4"
        raise MinirunError("autoscale needs bounds and a target, or --off alone", hint=hint)
    sched = client()

    def work(name: str) -> None:
        changes: dict[str, Any] = {"autoscale": None if off else bounds}
        if off:
            changes["replicas"] = sched.deployment(name)["status"]["desired"]
        after = sched.patch(name, changes)["spec"]
        say(f"{name} {_bounds(after)}")

    return for_each(names, work)


def _bounds(spec: dict[str, Any]) -> str:
    auto = spec["autoscale"]
    if auto is None:
        return f"not autoscaled, {spec['replicas']} replicas"
    return f"autoscaled, {auto['minimum']} to {auto['maximum']} replicas"
