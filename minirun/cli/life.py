"""``start stop restart kill rm pause unpause wait rename``: what becomes of containers.

Next: ``attach.py``.
"""

from __future__ import annotations

import click

from ..engine.home import default_home
from .common import container_argument, containers_argument, find, for_each
from .output import say

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..engine.home import Home


@click.command()
@click.option("-a", "--attach", is_flag=True, help="Stay, and show what it prints.")
@click.option("-i", "--interactive", is_flag=True, help="Pass standard input on.")
@containers_argument()
def start_command(names: tuple[str, ...], *, attach: bool, interactive: bool) -> int:
    """Start containers that exist.

    \b
      minirun start web
      minirun start -ai shell
    """  # noqa: D301
    from ..engine.restart import start_again

    if attach or interactive:
        from .attach import start_attached

        return start_attached(names, interactive=interactive)

    def start(home: Home, name: str) -> None:
        session = start_again(home, find(home, name))
        if session is not None:
            session.close()

    return for_each(names, start)


@click.command()
@click.option("-t", "--time", "--timeout", "seconds", type=int, help="Wait this long (10).")
@click.option("-s", "--signal", "word", default="", help="Ask with this signal.")
@containers_argument()
def stop_command(names: tuple[str, ...], seconds: int | None, word: str) -> int:
    """Ask containers to end, and kill them when they do not in time.

    \b
      minirun stop web
      minirun stop -t 30 db
    """  # noqa: D301
    from ..engine.stop import stop

    signum = _signal(word)
    return for_each(names, lambda home, name: stop(home, find(home, name), seconds, signum))


@click.command()
@click.option("-t", "--time", "--timeout", "seconds", type=int, help="Wait this long (10).")
@click.option("-s", "--signal", "word", default="", help="Ask with this signal.")
@containers_argument()
def restart_command(names: tuple[str, ...], seconds: int | None, word: str) -> int:
    """Stop containers and start them again."""
    from ..engine.restart import start_again
    from ..engine.stop import stop

    signum = _signal(word)

    def restart(home: Home, name: str) -> None:
        record = find(home, name)
        stop(home, record, seconds, signum)
        session = start_again(home, record)
        if session is not None:
            session.close()

    return for_each(names, restart)


@click.command()
@click.option("-s", "--signal", "word", default="KILL", help="Name or number (KILL).")
@containers_argument()
def kill_command(names: tuple[str, ...], word: str) -> int:
    """Send a signal to the first process of containers.

    \b
      minirun kill -s HUP web
    """  # noqa: D301
    from ..engine.stop import kill

    signum = _signal(word)
    return for_each(names, lambda home, name: kill(home, find(home, name), signum))


@click.command()
@click.option("-f", "--force", is_flag=True, help="Kill it first if it runs.")
@click.option("-v", "--volumes", is_flag=True, help="Remove its anonymous volumes as well.")
@containers_argument()
def rm_command(names: tuple[str, ...], *, force: bool, volumes: bool) -> int:
    """Remove containers.

    \b
      minirun rm job
      minirun rm -f $(minirun ps -aq)
    """  # noqa: D301
    from ..engine.remove import remove
    from ..errors import NotFoundError

    def work(home: Home, name: str) -> None:
        try:
            remove(home, find(home, name), force=force, volumes=volumes)
        except NotFoundError:
            if not force:
                raise

    return for_each(names, work)


@click.command()
@containers_argument()
def pause_command(names: tuple[str, ...]) -> int:
    """Freeze every process of containers."""
    from ..engine.stop import pause

    return for_each(names, lambda home, name: pause(home, find(home, name)))


@click.command()
@containers_argument()
def unpause_command(names: tuple[str, ...]) -> int:
    """Let frozen containers go on."""
    from ..engine.stop import unpause

    return for_each(names, lambda home, name: unpause(home, find(home, name)))


@click.command()
@containers_argument()
def wait_command(names: tuple[str, ...]) -> int:
    """Wait until containers have ended, and print their exit codes."""
    from ..engine.stop import wait

    home = default_home()
    for name in names:
        say(str(wait(home, find(home, name))))
    return 0


@click.command()
@container_argument()
@click.argument("new", metavar="NAME")
def rename_command(name: str, new: str) -> int:
    """Give a container another name."""
    home = default_home()
    home.containers.rename(find(home, name).id, new)
    return 0


def _signal(word: str) -> int:
    from ..container.words import signal_number

    return signal_number(word) if word else 0
