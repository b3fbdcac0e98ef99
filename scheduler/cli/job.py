"""``job`` and ``cron``: work with an end, and work by the clock.

Both are deployments of another kind, and come from Compose files like the rest.
Next: ``host.py``.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from minirun import MinirunError

from . import views
from .common import client, deployment_argument, form_option, seconds
from .complaints import complain
from .get import show
from .output import say

if TYPE_CHECKING:
    from ..client import Client

_LOOK_EVERY_S = 0.2


@click.group("job")
def job_command() -> None:
    """Start jobs and see how they ended."""


@job_command.command("run")
@deployment_argument()
@click.option("--wait", is_flag=True, help="Wait for the end; exit with 1 where it failed.")
@click.option("--timeout", default="1h", help="How long to wait (1h).")
def run(name: str, timeout: str, *, wait: bool) -> int:
    """Start a job again, or a cron's job out of its turn."""
    sched, patience_s = client(), seconds(timeout, "--timeout")
    number = sched.run(name)["status"]["job"]["number"]
    say(f"{name} run {number} started")
    return _await(sched, name, number, patience_s) if wait else 0


def _await(sched: Client, name: str, number: int, patience_s: float) -> int:
    deadline = time.monotonic() + patience_s
    while not (outcome := _outcome(sched.deployment(name), number)):
        if time.monotonic() > deadline:
            hint = f"minisched describe {name} says what it does"
            raise MinirunError(f"{name}: run {number} goes on", hint=hint, exit_code=1)
        time.sleep(_LOOK_EVERY_S)
    say(f"{name} run {number} {outcome}")
    if outcome != "succeeded":
        complain(f"{name}: run {number} {outcome}", f"minisched logs {name}")
    return 0 if outcome == "succeeded" else 1


def _outcome(deployment: Mapping[str, Any], number: int) -> str:
    """Return how a run ended; one that was followed by another has been replaced."""
    now = deployment["status"]["job"] or {}
    return str(now.get("outcome", "")) if now.get("number") == number else "replaced"


@job_command.command("list")
@form_option
def list_(form: str) -> int:
    """List the jobs and their last runs."""
    show(client().deployments(kind="job"), views.JOBS, form)
    return 0


@job_command.command("runs")
@deployment_argument()
@form_option
def runs(name: str, form: str) -> int:
    """Show how a job's or a cron's runs went."""
    show(client().runs(name), views.RUNS, form)
    return 0


@click.group("cron")
def cron_command() -> None:
    """See what runs by the clock."""


@cron_command.command("list")
@form_option
def list_crons(form: str) -> int:
    """List the crons and their last runs."""
    show(client().deployments(kind="cron"), views.CRONS, form)
    return 0
