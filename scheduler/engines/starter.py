"""From an order to a container that was started: folder ▶ container ▶ launcher.

A worker of ``local.py`` does this, so everything here may take its time. It keeps nothing: what
there is afterwards is in the box, on the container's label and on the disk.

Next: ``folder.py``, ``container.py``, ``launcher.py``.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from minirun import ContainerRecord, Containers, MinirunError, StateError

from ..actions import Start
from .afterlife import Afterlife
from .capacity import Capacity
from .checks import Target
from .container import names_of, options_of
from .folder import Folders
from .launcher import Launcher
from .replica import Box, labels_of

#: A start waits so long for a launcher that was killed to be replaced.
LAUNCHER_S = 20.0


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a local runtime needs of its scheduler.

    Args:
        owner: which scheduler's containers these are; the same after a restart.
        folder: for sockets and secrets.
        clock: the scheduler's monotonic seconds.
        secret: returns a secret's value by its name.
        cordoned: whether nothing new may be placed here.
        changed: called, in any thread, when there is news.
        capacity: what may be given away.
        afterlife: keeps what replicas wrote.
    """

    owner: str
    folder: Path
    clock: Callable[[], float]
    secret: Callable[[str], bytes]
    cordoned: Callable[[], bool]
    changed: Callable[[], None]
    capacity: Capacity
    afterlife: Afterlife


class Starter:
    """Makes and starts the containers of replicas.

    Args:
        containers: where they are made.
        launcher: forks for us.
        folders: for sockets and secrets.
        around: see there.
    """

    def __init__(
        self, containers: Containers, launcher: Launcher, folders: Folders, around: Surroundings
    ) -> None:
        self._containers = containers
        self._launcher = launcher
        self._folders = folders
        self._around = around
        self._closing = False

    def close(self) -> None:
        """Wait for no launcher any more."""
        self._closing = True

    def make(self, box: Box) -> None:
        """Make a replica's folder and its container.

        Raises:
            MinirunError: the image is not there, or an option cannot be had.
            OSError: the folder cannot be made.
        """
        around, order = self._around, box.order
        folder = self._folders.make(order.id, order.template.secrets, around.secret)
        if order.template.socket:
            self._folders.socket(order.id, order.template.socket)
        box.container = self._create(order, folder).id

    def _create(self, order: Start, folder: Path) -> ContainerRecord:
        """Make the container, under the first of its names that nobody has."""
        around = self._around
        cpuset, labels = around.capacity.cpuset(order.grants), labels_of(order, around.owner)
        for name in names_of(order, around.owner):
            options = options_of(order, name, folder, cpuset, labels)
            try:
                return self._containers.create(options, order.template.image)
            except StateError as error:
                refused = error  # the name is taken; of anything else the last try tells as well
        raise refused

    def launch(self, box: Box) -> None:
        """Start its container; one that is asked to end meanwhile is not started.

        Raises:
            MinirunError: it cannot be started, or was stopped before.
            ConnectionError: nobody forks for us, however long one waits.
        """
        deadline = time.monotonic() + LAUNCHER_S
        while not self._closing:
            if box.kill_at is not None:
                raise MinirunError("it was stopped before it had started")
            try:
                self._containers.start(box.container)
            except ConnectionError:
                if time.monotonic() > deadline:
                    raise
                self._launcher.ensure()
            else:
                return

    def address(self, box: Box, record: ContainerRecord) -> str:
        """Return where a replica that runs takes requests."""
        template = box.order.template
        if template.socket:
            return self._folders.socket(box.order.id, template.socket)
        ip = record.state.attachment.ip
        return f"{ip}:{template.port}" if template.port else ip

    def target(self, box: Box, address: str) -> Target:
        """Return what the probes ask, and where."""
        argv = tuple(self._containers.exec_argv(box.container, ()))
        return Target(box.order.template, address, argv, self._containers.environment())
