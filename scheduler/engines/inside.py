"""A look inside replicas, for people: what they wrote, a command, what they use; and the images.

These are the ports of ``../control/ports.py`` on the containers of this host.

Next: ``../serve.py``.
"""

from __future__ import annotations

import os
import selectors
import subprocess
import time
from collections.abc import Iterator, Mapping
from threading import Lock

from minirun import ContainerRecord, MinirunError, ScheduleError

from ..control.ports import Executed, ImageInfo, LogLine, Usage
from ..observed import Phase
from .afterlife import lines_of
from .checks import end
from .local import LocalRuntime
from .replica import Box, unix_s

#: A command may print more; it is not told.
OUTPUT_BYTES = 1 << 20
#: Looking costs a few files for each replica: who asks more often is told the same again.
FRESH_S = 1.0


class Inside:
    """A look inside the replicas of a runtime.

    Args:
        runtime: whose they are.
    """

    def __init__(self, runtime: LocalRuntime) -> None:
        self._runtime = runtime
        self._containers = runtime.containers
        self._lock = Lock()
        self._usage: dict[str, Usage] = {}
        self._looked_at = -FRESH_S

    # ---- replicas -------------------------------------------------------------------------------

    def logs(self, replica_id: str, *, tail: int | None) -> Iterator[LogLine | None]:
        """Yield what a replica has written and writes; None where there is nothing more now.

        Raises:
            ScheduleError: there is no such replica, and never was or long ago (404).
        """
        box = self._runtime.box(replica_id)
        if box and not box.remembered:
            return lines_of(self._containers, box, tail) if box.container else iter(())
        kept = self._runtime.afterlife.lines(replica_id)
        if kept is None and box is None:
            raise _missing(replica_id)
        kept = kept or ()
        return iter(kept[-tail:] if tail else kept if tail is None else ())

    def remembered(self, deployment: str) -> tuple[str, ...]:
        """Return which replicas that are gone have left what they wrote, the oldest first."""
        return self._runtime.afterlife.replicas(deployment)

    def execute(self, replica_id: str, command: tuple[str, ...], timeout_s: float) -> Executed:
        """Run a command inside a replica and wait for its end, at most ``timeout_s``.

        Raises:
            ScheduleError: there is no such replica (404), or it is not running (409).
        """
        box = self._box(replica_id)
        if box.replica.phase is not Phase.RUNNING:
            raise ScheduleError(f"{replica_id} is {box.replica.phase}, not running", status=409)
        process = subprocess.Popen(
            self._containers.exec_argv(box.container, command),
            env=self._containers.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        try:
            return _hear(process, time.monotonic() + timeout_s)
        finally:
            end(process)

    def usage(self) -> Mapping[str, Usage]:
        """Return what every running replica uses, by its id; at most a second old."""
        with self._lock:
            if time.monotonic() - self._looked_at >= FRESH_S:
                self._usage = dict(self._look())
                self._looked_at = time.monotonic()
            return self._usage

    def _look(self) -> Iterator[tuple[str, Usage]]:
        for name, replica in self._runtime.replicas().items():
            box = self._runtime.box(name)
            if replica.phase is not Phase.RUNNING or box is None:
                continue
            try:
                record: ContainerRecord = self._containers.read(box.container)
                sample = self._containers.usage(record)
            except MinirunError:
                continue  # it ended while we looked
            limits = box.order.template.limits
            usage = Usage(
                sample.cpu_ns / 1e9, sample.memory_bytes, limits.memory_bytes, limits.cpu_millis
            )
            yield name, usage

    def _box(self, replica_id: str) -> Box:
        if box := self._runtime.box(replica_id):
            return box
        raise _missing(replica_id)

    # ---- images ---------------------------------------------------------------------------------

    def images(self) -> tuple[ImageInfo, ...]:
        """Return every image on this host, by each of its names."""
        found = []
        for image in self._containers.images():
            created = image.config.created
            at = unix_s(created) if created else 0.0
            size = self._containers.image_bytes(image)
            found += [ImageInfo(name, image.id, size, at) for name in image.familiar_names]
        return tuple(sorted(found, key=lambda info: info.reference))

    def has_image(self, reference: str) -> bool:
        """Return whether a replica could be made of this image."""
        try:
            self._containers.target(reference)
        except MinirunError:
            return False
        return True


def _missing(replica_id: str) -> ScheduleError:
    return ScheduleError(f"there is no replica {replica_id}", status=404)


def _hear(process: subprocess.Popen[bytes], deadline: float) -> Executed:
    """Return what a process prints and comes to; what is too much is dropped."""
    heard = {1: bytearray(), 2: bytearray()}
    truncated = False
    assert process.stdout is not None and process.stderr is not None  # noqa: PT018 - both are pipes
    with selectors.DefaultSelector() as selector, process.stdout as out, process.stderr as err:
        selector.register(out, selectors.EVENT_READ, 1)
        selector.register(err, selectors.EVENT_READ, 2)
        while selector.get_map() and (left := deadline - time.monotonic()) > 0:
            for key, _ in selector.select(left):
                data = os.read(key.fd, 65536)
                if not data:
                    selector.unregister(key.fileobj)
                room = OUTPUT_BYTES - len(heard[key.data])
                truncated = truncated or len(data) > room
                heard[key.data] += data[: max(0, room)]
    try:
        code = process.wait(max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        return Executed(None, bytes(heard[1]), bytes(heard[2]), timed_out=True, truncated=truncated)
    return Executed(code, bytes(heard[1]), bytes(heard[2]), truncated=truncated)
