"""What replicas have left is removed here: log kept ▶ container ▶ folder ▶ nobody lists it.

It has workers of its own: a removal waits for the kernel, and no start should wait for a removal.
What cannot be removed now is tried again until it can be; the replica says meanwhile what keeps it.

Next: ``afterlife.py``.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Condition

from minirun import Containers, MinirunError

from .afterlife import KEPT_LINES, Afterlife, lines_of
from .folder import Folders
from .replica import Box
from .watcher import Watcher

log = logging.getLogger(__name__)

#: So many at a time; more would only wait for the same locks of the kernel.
REMOVERS = 4
#: A shim goes soon after it has written down an end; what failed is not better in a moment.
LOOK_S, LOOK_MOST_S, RETRY_S = 0.003, 1.0, 5.0
#: Whoever ends waits so long for what is under way; the next scheduler finds the rest.
CLOSE_S = 5.0


class Clearing:
    """Removes what replicas have left.

    Args:
        containers: where their containers are.
        folders: their sockets and secrets.
        afterlife: keeps what they wrote.
        watcher: does what was put off.
        gone: called, in any thread, when nothing of a replica is left.
    """

    def __init__(
        self,
        containers: Containers,
        folders: Folders,
        afterlife: Afterlife,
        watcher: Watcher,
        gone: Callable[[Box], None],
    ) -> None:
        self._containers = containers
        self._folders = folders
        self._afterlife = afterlife
        self._watcher = watcher
        self._gone = gone
        self._workers = ThreadPoolExecutor(REMOVERS, thread_name_prefix="removal")
        self._change = Condition()
        self._promising: set[str] = set()
        self._closed = False

    def begin(self, box: Box) -> None:
        """Remove what a replica has left, without waiting for it; ask once."""
        self._submit(box, LOOK_S)

    def close(self) -> None:
        """Finish what is under way, within ``CLOSE_S``, and begin nothing more."""
        with self._change:
            self._change.wait_for(lambda: not self._promising, CLOSE_S)
            self._closed = True
        self._workers.shutdown(cancel_futures=True)

    def _submit(self, box: Box, pause_s: float) -> None:
        with self._change:
            if not self._closed:
                self._promising.add(box.order.id)
                self._workers.submit(self._clear, box, pause_s)

    def _clear(self, box: Box, pause_s: float) -> None:
        try:
            is_gone = self._is_gone(box)
        except (MinirunError, OSError) as error:
            self._put_off(box, error)
            return
        if is_gone:
            self._gone(box)
            self._give_up_waiting_for(box)
        else:
            more_s = min(pause_s * 2, LOOK_MOST_S)
            self._watcher.later(pause_s, lambda: self._submit(box, more_s))

    def _is_gone(self, box: Box) -> bool:
        """Remove all of it; False while its shim still writes down how it ended."""
        self._remember(box)
        if box.container and not self._has_removed(box.container):
            return False
        self._folders.remove(box.order.id)
        return True

    def _has_removed(self, container_id: str) -> bool:
        try:
            record = self._containers.read(container_id)
            # Whoever started it may have lost the answer, and taken it for one that never ran.
            self._containers.signal(record, 9)
            return self._containers.remove(record)
        except (MinirunError, OSError):
            if self._containers.home.containers.exists(container_id):
                raise
            return True  # somebody else was faster

    def _remember(self, box: Box) -> None:
        """Keep what it wrote, once."""
        if box.container and not box.remembered:
            written = filter(None, lines_of(self._containers, box, KEPT_LINES))
            self._afterlife.keep(box.order.id, written)
            box.remembered = True

    def _put_off(self, box: Box, error: Exception) -> None:
        """Try again later, and say why; nobody who ends waits for that."""
        problem = f"cannot be removed: {error}"
        if box.replica.problem != problem:
            log.warning("%s %s", box.order.id, problem)
            box.change(problem=problem)
        self._give_up_waiting_for(box)
        self._watcher.later(RETRY_S, lambda: self._submit(box, LOOK_S))

    def _give_up_waiting_for(self, box: Box) -> None:
        with self._change:
            self._promising.discard(box.order.id)
            self._change.notify_all()
