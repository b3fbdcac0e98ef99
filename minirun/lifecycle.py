"""Create, start, kill, delete: what a container goes through, and which step is legal when.

    create ─▶ created ─ start ─▶ running ⇄ paused
       │         │                  │         │
       ▼         ▼                  ▼         ▼
    (nothing)  stopped ◀──────── stopped ◀────┘      delete ─▶ (nothing)

Only ``creating`` and ``created`` are ever written down. Whether a container runs, is paused or has
stopped is asked of the kernel each time, so no command that was killed half way can leave a status
behind that is not true: init holds the start FIFO open exactly as long as it waits.

See: runtime.md, Lifecycle. Next: ``creation.py``, ``starting.py``, ``deletion.py``; ``execute.py``.
"""

from __future__ import annotations

import errno
import os

from .cgroups import open_driver
from .errors import StateError
from .record import Record, replace
from .state import Directory, State, is_alive

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Callable

    from .cgroups.driver import Driver
    from .host import Host
    from .plan import Plan, Setting
    from .runner import Observer
    from .spec import Spec
    from .spec_resources import Resources
    from .steps.overlay import Overlay
else:
    # The C half has all that is needed; the Python half builds enums for 3 ms.
    import _signal as signal


class Request(Record):
    """What the caller of create asks for beside the spec.

    Args:
        container_id: see ``state.check_id``.
        bundle: absolute path that the spec's relative paths start from.
        overlay: layers to assemble the root from, instead of ``root.path``.
        program: a compiled seccomp filter that takes the place of ``linux.seccomp``.
        cgroup_parent: where the group goes when the spec names none.
        cgroup_manager: ``cgroupfs``, ``systemd`` or ``disabled``.
        network: what ``attach`` will do, for the narration; "" for nothing.
        pivot, keyring, keep_fds: see ``plan.Setting``.
        stdio: descriptors for the container's 0, 1 and 2; None inherits ours.
        spec_text: the spec as JSON where the caller has it, for the container's own copy.
    """

    container_id: str
    bundle: str
    overlay: Overlay | None = None
    program: bytes = b""
    cgroup_parent: str = "minirun"
    cgroup_manager: str = "cgroupfs"
    network: str = ""
    pivot: bool = True
    keyring: bool = True
    keep_fds: int = 0
    stdio: tuple[int, int, int] | None = None
    spec_text: str = ""


class Container:
    """A container by id; every method asks the kernel what is true now.

    Args:
        root: the state root.
        container_id: the id.
        host: as probed; needed for what touches control groups.
    """

    def __init__(self, root: str, container_id: str, host: Host) -> None:
        self.directory = Directory(root, container_id)
        self.id = container_id
        self.host = host

    # ── looking ───────────────────────────────────────────────────────────────────────────────

    def state(self) -> State:
        """Return the state with the status of this moment.

        Raises:
            NotFoundError: no such container.
        """
        return self._judge(self.directory.read())

    def _judge(self, state: State) -> State:
        """Return the state as it is now."""
        if state.status == "creating":
            building = is_alive(state.runtime_pid, state.runtime_start_time)
            return state if building else replace(state, status="stopped", pid=0)
        if not is_alive(state.pid, state.start_time):
            return replace(state, status="stopped", pid=0)
        if self._is_waiting():
            return replace(state, status="created")
        paused = self.driver(state).frozen()
        return replace(state, status="paused" if paused else "running")

    def _is_waiting(self) -> bool:
        """Whether init still has the start FIFO open. See: fifo(7), ENXIO."""
        try:
            os.close(os.open(self.directory.file("start"), os.O_WRONLY | os.O_NONBLOCK))
        except OSError as error:
            if error.errno in (errno.ENXIO, errno.ENOENT):
                return False
            raise
        return True

    def driver(self, state: State) -> Driver:
        """Return the container's control group."""
        return open_driver(self.host, state.cgroup, manager=state.cgroup_manager)

    # ── creating ──────────────────────────────────────────────────────────────────────────────

    def create(
        self,
        spec: Spec,
        request: Request,
        attach: Callable[[int], Callable[[], object]] | None = None,
        observe: Observer | None = None,
        meanwhile: Callable[[State], None] | None = None,
    ) -> dict[str, int]:
        """Make the container and leave its process waiting for ``start``.

        Args:
            spec: validated here.
            request: see there.
            attach: connects the network namespace of a pid; returns how to undo that.
            observe: see ``runner.create``.
            meanwhile: called once, as soon as there is a process: it is busy then, we are not.

        Returns:
            Descriptors by name: ``console`` (the terminal's master), ``seccomp`` (a listener).

        Raises:
            MinirunError: nothing is left behind.
        """
        from .creation import Creation  # the steps and the system calls: see there

        return Creation(self, spec, request).run(attach, observe, meanwhile)

    def run(
        self,
        spec: Spec,
        request: Request,
        attach: Callable[[int], Callable[[], object]] | None = None,
        observe: Observer | None = None,
        meanwhile: Callable[[State], None] | None = None,
    ) -> dict[str, int]:
        """Create and start: the word that init would wait for is there before it is.

        Arguments, what is returned and what is raised: see ``create`` and ``start``. A program that
        could not be executed leaves the container behind, as it does with ``start``.
        """
        from .creation import Creation
        from .starting import await_program, run_poststart

        creation = Creation(self, spec, request)
        try:
            fds = creation.run(attach, observe, meanwhile, at_once=True)
            await_program(creation.result_fd)
        finally:
            if creation.result_fd >= 0:  # it is opened when init has been forked
                os.close(creation.result_fd)
        run_poststart(self, spec.hooks.poststart if spec.hooks else ())
        return fds

    def plan(self, spec: Spec, request: Request) -> tuple[Plan, Setting]:
        """Return the plan of ``create``, and the setting that it was made for."""
        from .creation import Creation

        return Creation(self, spec, request).plan()

    # ── running ───────────────────────────────────────────────────────────────────────────────

    def start(self) -> None:
        """Let the created process become its program.

        Raises:
            StateError: it is not waiting.
            MinirunError: the program could not be executed; exit code 126 or 127.
        """
        from .starting import start

        start(self)

    def kill(self, signum: int, *, everybody: bool = False) -> None:
        """Send a signal to init, or to every process of the container.

        Raises:
            StateError: ``container not running``, the words that callers look for.
        """
        state = self.state()
        if everybody:
            from .ownership import processes

            for pid in processes(self, state):
                signal_pid(pid, signum)
            return
        if state.status in ("stopped", "creating"):
            raise StateError("container not running")
        pidfd = os.pidfd_open(state.pid)
        try:
            if not is_alive(state.pid, state.start_time):
                raise StateError("container not running")
            signal.pidfd_send_signal(pidfd, signum)
        except ProcessLookupError as error:
            raise StateError("container not running") from error
        finally:
            os.close(pidfd)
        if signum == signal.SIGKILL and state.status == "paused":
            self.driver(state).thaw()  # a frozen process cannot even die, on version 1

    def pause(self) -> None:
        """Stop every process where it is. See: cgroups(7), freezer."""
        state = self.state()
        if state.status != "running":
            raise StateError(f"container not running: it is {state.status}")
        self.driver(state).freeze()

    def resume(self) -> None:
        """Let them go on."""
        state = self.state()
        if state.status != "paused":
            raise StateError(f"container not paused: it is {state.status}")
        self.driver(state).thaw()

    def update(self, resources: Resources) -> None:
        """Change limits; what is not given stays as it is, device rules above all."""
        with self.directory.lock():
            state = self.state()
            if state.status == "stopped":
                raise StateError("container not running")
            self.driver(state).update(resources)

    # ── ending ────────────────────────────────────────────────────────────────────────────────

    def delete(self, *, force: bool = False) -> None:
        """Remove everything that create made.

        Raises:
            StateError: it still runs, and ``force`` was not given.
            NotFoundError: no such container; not an error with ``force``.
        """
        from .deletion import delete  # nobody else needs it

        delete(self, force=force)


def containers(root: str, host: Host) -> list[State]:
    """Return the state of every container below a root, by id."""
    try:
        names = sorted(os.listdir(root))
    except FileNotFoundError:
        return []
    found = []
    for name in names:
        try:
            found.append(Container(root, name, host).state())
        except StateError:
            continue  # not one of ours, or deleted while we looked
    return found


def signal_pid(pid: int, signum: int) -> None:
    """Send a signal; to nobody where the process is gone."""
    try:
        os.kill(pid, signum)
    except ProcessLookupError:
        return
