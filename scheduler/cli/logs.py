"""``logs`` and ``exec``: what replicas print, and a look inside.

Next: ``events.py``.
"""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

import click

from minirun import MinirunError

from .common import client, complete_deployment, seconds
from .complaints import EXIT_INTERRUPTED, complain

if TYPE_CHECKING:
    from ..client import Client

target_argument = click.argument(
    "target", metavar="DEPLOYMENT|REPLICA", shell_complete=complete_deployment
)


@click.command()
@target_argument
@click.option("-f", "--follow", is_flag=True, help="Go on until Ctrl-C.")
@click.option("-n", "--tail", type=int, help="The last N lines of each replica (all).")
@click.option("-t", "--timestamps", is_flag=True, help="Show when each line was printed.")
@click.option("--no-prefix", is_flag=True, help="Do not show which replica a line is from.")
def logs_command(
    target: str, tail: int | None, *, follow: bool, timestamps: bool, no_prefix: bool
) -> int:
    """Show what replicas printed.

    \b
      minisched logs -f digits
      minisched logs --tail 20 digits.3
    """  # noqa: D301
    prefix, sched = not no_prefix and "." not in target, client()
    try:
        for line in sched.logs(target, tail=tail, follow=follow):
            stream = sys.stderr if line["stream"] == "stderr" else sys.stdout
            stream.write(_shown(line, prefix=prefix, timestamps=timestamps))
            if follow:
                stream.flush()
        if follow:
            sched.transport.ask("GET", "/healthz")  # it ends in peace with its scheduler, too
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED  # this is how one leaves
    return 0


def _shown(line: dict[str, Any], *, prefix: bool, timestamps: bool) -> str:
    text = str(line["text"]).rstrip("\n") + "\n"
    if timestamps:
        whole, part = divmod(line["unix_s"], 1)
        at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole))
        text = f"{at}.{int(part * 1000):03}Z {text}"
    return f"{line['replica']}  {text}" if prefix else text


@click.command(context_settings={"allow_interspersed_args": False})
@target_argument
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED, metavar="COMMAND…")
@click.option("--timeout", default="30s", help="When to give up on it (30s).")
def exec_command(target: str, command: tuple[str, ...], timeout: str) -> int:
    """Run a command in a replica; exit with its code.

    A deployment's name is its first replica that runs. There is no terminal: what the command
    printed is shown when it has ended.

    \b
      minisched exec digits.3 cat /proc/meminfo
      minisched exec digits -- sh -c 'ls -l /app'
    """  # noqa: D301
    sched, patience_s = client(), seconds(timeout, "--timeout")
    words = command[1:] if command[0] == "--" else command
    done = sched.execute(_running(sched, target), words, patience_s)
    sys.stdout.write(done["stdout"])
    sys.stderr.write(done["stderr"])
    if done["truncated"]:
        complain("there was more output than is shown", "let the command print less of it")
    if done["timed_out"]:
        raise MinirunError(f"{words[0]} did not end in {patience_s:g} s", hint="--timeout 5m")
    return int(done["exit_code"])


def _running(sched: Client, target: str) -> str:
    """Return the replica that is meant."""
    if "." in target:
        return target
    for row in sched.replicas(target):
        if row["phase"] == "running":
            return str(row["id"])
    hint = f"minisched get replicas {target} says why"
    raise MinirunError(f"no replica of {target} runs", hint=hint)
