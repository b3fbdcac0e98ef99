"""``rollout``: follow, undo, pause, resume, promote or list the rollouts of a deployment.

A rollout is done when the revision that was asked for serves with all its replicas. It has failed
when another revision does by then: the scheduler has rolled it back.

Next: ``scale.py``.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from minirun import MinirunError

from . import views
from .common import client, deployment_argument, form_option, seconds
from .complaints import complain
from .get import show
from .output import one_line, say

if TYPE_CHECKING:
    from ..client import Client

#: States from which nothing more is to come, and whether that is well.
_ENDS = {"running": True, "idle": True, "done": True, "failed": False}
_LOOK_EVERY_S = 0.2


@click.group("rollout")
def rollout_command() -> None:
    """Follow, undo, pause or list the rollouts of a deployment."""


@rollout_command.command("status")
@deployment_argument()
@click.option("--timeout", default="10m", help="How long to follow it (10m).")
@click.option("--no-watch", is_flag=True, help="Say how it is now, and do not follow it.")
def status(name: str, timeout: str, *, no_watch: bool) -> int:
    """Follow a rollout to its end; exit with 1 where it failed."""
    sched = client()
    patience_s = seconds(timeout, "--timeout")
    if no_watch:
        now = sched.deployment(name)
        say(_sentence(now))
        return 0
    target = sched.deployment(name)["status"]["revision"]
    return follow_all(sched, {name: target}, patience_s)


@rollout_command.command("undo")
@deployment_argument()
@click.option("--to-revision", type=int, metavar="N", help="To this one (the last that worked).")
def undo(name: str, to_revision: int | None) -> int:
    """Return to an earlier revision."""
    after = client().roll_back(name, to_revision)
    say(f"{name} rolling back to revision {after['status']['revision']}")
    return 0


@rollout_command.command("history")
@deployment_argument()
@form_option
def history(name: str, form: str) -> int:
    """List the revisions that can be returned to."""
    show(client().revisions(name), views.REVISIONS, form)
    return 0


@rollout_command.command("pause")
@deployment_argument()
def pause(name: str) -> int:
    """Let a rollout stop where it is; what serves goes on."""
    client().pause(name)
    say(f"{name} paused")
    return 0


@rollout_command.command("resume")
@deployment_argument()
def resume(name: str) -> int:
    """Let a paused rollout go on."""
    client().resume(name)
    say(f"{name} resumed")
    return 0


@rollout_command.command("promote")
@deployment_argument()
def promote(name: str) -> int:
    """Let a canary take over without waiting for its time to end."""
    client().promote(name)
    say(f"{name} promoted")
    return 0


# ── following ─────────────────────────────────────────────────────────────────────────────────


def follow_all(
    sched: Client, targets: Mapping[str, int], patience_s: float, *, quiet: bool = False
) -> int:
    """Wait until every deployment runs its target revision; say how they get on.

    Returns:
        0, or 1 where one failed or was rolled back.

    Raises:
        MinirunError: the patience has ended.
    """
    deadline = time.monotonic() + patience_s
    left, code = dict(targets), 0
    said: dict[str, str] = {}
    while left:
        for name, target in list(left.items()):
            now = sched.deployment(name)
            sentence = _sentence(now)
            if said.get(name) != sentence and not quiet:
                said[name] = sentence
                say(sentence)
                sys.stdout.flush()
            ended = _ended(now, target)
            if ended is not None:
                del left[name]
                code = code if ended else 1
        if left and time.monotonic() > deadline:
            names = ", ".join(left)
            hint = f"minisched describe {next(iter(left))} says why"
            raise MinirunError(f"{names}: not there after {patience_s:g} s", hint=hint, exit_code=1)
        if left:
            time.sleep(_LOOK_EVERY_S)
    return code


def _ended(now: Mapping[str, Any], target: int) -> bool | None:
    """Return whether a rollout ended well; None while it goes on."""
    name, state = now["name"], now["status"]
    if state["revision"] != target:
        hint = f"minisched events {name} tells the story"
        undone = f"revision {target} was rolled back to {state['revision']}"
        why = one_line(state["reason"])  # by now it may be of what came after
        why = why if undone in why else f"{undone}: {why}".removesuffix(": ")
        complain(f"{name}: {why}", hint)
        return False
    if state["state"] == "failed":
        complain(f"{name}: {one_line(state['reason'])}", f"minisched describe {name} shows more")
    kind = now["spec"]["kind"]
    if state["state"] == "idle" and kind == "job":
        return None  # it is about to begin
    if state["state"] == "paused" and kind != "service":
        return True  # nothing begins by itself
    return _ENDS.get(state["state"])


def _sentence(now: Mapping[str, Any]) -> str:
    """Return how a deployment gets on, in one line."""
    s = now["status"]
    text = f"{now['name']}: {s['state']}, revision {s['revision']}: "
    text += f"{s['updated']} of {s['desired']} updated, {s['ready']} ready"
    why = s["pending"] or s["reason"]
    return text + (f" ({one_line(why)})" if why else "")
