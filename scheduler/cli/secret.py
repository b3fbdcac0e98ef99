"""``secret``: store, list and remove secrets. A value goes in and never comes back.

Next: ``token.py``.
"""

from __future__ import annotations

import sys

import click

from minirun import MinirunError

from . import views
from .common import client, for_each, form_option
from .get import show
from .output import say


@click.group("secret")
def secret_command() -> None:
    """Store, list and remove secrets."""


@secret_command.command("create")
@click.argument("name")
@click.option(
    "--from-file", type=click.Path(), metavar="FILE", help="Where the value is; - for stdin."
)
def create(name: str, from_file: str | None) -> int:
    """Store a secret, or give it another value; replicas that start see the new one.

    The value comes from a file, from stdin, or is typed unseen: never from the command line, which
    every process of the machine can read.
    """
    client().put_secret(name, _value(from_file))
    say(f"secret {name} stored")
    return 0


def _value(from_file: str | None) -> bytes:
    if from_file is None and sys.stdin.isatty():
        return str(click.prompt("value", hide_input=True, err=True)).encode()
    if from_file in (None, "-"):
        return sys.stdin.buffer.read()
    with open(str(from_file), "rb") as stream:
        value = stream.read()
    if not value:
        raise MinirunError(f"{from_file} is empty")
    return value


@secret_command.command("list")
@form_option
def list_(form: str) -> int:
    """List the secrets, without their values."""
    show(client().secrets(), views.SECRETS, form)
    return 0


@secret_command.command("delete")
@click.argument("names", nargs=-1, required=True, metavar="SECRET…")
def delete(names: tuple[str, ...]) -> int:
    """Remove secrets."""
    sched = client()

    def work(name: str) -> None:
        sched.remove_secret(name)
        say(f"secret {name} deleted")

    return for_each(names, work)
