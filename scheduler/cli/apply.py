"""``apply`` and ``diff``: make deployments what a Compose file says, or say what that would change.

The file is read here (``compose_file.py``); each service is one PUT, and one that is refused keeps
no other from being asked for. What a file does not name is left alone, but with ``--prune`` and a
label: then the label says what belongs to the file.

Next: ``rollout.py``, which follows what was applied.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Set
from typing import TYPE_CHECKING, Any

import click

from minirun import MinirunError

from .common import client, form_option, labels_of, labels_option
from .complaints import complain
from .output import document, one_line, say

if TYPE_CHECKING:
    from ..client import Client
    from .compose_file import Wanted

Spec = Mapping[str, Any]
Row = dict[str, Any]

files_option = click.option(
    "-f", "--file", "files", multiple=True, metavar="FILE", type=click.Path(allow_dash=True),
    help="A Compose file, - for stdin (compose.yaml).",
)  # fmt: skip


@click.command()
@files_option
@click.option("--dry-run", is_flag=True, help="Say what would happen, and do nothing.")
@click.option("--wait", is_flag=True, help="Wait until all of it runs, or does not.")
@click.option("--timeout", default="10m", help="How long to wait (10m).")
@click.option("--prune", is_flag=True, help="Delete what has the labels and is not in the file.")
@labels_option
@form_option
def apply_command(
    files: tuple[str, ...], timeout: str, labels: tuple[str, ...], form: str,
    *, dry_run: bool, wait: bool, prune: bool,
) -> int:  # fmt: skip
    """Make deployments what a Compose file says.

    \b
      minisched apply -f compose.yaml --wait
      minisched apply -f compose.yaml --prune -l app=shop
    """  # noqa: D301
    from .common import seconds
    from .compose_file import read

    patience_s = seconds(timeout, "--timeout")
    chosen = labels_of(labels)
    if prune and not chosen:
        hint = "a label says what belongs to this file: --prune -l app=shop"
        raise MinirunError("--prune without -l would delete every other deployment", hint=hint)
    wanted, sched = read(files), client()
    done, code = _rehearsed(sched, wanted) if dry_run else _applied(sched, wanted)
    surplus = _surplus(sched, wanted, chosen) if prune and not code else []
    for name in surplus:
        if not dry_run:
            sched.delete(name)
        done.append({"name": name, "result": "deleted"})
    _tell(done, form, dry_run=dry_run)
    if wait and not (dry_run or code):
        from .rollout import follow_all

        revisions = {row["name"]: row["revision"] for row in done if "revision" in row}
        return follow_all(sched, revisions, patience_s, quiet=form != "table")
    return code


def _each(wanted: Wanted, work: Callable[[str, Spec], Row]) -> tuple[list[Row], int]:
    """Do something with each service; complain of what is refused, and go on.

    Returns:
        what came of the others, and 0 or the exit code of the last that was refused.
    """
    from ..client import ApiError

    done, code = list[Row](), 0
    for name, spec in wanted.specs.items():
        try:
            done.append(work(name, spec))
        except ApiError as error:
            if not error.status:
                raise  # nobody is there for the others either
            text = error.message if name in error.message else f"{name}: {error.message}"
            complain(text, error.hint)
            code = error.exit_code
    return done, code


def _applied(sched: Client, wanted: Wanted) -> tuple[list[Row], int]:
    """Store the secrets first: a replica that starts needs them."""
    for name, value in wanted.secrets.items():
        sched.put_secret(name, value)
    before = {row["name"]: row["generation"] for row in sched.deployments()}
    return _each(wanted, lambda name, spec: _put(sched, name, spec, before.get(name)))


def _put(sched: Client, name: str, spec: Spec, before: int | None) -> Row:
    after, is_new = sched.apply(name, spec)
    result = "created" if is_new else "configured"
    if not is_new and after["generation"] == before:
        result = "unchanged"
    return {"name": name, "result": result, "revision": after["status"]["revision"]}


def _rehearsed(sched: Client, wanted: Wanted) -> tuple[list[Row], int]:
    known = {row["name"] for row in sched.deployments()}
    stored = {row["name"] for row in sched.secrets()} if wanted.secrets else set()
    new = wanted.secrets.keys() - stored

    def work(name: str, spec: Spec) -> Row:
        preview = _previewed(sched, name, spec, new)
        result = "created" if name not in known else "configured"
        result = result if preview["changed"] else "unchanged"
        return {"name": name, "result": result, "preview": preview}

    return _each(wanted, work)


def _previewed(sched: Client, name: str, spec: Spec, new: Set[str]) -> Row:
    """Return a preview; secrets that apply would store first are not there to be found yet."""
    asked = spec.get("secrets", ())
    there = [secret for secret in asked if secret["source"] not in new]
    if len(there) == len(asked):
        return sched.preview(name, spec)
    preview = sched.preview(name, {**spec, "secrets": there})
    preview["changed"] = True
    preview["diff"].append({"pointer": "/secrets", "before": None, "after": asked})
    return preview


def _surplus(sched: Client, wanted: Wanted, labels: Mapping[str, str]) -> list[str]:
    found = [row for row in sched.deployments(labels) if not row["status"]["deleting"]]
    return [row["name"] for row in found if row["name"] not in wanted.specs]


def _tell(done: list[Row], form: str, *, dry_run: bool) -> None:
    if form != "table":
        document(done, form)
        return
    for row in done:
        say(f"{row['name']} {row['result']}" + (" (dry run)" if dry_run else ""))
        if pending := row.get("preview", {}).get("pending"):
            say(f"  would be pending: {pending}")


# ── diff ──────────────────────────────────────────────────────────────────────────────────────


@click.command()
@files_option
@form_option
def diff_command(files: tuple[str, ...], form: str) -> int:
    """Show what apply would change; exit with 1 where that is anything.

    \b
      minisched diff -f compose.yaml
    """  # noqa: D301
    from .compose_file import read

    rows, code = _rehearsed(client(), read(files))
    changed = [row for row in rows if row["result"] != "unchanged"]
    if form != "table":
        document(rows, form)
    else:
        for row in changed:
            _show(row)
    return code or int(bool(changed))


def _show(row: Row) -> None:
    preview = row["preview"]
    say(f"{row['name']} ({row['result']}, revision {preview['revision']})")
    for change in preview["diff"]:
        for sign, side in (("-", "before"), ("+", "after")):
            # Nothing is taken from what is new, but from our defaults.
            if change[side] is not None and (row["result"], sign) != ("created", "-"):
                text = json.dumps(change[side], ensure_ascii=False)
                say(f"  {sign} {change['pointer']}: {one_line(text)}")
    if preview["pending"]:
        say(f"  ! would be pending: {preview['pending']}")
