"""Start a container that exists, once more or for the first time.

Next: ``start.py``, which does it.
"""

from __future__ import annotations

from ..container.files import Lock
from ..errors import NotFoundError, StateError
from .remove import settle, tidy
from .start import start
from .status import current, is_lost, is_up

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..container.entry import ContainerRecord
    from .home import Home
    from .start import Session


def start_again(home: Home, record: ContainerRecord) -> Session | None:
    """Start a container and return once its program runs; None when it runs already.

    What a crash has left of its last run is cleared away first. Of two that start it at the same
    time one does it, the other waits and finds it running.

    Raises:
        MinirunError: it could not be started; exit code 126 or 127 where that was the program.
    """
    try:
        with Lock(home.place(record.id).file("starting")):
            stored = home.containers.read(record.id)
            if is_lost(stored):
                settle(home, current(home, stored))
            elif stored.state.status == "paused":
                raise StateError(
                    f"cannot start a paused container: {record.name}",
                    hint=f"minirun unpause {record.name}",
                )
            elif is_up(stored):
                return None
            else:
                tidy(home, record.id)
            home.containers.set_state(record.id, stopped_by_user=False)
            session = start(home, record.id)
            session.wait_until_started()
            return session
    except FileNotFoundError as error:
        raise NotFoundError(f"no such container: {record.name}") from error
