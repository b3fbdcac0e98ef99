"""``get``: list deployments, replicas, events, quotas, images and more.

What a noun is fetched by is in ``NOUNS``, how it is shown in ``views.py``. Next: ``describe.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from minirun import MinirunError

from . import views
from .common import client, complete_deployment, labels_of, labels_option
from .output import document, table

if TYPE_CHECKING:
    from ..client import Client

    Rows = list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Query:
    """What is asked for: these names (none is all), with these labels."""

    names: Sequence[str]
    labels: Mapping[str, str]


def _chosen(rows: Rows, query: Query, key: str = "name") -> Rows:
    """Return the rows with these names.

    Raises:
        MinirunError: one of the names has no row.
    """
    if not query.names:
        return rows
    known = {row[key]: row for row in rows}
    for name in query.names:
        if name not in known:
            hint = f"there is: {', '.join(sorted(known))}" if known else "there is none"
            raise MinirunError(f"not found: {name}", hint=hint)
    return [known[name] for name in query.names]


def _deployments(sched: Client, query: Query) -> Rows:
    return _chosen(sched.deployments(query.labels), query)


def _replicas(sched: Client, query: Query) -> Rows:
    """Return the replicas of these deployments, or these replicas."""
    owners = [name.rpartition(".")[0] or name for name in query.names]
    if not owners:
        owners = [row["name"] for row in sched.deployments(query.labels)]
    rows = [row for owner in dict.fromkeys(owners) for row in sched.replicas(owner)]
    exact = {name for name in query.names if "." in name}
    whole = {name for name in query.names if "." not in name}
    if not query.names:
        return rows
    _chosen(rows, Query([*exact], {}), "id")
    return [row for row in rows if row["id"] in exact or row["deployment"] in whole]


def _events(sched: Client, query: Query) -> Rows:
    if not query.names:
        return sched.events()
    rows = [row for name in query.names for row in sched.events(deployment=name)]
    return sorted(rows, key=lambda row: int(row["sequence"]))


def _images(sched: Client, query: Query) -> Rows:
    return _chosen(sched.images(), query, "reference")


def _quotas(sched: Client, query: Query) -> Rows:
    return _chosen(sched.quotas(), query)


def _secrets(sched: Client, query: Query) -> Rows:
    return _chosen(sched.secrets(), query)


def _tokens(sched: Client, query: Query) -> Rows:
    return _chosen(sched.tokens(), query)


def _nodes(sched: Client, query: Query) -> Rows:
    host = sched.host()
    return _chosen([{**node, "cordoned": host["cordoned"]} for node in host["nodes"]], query, "id")


def _kind(kind: str) -> Callable[[Client, Query], Rows]:
    return lambda sched, query: _chosen(sched.deployments(query.labels, kind), query)


Noun = tuple[Callable[["Client", Query], "Rows"], views.View]
NOUNS: dict[str, Noun] = {
    "deployments": (_deployments, views.DEPLOYMENTS),
    "replicas": (_replicas, views.REPLICAS),
    "events": (_events, views.EVENTS),
    "images": (_images, views.IMAGES),
    "nodes": (_nodes, views.NODES),
    "jobs": (_kind("job"), views.JOBS),
    "crons": (_kind("cron"), views.CRONS),
    "quotas": (_quotas, views.QUOTAS),
    "secrets": (_secrets, views.SECRETS),
    "tokens": (_tokens, views.TOKENS),
}
_LABELLED = ("deployments", "replicas", "jobs", "crons")


def _complete(_context: click.Context, _param: click.Parameter, typed: str) -> Iterable[str]:
    return [noun for noun in NOUNS if noun.startswith(typed)]


def _complete_name(context: click.Context, param: click.Parameter, typed: str) -> list[str]:
    is_known = str(context.params.get("noun")).removesuffix("s") in ("deployment", "replica")
    return complete_deployment(context, param, typed) if is_known else []


@click.command()
@click.argument("noun", metavar="NOUN", shell_complete=_complete)
@click.argument("names", nargs=-1, metavar="[NAME…]", shell_complete=_complete_name)
@labels_option
@click.option(
    "-o", "--format", "form", default="table",
    type=click.Choice(["table", "wide", "json", "yaml"]),
    help="wide has more columns; json and yaml hold everything.",
)  # fmt: skip
def get_command(noun: str, names: tuple[str, ...], labels: tuple[str, ...], form: str) -> int:
    """List what there is, or only what is named.

    NOUN is deployments, replicas, events, images, nodes, jobs, crons, quotas, secrets or tokens.

    \b
      minisched get deployments
      minisched get replicas digits -o wide
      minisched get deployments digits --format json
    """  # noqa: D301
    plural = noun if noun in NOUNS else f"{noun}s"
    if plural not in NOUNS:
        raise MinirunError(f"there is no noun {noun!r}", hint=f"one of: {', '.join(NOUNS)}")
    if labels and plural not in _LABELLED:
        raise MinirunError(f"{plural} have no labels")
    fetch, view = NOUNS[plural]
    show(fetch(client(), Query(names, labels_of(labels))), view, form)
    return 0


def show(rows: Rows, view: views.View, form: str) -> None:
    """Print rows in the chosen form."""
    if form in ("json", "yaml"):
        document(rows, form)
    else:
        table(rows, [*view.columns, *(view.wide if form == "wide" else ())])
