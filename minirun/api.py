"""Containers for a program with threads: the front door for the scheduler, and for anybody else.

    containers = Containers(default_home())
    record = containers.create(RunOptions(command=("sleep", "60")), "busybox")
    containers.start(record.id)

A process with threads must not fork: the child would have their locks, and none of them. So
nothing here forks. A start is asked of the launcher (``minirun launcher``), a command inside a
container is a process of its own, and what the command line would build or pull first is refused.

Everything is imported by the call that needs it. Next: ``engine/start.py``.
"""

from __future__ import annotations

import os
import signal
import sys

from .container.devices import DeviceRequest
from .container.entry import ContainerRecord
from .container.mounts import MountRequest
from .container.options import NetworkOptions, ResourceOptions, RunOptions
from .container.security import LogOptions
from .engine.home import Home, default_home
from .errors import ImageError
from .tmpfs import mount_tmpfs, unmount

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .container.logreader import Entry
    from .engine.images import Target
    from .engine.usage import Sample
    from .image.store import Image

__all__ = [
    "ContainerRecord",
    "Containers",
    "DeviceRequest",
    "Home",
    "LogOptions",
    "MountRequest",
    "NetworkOptions",
    "ResourceOptions",
    "RunOptions",
    "default_home",
    "mount_tmpfs",
    "unmount",
]


_MOST_KNOWN = 100
#: -P: a file called minirun.py in the current directory is not what is meant.
_MINIRUN = (sys.executable, "-P", "-c", "from minirun.cli import main; main()")


class Containers:
    """The containers of one home.

    Args:
        home: its data directory and its state root.
    """

    def __init__(self, home: Home) -> None:
        self.home = home
        #: {name: (what the store was when it was looked up, the image)}
        self._known: dict[str, tuple[object, Image]] = {}

    # ── images ────────────────────────────────────────────────────────────────────────────────

    def images(self) -> tuple[Image, ...]:
        """Return every stored image."""
        return tuple(self.home.images.images())

    def image_bytes(self, image: Image) -> int:
        """Return what an image's layers take on the disk."""
        from .engine.inspect import size_bytes

        return size_bytes(image)

    def target(self, image: str) -> Target:
        """Return what an image's name, or the path of a root file system, stands for.

        Raises:
            ImageError: there is no such image here, or it would have to be built first.
        """
        from .engine.images import Target, of_image
        from .image.sniff import ROOTFS, sniff

        if not os.path.isabs(image):
            # Whatever the current directory has under that name: a program is not a command line.
            return of_image(image, "it is a name", self._image(image))
        found = sniff(image)
        if found.kind == ROOTFS:
            return Target(image, found.why, lowers=(image,))
        raise ImageError(
            f"{image} is not the name of a stored image",
            hint=f"make it one: minirun build -t NAME {image}",
        )

    def _image(self, name: str) -> Image:
        """Return a stored image; whoever starts thirty of it does not read it thirty times."""
        store = self.home.images
        stamp = store.stamp()
        known = self._known.get(name)
        if known is not None and known[0] == stamp:
            return known[1]
        image = store.resolve(name)
        if len(self._known) >= _MOST_KNOWN:
            self._known.clear()
        self._known[name] = (stamp, image)
        return image

    # ── life ──────────────────────────────────────────────────────────────────────────────────

    def create(self, options: RunOptions, image: str) -> ContainerRecord:
        """Make a container that can be started.

        Raises:
            MinirunError: it cannot be had with this image on this host; nothing is left.
        """
        from .engine.create import create
        from .engine.volumes import fill_by_process

        return create(self.home, options, self.target(image), fill_by_process)

    def start(self, container_id: str) -> int:
        """Start a container and return its pid once the program runs.

        Raises:
            ConnectionError: no launcher listens; nothing was done.
            MinirunError: it could not be started; the record says why.
        """
        import _socket

        from .engine.start import Session, ask_launcher

        ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_STREAM)
        try:
            ask_launcher(self.home, container_id, theirs.fileno())
        except OSError as error:
            ours.close()
            raise ConnectionError("no launcher listens") from error
        finally:
            theirs.close()
        session = Session(ours.detach())
        try:
            return session.wait_until_started()
        finally:
            session.close()

    def launcher_pid(self) -> int:
        """Return the pid of the launcher that listens, 0 where none does."""
        import _socket

        from .engine.start import launcher_socket
        from .shim import listen

        try:
            end = _socket.socket(fileno=listen.connect(launcher_socket(self.home)))
        except OSError:
            return 0
        try:
            found = end.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, 12)
        finally:
            end.close()
        return int.from_bytes(found[:4], sys.byteorder)

    def all(self) -> tuple[ContainerRecord, ...]:
        """Return all containers as they are now, newest first."""
        from .engine.status import everything

        return everything(self.home)

    def read(self, container_id: str) -> ContainerRecord:
        """Return a container as it is now; one that nobody watched any more is written off.

        Raises:
            StateError: there is no such container, or its record is damaged.
        """
        from .engine.remove import settle
        from .engine.status import current, is_lost

        record = self.home.containers.read(container_id)
        if is_lost(record):
            record = current(self.home, record)
            if record.state.status == "exited":
                settle(self.home, record)
        return record

    def open_process(self, record: ContainerRecord) -> int:
        """Return a pidfd of the container's first process, or -1 when that is gone."""
        from .engine.stop import open_process

        return open_process(record)

    def signal(self, record: ContainerRecord, number: int) -> None:
        """Send a signal to the first process, which is woken for it; nothing if it has ended."""
        pidfd = self.open_process(record)
        if pidfd < 0:
            return
        try:
            signal.pidfd_send_signal(pidfd, number)
            if record.state.status == "paused":
                self.home.place(record.id).container().resume()
        except ProcessLookupError:
            return
        finally:
            os.close(pidfd)

    def remove(self, record: ContainerRecord) -> bool:
        """Remove a container that has ended; False while its shim still writes down how."""
        from .engine.remove import remove
        from .state import is_alive

        if is_alive(record.state.shim_pid, record.state.shim_start_time):
            return False
        remove(self.home, record, volumes=True)
        return True

    # ── what it does ──────────────────────────────────────────────────────────────────────────

    def usage(self, record: ContainerRecord) -> Sample:
        """Return what a container uses; zeros where it does not run."""
        from .engine.usage import sample

        return sample(self.home, record)

    def logs(
        self, container_id: str, running: Callable[[], bool], tail: int | None = None
    ) -> Iterator[Entry | None]:
        """Yield what a container has written and writes; None where there is nothing more now."""
        from .container import logreader

        path = self.home.containers.log_path(container_id)
        return logreader.glances(path, running, logreader.Selection(tail=tail))

    def exec_argv(self, container_id: str, command: tuple[str, ...]) -> list[str]:
        """Return the command line that runs a command in a container, for a process of its own."""
        return [*_MINIRUN, "exec", container_id, *command]

    def launcher_argv(self) -> list[str]:
        """Return the command line of a launcher for this home, with ``environment``."""
        return [*_MINIRUN, "launcher"]

    def environment(self) -> dict[str, str]:
        """Return our environment with this home in it, for those command lines."""
        # Where this very package is, wherever the caller's directory is by now.
        path = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
        given = {"MINIRUN_DATA": self.home.data, "MINIRUN_ROOT": self.home.root}
        return {**os.environ, **given, "PYTHONPATH": path}
