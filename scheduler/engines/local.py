"""Replicas as containers of this host: the runtime of ``../runtime.py``.

    start ──▶ Box, and a worker: folder ▶ container ▶ launcher ▶ probes        any thread
    exit  ──▶ watcher: what the record says ▶ Box                             its thread
    probe ──▶ prober: ready, alive ▶ Box                                      its thread
    remove ─▶ clearing: container, folder ▶ no Box                             any thread
    replicas() ──▶ what the boxes say; it asks nobody

What is in memory is only a copy: the containers and their labels hold everything, and ``open``
takes over whatever an earlier scheduler has left. Each change calls ``changed``, which wakes the
control loop.

Next: ``starter.py``, what a worker does first; then ``inside.py``.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from threading import Lock

from minirun import ContainerRecord, Containers, MinirunError

from ..actions import Start
from ..observed import Host, Phase, Replica
from .clearing import Clearing
from .folder import Folders
from .launcher import Launcher
from .prober import Prober
from .replica import Box, begun, ended, order_of, unix_s
from .starter import Starter, Surroundings
from .watcher import Watcher

#: So many starts are under way at a time; more would only wait for the same processors.
STARTERS = 4
#: A container that an earlier scheduler made and that still does not run by then never will.
LEFT_BEHIND_S = 5.0
#: The shim writes the end down before it goes; until then one looks again, ever less often.
LOOK_S, LOOK_MOST_S = 0.003, 1.0
SETTLE_S = 2.0


class LocalRuntime:
    """The replicas of one scheduler on this host.

    Args:
        containers: where they are made.
        around: see there.
    """

    def __init__(self, containers: Containers, around: Surroundings) -> None:
        self.containers = containers
        self.launcher = Launcher(containers)
        self._around = around
        self.afterlife = around.afterlife
        self._folders = Folders(around.folder)
        self._starter = Starter(containers, self.launcher, self._folders, around)
        self._lock = Lock()
        self._boxes: dict[str, Box] = {}
        self._watcher = Watcher()
        self._clearing = Clearing(
            containers, self._folders, around.afterlife, self._watcher, self._forget
        )
        self._prober = Prober(self._heard, around.clock)
        self._workers = ThreadPoolExecutor(STARTERS, thread_name_prefix="replica")
        self._closing = False

    def open(self) -> None:
        """Take over what there is, and get ready to start more.

        It returns when every replica that runs was asked whether it is ready, or soon after: the
        first look at the world must not take a good one for a bad one.

        Raises:
            MinirunError: the launcher does not start, or the folder cannot be mounted.
        """
        self._folders.mount()
        self.afterlife.tidy()
        for record in self.containers.all():
            if order := order_of(record, self._around.owner):
                self._adopt(order, record)
        self._keep_launcher()
        deadline = time.monotonic() + SETTLE_S
        while not self._prober.settled() and time.monotonic() < deadline:
            time.sleep(LOOK_S)

    def close(self) -> None:
        """End our threads; the replicas go on, and removals that have begun are finished."""
        self._closing = True
        self._starter.close()
        self._workers.shutdown(cancel_futures=True)
        self._clearing.close()
        self._prober.close()
        self._watcher.close()

    def dissolve(self) -> None:
        """Take the folder and the launcher away as well; for a scheduler that has no replicas."""
        self.close()
        self.launcher.stop()
        self._folders.unmount()

    def _keep_launcher(self) -> None:
        """Replace the launcher when it ends: a start should not have to wait for that."""
        if self._closing:
            return
        pid = self.launcher.ensure()
        try:
            self._watcher.watch(os.pidfd_open(pid), self._keep_launcher)
        except ProcessLookupError:
            self._watcher.later(LOOK_S, self._keep_launcher)

    # ---- what the control loop asks -------------------------------------------------------------

    def host(self) -> Host:
        """Return what may be given to replicas."""
        return self._around.capacity.host(cordoned=self._around.cordoned())

    def replicas(self) -> Mapping[str, Replica]:
        """Return every replica by its id, with what the probes know of it."""
        with self._lock:
            return {name: box.replica for name, box in self._boxes.items()}

    def start(self, wanted: Start) -> None:
        """Create and start a replica, without waiting for it to be ready."""
        with self._lock:
            if wanted.id in self._boxes:
                return
            box = self._boxes[wanted.id] = begun(wanted, self._around.clock())
        try:
            self.containers.target(wanted.template.image)
        except MinirunError as error:
            self._failed(box, error)
        else:
            self._workers.submit(self._bring_up, box)

    def stop(self, replica_id: str, stop_s: float) -> None:
        """Ask a replica to end, and kill it when it has not after ``stop_s``; does not wait."""
        with self._lock:
            box = self._boxes.get(replica_id)
            if box is None or box.replica.has_ended:
                return
            asked, kill_at = box.kill_at is not None, self._around.clock() + stop_s
            if box.kill_at is not None and box.kill_at <= kill_at:
                return
            box.kill_at = kill_at
        if not asked:
            self._end(box)
        self._watcher.later(stop_s, lambda: self._kill(box))

    def remove(self, replica_id: str) -> None:
        """Delete what an exited replica left behind, without waiting for it."""
        with self._lock:
            box = self._boxes.get(replica_id)
            if box is None or box.replica.phase is not Phase.EXITED:
                return
            box.change(phase=Phase.REMOVING, problem="")
        self._clearing.begin(box)

    def box(self, replica_id: str) -> Box | None:
        """Return a replica as it is kept, for ``inside.py``."""
        with self._lock:
            return self._boxes.get(replica_id)

    # ---- a start --------------------------------------------------------------------------------

    def _bring_up(self, box: Box) -> None:
        try:
            self._starter.make(box)
            self._starter.launch(box)
            self._runs(box, self.containers.read(box.container))
        except (MinirunError, OSError) as error:
            self._failed(box, error)

    def _failed(self, box: Box, error: Exception) -> None:
        hint = error.hint if isinstance(error, MinirunError) else ""
        problem = f"{error}; {hint}" if hint else str(error)
        with self._lock:
            now = self._around.clock()
            box.change(phase=Phase.EXITED, ended_at=now, problem=problem, exit_code=None)
        self._around.changed()

    # ---- a life ---------------------------------------------------------------------------------

    def _adopt(self, order: Start, record: ContainerRecord) -> None:
        box = begun(order, self._monotonic(unix_s(record.state.started_at or record.created)))
        box.container = record.id
        with self._lock:
            self._boxes[order.id] = box
        self._find_out(box, time.monotonic() + LEFT_BEHIND_S)

    def _find_out(self, box: Box, deadline: float) -> None:
        """Go on from wherever a container is that somebody else has started."""
        record = self.containers.read(box.container)
        if record.state.status == "created" and time.monotonic() < deadline:
            self._watcher.later(LOOK_S * 10, lambda: self._find_out(box, deadline))
        elif record.state.status == "created":
            self._failed(box, MinirunError("its scheduler ended before it was started"))
        else:
            self._runs(box, record, adopted=True)

    def _monotonic(self, unix: float) -> float:
        """Return what the scheduler's clock showed at a time of the wall clock."""
        now = self._around.clock()
        return min(now, now - (time.time() - unix)) if unix else now

    def _runs(self, box: Box, record: ContainerRecord, *, adopted: bool = False) -> None:
        """Watch a container that was started; it may have ended already."""
        pidfd = self.containers.open_process(record)
        if pidfd < 0:
            self._collect(box, LOOK_S)
            return
        address = self._starter.address(box, record)
        with self._lock:
            if not adopted:
                box.change(started_at=self._around.clock())
            # It was ready before we came: what waits for min_ready_s need not begin anew.
            box.ready_as_of = box.replica.started_at if adopted else None
            box.change(phase=Phase.RUNNING, address=address)
        self._watcher.watch(pidfd, lambda: self._collect(box, LOOK_S))
        self._prober.watch(box.order.id, self._starter.target(box, address))
        if box.kill_at is not None:
            self._end(box)
            # Its time may have been over when there was nothing to kill yet.
            left_s = max(0.0, box.kill_at - self._around.clock())
            self._watcher.later(left_s, lambda: self._kill(box))

    def _heard(self, replica_id: str, ready: bool, alive: bool, problem: str) -> None:
        """Take over what the probes have found."""
        with self._lock:
            box = self._boxes.get(replica_id)
            if box is None or box.replica.phase is not Phase.RUNNING:
                return
            if not ready:
                box.change(ready_since=None)
            elif box.replica.ready_since is None:
                since = box.ready_as_of or self._around.clock()
                box.change(ready_since=since)
                if box.replica.loaded_in_s is None:
                    box.change(loaded_in_s=since - box.replica.started_at)
                box.ready_as_of = None
            box.change(alive=alive, problem=problem)
        self._around.changed()

    # ---- an end ---------------------------------------------------------------------------------

    def _end(self, box: Box) -> None:
        """Ask it to end; one that does not run yet is asked when it does."""
        if box.replica.phase is Phase.RUNNING:
            record = self.containers.read(box.container)
            self.containers.signal(record, record.stop_signal)

    def _kill(self, box: Box) -> None:
        if not box.replica.has_ended and box.container:
            self.containers.signal(self.containers.read(box.container), 9)

    def _collect(self, box: Box, pause_s: float) -> None:
        """Find out how it ended; the shim may not have written that down yet."""
        self._prober.forget(box.order.id)
        if box.replica.has_ended:
            return  # it was given up before, and may be under removal
        try:
            record = self.containers.read(box.container)
        except MinirunError as error:
            self._failed(box, error)
            return
        if record.state.status in ("running", "paused", "created"):
            again = min(pause_s * 2, LOOK_MOST_S)
            self._watcher.later(pause_s, lambda: self._collect(box, again))
            return
        with self._lock:
            box.change(**ended(record, self._monotonic))
        self._around.changed()

    def _forget(self, box: Box) -> None:
        """Strike off a replica of which nothing is left."""
        with self._lock:
            self._boxes.pop(box.order.id, None)
        self._around.changed()
