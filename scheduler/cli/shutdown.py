"""``shutdown``: end all that runs, the scheduler included.

Next: ``../shutdown.py``.
"""

from __future__ import annotations

import click

from minirun import MinirunError

from .common import seconds
from .output import say


@click.command()
@click.option(
    "--grace", default="30s", help="How long requests in flight may go on; 0 cuts them off (30s)."
)
def shutdown_command(grace: str) -> int:
    """End the scheduler of this host, its gateway and every replica.

    It works whether the scheduler runs or not. What is deployed is remembered: the next minisched
    serve starts it again; minisched delete makes it forgotten.
    """
    from ..places import default_places
    from ..shutdown import shutdown
    from .contexts import chosen

    places, grace_s = default_places(), seconds(grace, "--grace")
    if (address := chosen().address) not in ("", f"unix://{places.socket}"):
        hint = "run it there, or unset MINISCHED_ADDRESS and MINISCHED_CONTEXT"
        raise MinirunError(f"shutdown is for this host, not for {address}", hint=hint)
    count = shutdown(places, grace_s)
    say(f"ended, with {count} replica{'' if count == 1 else 's'}")
    return 0
