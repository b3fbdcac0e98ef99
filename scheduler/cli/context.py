"""``context``: choose between several schedulers.

    minisched context add lab https://lab:8443 --token-file token --ca-file lab.pem --use

Next: ``apply.py``.
"""

from __future__ import annotations

import os

import click

from minirun import MinirunError

from .common import form_option
from .contexts import Context, load, save
from .output import document, say, table


@click.group("context")
def context_command() -> None:
    """Choose between several schedulers."""


def _complete(_context: click.Context, _param: click.Parameter, typed: str) -> list[str]:
    try:
        return [name for name in load().named if name.startswith(typed)]
    except (MinirunError, OSError):
        return []


@context_command.command("add")
@click.argument("name")
@click.argument("address")
@click.option("--token-file", type=click.Path(allow_dash=True), metavar="FILE",
              help="The file that holds the token; - for stdin.")  # fmt: skip
@click.option("--ca-file", type=click.Path(), metavar="FILE",
              help="The certificate to trust instead of the system's.")  # fmt: skip
@click.option("--use", is_flag=True, help="Use it from now on.")
def add(name: str, address: str, token_file: str | None, ca_file: str | None, *, use: bool) -> int:
    """Remember a scheduler under a name.

    ADDRESS is https://host:port or unix:///path. A token is read from a file: what is typed on a
    command line can be read by every process of the machine.
    """
    from ..transport import Transport

    if not name or not name.isprintable() or " " in name:
        raise MinirunError(f"{name!r} is no name for a context", hint="one word, for example lab")
    token = ""
    if token_file:
        with click.open_file(token_file) as stream:
            token = stream.read().strip()
    ca = os.path.abspath(ca_file) if ca_file else ""
    Transport(address, token=token, ca_file=ca)  # refuses what can never work
    contexts = load()
    if name in contexts.named:
        hint = f"minisched context remove {name}"
        raise MinirunError(f"the context {name!r} exists", hint=hint)
    contexts = contexts.having(name, Context(address, token, ca))
    save(contexts.using(name) if use else contexts)
    say(f"context {name} added" + (", in use" if use else ""))
    return 0


@context_command.command("use")
@click.argument("name", shell_complete=_complete)
def use_(name: str) -> int:
    """Ask this scheduler from now on."""
    save(load().using(name))
    say(f"context {name} in use")
    return 0


@context_command.command("list")
@form_option
def list_(form: str) -> int:
    """List what there is; tokens are not shown."""
    contexts = load()
    rows = [
        {
            "name": name,
            "address": held.address,
            "token": bool(held.token),
            "current": name == contexts.current,
        }
        for name, held in sorted(contexts.named.items())
    ]
    if form != "table":
        document(rows, form)
        return 0
    columns = [
        ("CURRENT", lambda row: "*" if row["current"] else " "),
        ("NAME", lambda row: row["name"]),
        ("ADDRESS", lambda row: row["address"]),
        ("TOKEN", lambda row: "yes" if row["token"] else "no"),
    ]
    table(rows, columns)
    return 0


@context_command.command("remove")
@click.argument("name", shell_complete=_complete)
def remove(name: str) -> int:
    """Forget a scheduler, and its token with it."""
    save(load().without(name))
    say(f"context {name} removed")
    return 0
