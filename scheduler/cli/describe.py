"""``describe``: all that is known of a deployment or a replica, on one page.

What is wrong comes first; then what was asked for, as a Compose file; what there is, and how it
came to that.

Next: ``scale.py``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from ..units import cpu_text, size_text
from . import views
from .common import client, complete_deployment
from .output import document, layout, one_line, say

if TYPE_CHECKING:
    from ..client import Client

_EVENTS = 12
_UNITS: Mapping[str, Callable[[float], str]] = {
    "s": lambda value: f"{value:.1f}s",
    "bytes": lambda value: size_text(int(value)),
    "millis": lambda value: cpu_text(int(value)),
}


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
    _facts({"name": deployment["name"], **deployment["status"]})
    say("Asked for:")
    for line in _asked_for(deployment["spec"]).splitlines():
        say(f"  {line}")
    _block("Replicas", found["replicas"], views.REPLICAS)
    _block("Revisions", found["revisions"], views.REVISIONS)
    _block("Events", found["events"], views.EVENTS)


def _asked_for(spec: Mapping[str, Any]) -> str:
    """Return what to write in a Compose file to have the same."""
    import yaml
    from pydantic import ValidationError

    from ..api.schemas import DeploymentSpec, deployment_of
    from ..compose import Project, SecretSource, render

    try:
        wanted = deployment_of(DeploymentSpec.model_validate_json(json.dumps(spec)), spec["name"])
    except ValidationError:  # of a scheduler that is newer than this command line
        return str(yaml.safe_dump(dict(spec), sort_keys=False))
    template = wanted.template
    secrets = {secret.source: SecretSource("external") for secret in template.secrets}
    volumes = tuple(volume.source for volume in template.volumes if volume.kind == "volume")
    return render(Project((wanted,), secrets=secrets, volumes=volumes))


def _facts(facts: Mapping[str, Any], indent: str = "") -> None:
    """Print names and values; what is empty says nothing and is left out, but 0 is a number."""
    for key, value in facts.items():
        if value is None or value is False or value in ("", [], {}):
            continue
        if "_limit_" in key and not value:
            continue  # of a limit it means that there is none
        label, text = _labelled(key, value)
        if isinstance(value, dict):
            say(f"{indent}{label}")
            _facts(value, indent + "  ")
        else:
            say(f"{indent}{label:{18 - len(indent)}} {one_line(text)}")


def _labelled(key: str, value: object) -> tuple[str, str]:
    """Return a fact's name without its unit, and its value with it."""
    name, _, unit = key.rpartition("_")
    if isinstance(value, list):
        text = ", ".join(map(_item, value))
    elif unit in _UNITS and isinstance(value, int | float):
        key, text = name, _UNITS[unit](value)
    else:
        text = "yes" if value is True else str(value)
    return key.replace("_", " ").capitalize() + ":", text


def _item(value: object) -> str:
    if isinstance(value, dict):
        facts = (_labelled(key, held) for key, held in value.items() if held not in ("", [], 0))
        return " ".join(f"{label.lower()} {text}" for label, text in facts)
    return str(value)


def _block(title: str, rows: Sequence[Mapping[str, Any]], view: views.View) -> None:
    say(f"{title}:" + ("" if rows else " none"))
    for line in layout(rows, view.columns) if rows else ():
        say(f"  {line}")
