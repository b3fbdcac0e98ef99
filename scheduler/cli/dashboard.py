"""``dashboard``: a scheduler's pages in a browser, without a port or a token of its own.

Next: ``../dashboard.py``.
"""

from __future__ import annotations

import sys

import click

from .common import client
from .output import say

PORT = 8801


@click.command()
@click.option(
    "--port",
    default=PORT,
    type=click.IntRange(0, 65535),
    metavar="PORT",
    help=f"Where, on this machine's own address; 0 for any ({PORT}).",
)
def dashboard_command(port: int) -> int:
    """Show a scheduler's pages to a browser on this machine, until Ctrl-C.

    The link that it prints opens once, and lets its browser do what you may do: everything, where
    you may open the Unix socket. Where a browser does not know its name, write 127.0.0.1 there.
    From another machine, forward the port first:

    \b
      ssh -L 8801:127.0.0.1:8801 HOST minisched dashboard
    """  # noqa: D301
    import asyncio

    from ..dashboard import Dashboard
    from .contexts import chosen

    client().transport.ask("GET", "/v1/deployments?limit=1")  # who may not, is told so here
    context = chosen()
    door = Dashboard(context.address, context.token, context.ca_file)
    asyncio.run(door.serve(port, _tell))
    return 0


def _tell(link: str) -> None:
    say(f"open {link}")
    say("it works once; Ctrl-C ends it")
    sys.stdout.flush()
