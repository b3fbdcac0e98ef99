"""What several commands share: the client, naming things, the format of an answer.

Next: ``contexts.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import click

from minirun import MinirunError

from .complaints import EXIT_OURS, complain

if TYPE_CHECKING:
    from ..client import Client

form_option = click.option(
    "--format", "form", type=click.Choice(["table", "json", "yaml"]), default="table",
    help="table for people; json and yaml hold everything.",
)  # fmt: skip


def client() -> Client:
    """Return a client of the scheduler that the user asks for."""
    from ..client import Client
    from .contexts import chosen

    context = chosen()
    return Client(context.address, token=context.token, ca_file=context.ca_file)


def complete_deployment(_context: click.Context, _param: click.Parameter, typed: str) -> list[str]:
    """Return the deployments whose name begins so; nothing where nobody can be asked."""
    try:
        rows = client().deployments()
    except (MinirunError, OSError):
        return []
    return [str(row["name"]) for row in rows if str(row["name"]).startswith(typed)]


def deployment_argument() -> Callable[..., Any]:
    """Return the argument that takes one deployment."""
    return click.argument("name", metavar="DEPLOYMENT", shell_complete=complete_deployment)


def deployments_argument() -> Callable[..., Any]:
    """Return the argument that takes several."""
    return click.argument(
        "names", nargs=-1, required=True, metavar="DEPLOYMENT…", shell_complete=complete_deployment
    )


def for_each(names: Iterable[str], work: Callable[[str], object]) -> int:
    """Do something with each; go on after one that did not work.

    Returns:
        0, or the exit code of the last that failed.
    """
    code = 0
    for name in names:
        try:
            work(name)
        except MinirunError as error:
            complain(error.message, error.hint)
            code = error.exit_code or EXIT_OURS
    return code


# ── what is written on a line ─────────────────────────────────────────────────────────────────

labels_option = click.option(
    "-l", "--label", "labels", multiple=True, metavar="KEY=VALUE", help="Only those that have it."
)


def labels_of(texts: Iterable[str]) -> dict[str, str]:
    """Return labels as a mapping.

    Raises:
        MinirunError: one is no ``KEY=VALUE``.
    """
    found = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not key or not equals:
            raise MinirunError(f"{text!r} is not KEY=VALUE", hint="for example -l app=shop")
        found[key] = value
    return found


def seconds(text: str, option: str) -> float:
    """Return a duration; a number alone is seconds.

    Raises:
        MinirunError: it is none.
    """
    from ..units import duration_s

    try:
        return duration_s(float(text) if text.replace(".", "", 1).isdecimal() else text)
    except ValueError as error:
        raise MinirunError(f"{option}: {error}", hint="for example 30s, 5m, 1h") from error


def amount(text: str, option: str, read: Callable[[str], int]) -> int:
    """Return a size or a share of CPUs as ``units`` reads it.

    Raises:
        MinirunError: it is none.
    """
    try:
        return read(text)
    except ValueError as error:
        raise MinirunError(f"{option}: {error}") from error
