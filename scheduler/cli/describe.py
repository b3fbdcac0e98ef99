"""``describe``: all that is known of a deployment or a replica, on one page.

What is wrong comes first; then what was asked for, what there is, and how it came to that.

Next: ``scale.py``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from . import views
from .common import client, complete_deployment
from .output import document, layout, one_line, say

if TYPE_CHECKING:
    from ..client import Client

_EVENTS = 12


@click.command()
@click.argument("target", metavar="DEPLOYMENT|REPLICA", shell_complete=complete_deployment)
@click.option("--format", "form", type=click.Choice(["text", "json", "yaml"]), default="text",
              help="json and yaml are for programs.")  # fmt: skip
def describe_command(target: str, form: str) -> int:
    """Show all that is known of a deployment or a replica.

    \b
      minisched describe digits
      minisched describe digits.3
    """  # noqa: D301
    sched = client()
    found = _replica(sched, target) if "." in target else _deployment(sched, target)
    if form != "text":
        document(found, form)
    elif "." in target:
        _facts(found["replica"])
        _block("Events", found["events"], views.EVENTS)
    else:
        _show(found)
    return 0


def _deployment(sched: Client, name: str) -> dict[str, Any]:
    return {
        "deployment": sched.deployment(name),
        "replicas": sched.replicas(name),
        "revisions": sched.revisions(name),
        "events": sched.events(deployment=name, limit=_EVENTS),
    }


def _replica(sched: Client, replica_id: str) -> dict[str, Any]:
    replica = sched.replica(replica_id)
    events = sched.events(deployment=replica["deployment"], limit=1000)
    about = [event for event in events if replica_id in event["message"].split()]
    return {"replica": replica, "events": about[-_EVENTS:]}


def _show(found: Mapping[str, Any]) -> None:
    deployment = found["deployment"]
    status, spec = deployment["status"], deployment["spec"]
    _facts({"name": deployment["name"], **status})
    say("Asked for:")
    _facts({key: value for key, value in spec.items() if key not in ("name",)}, "  ")
    _block("Replicas", found["replicas"], views.REPLICAS)
    _block("Revisions", found["revisions"], views.REVISIONS)
    _block("Events", found["events"], views.EVENTS)


def _facts(facts: Mapping[str, Any], indent: str = "") -> None:
    """Print names and values; what is empty says nothing and is left out."""
    for key, value in facts.items():
        if value in (None, "", [], {}, False):
            continue
        label = key.replace("_", " ").capitalize() + ":"
        if isinstance(value, dict):
            inner = {k: v for k, v in value.items() if v not in (None, "", [], {}, False, 0)}
            if inner:
                say(f"{indent}{label}")
                _facts(inner, indent + "  ")
        else:
            say(f"{indent}{label:{18 - len(indent)}} {one_line(_text(value))}")


def _text(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return str(value)


def _block(title: str, rows: Sequence[Mapping[str, Any]], view: views.View) -> None:
    say(f"{title}:" + ("" if rows else " none"))
    for line in layout(rows, view.columns) if rows else ():
        say(f"  {line}")
