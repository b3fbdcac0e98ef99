"""``token``: who may ask over TCP. The Unix socket needs none: its file mode says who may.

Next: ``context.py``, which keeps tokens on the other side.
"""

from __future__ import annotations

import click

from . import views
from .common import client, for_each, form_option
from .get import show
from .output import document, say


@click.group("token")
def token_command() -> None:
    """Make, list and revoke tokens of the API."""


@token_command.command("create")
@click.argument("name")
@click.option(
    "--scope", default="read", type=click.Choice(["read", "deploy", "admin"]),
    help="read sees, deploy changes deployments, admin changes the host (read).",
)  # fmt: skip
@form_option
def create(name: str, scope: str, form: str) -> int:
    """Make a token and print it, this once: only its hash is kept.

    \b
      minisched token create ci --scope deploy > token
    """  # noqa: D301
    made = client().create_token(name, scope)
    if form != "table":
        document(made, form)
    else:
        say(made["token"])
    return 0


@token_command.command("list")
@form_option
def list_(form: str) -> int:
    """List the tokens, without their text."""
    show(client().tokens(), views.TOKENS, form)
    return 0


@token_command.command("revoke")
@click.argument("names", nargs=-1, required=True, metavar="TOKEN…")
def revoke(names: tuple[str, ...]) -> int:
    """Revoke tokens: the next request with one is refused."""
    sched = client()

    def work(name: str) -> None:
        sched.remove_token(name)
        say(f"token {name} revoked")

    return for_each(names, work)
