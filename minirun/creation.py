"""``create``: claim an id, write down what is known, run the plan.

    Container.create ─▶ Creation(container, spec, request).run() ─▶ a process that waits for start

Apart from ``lifecycle.py`` because only a create needs the plan, the steps and the system calls:
``state`` or ``kill`` start twice as fast without them.

A failed create leaves the host as it was. One that was killed leaves a directory with the status
``creating``; the id is free again at once, because ``run`` clears away what such a create has left.

See: runtime.md, Create. Next: ``plan.py`` and ``runner.py``.
"""

from __future__ import annotations

import os

from .cgroups import open_driver
from .errors import HostError, StateError, take_back
from .flags import SeccompFlag
from .plan import Filter, Setting, plan_create
from .record import replace
from .runner import create as run_plan
from .seccomp import compiled, load_flags, needs_listener
from .state import State, check_id, hook_state, is_alive, process_start_time, timestamp
from .steps.base import Context
from .validate import validate

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from .lifecycle import Container, Request
    from .plan import Plan
    from .runner import Observer
    from .spec import Spec
    from .steps.overlay import Overlay

    Attach = Callable[[int], Callable[[], object]]
    Meanwhile = Callable[[State], None]

_ALREADY = "container with given ID already exists"


class Creation:
    """One create under way.

    Args:
        container: whose directory it becomes.
        spec: validated in ``run``.
        request: see ``lifecycle.Request``.
    """

    def __init__(self, container: Container, spec: Spec, request: Request) -> None:
        self.container = container
        self.directory = container.directory
        self.spec = spec
        self.request = request
        self.cgroup_manager = self._cgroup_manager()
        #: Where init reports why there is no program; for who starts at once, and closes it.
        self.result_fd = -1

    def run(
        self,
        attach: Attach | None,
        observe: Observer | None,
        meanwhile: Meanwhile | None,
        *,
        at_once: bool = False,
    ) -> dict[str, int]:
        """Make the container; see ``Container.create`` and, for ``at_once``, ``Container.run``."""
        validate(self.spec, self.container.host)
        if self.cgroup_manager == "disabled":
            # There will be no group whose making could fail for a limit that nobody enforces.
            open_driver(self.container.host, "", "disabled").apply(self.spec.linux.resources)
        plan, setting = self.plan()
        check_id(self.container.id)
        with self.directory.lock(claim=True):
            self._refuse_existing()
            state = self._first_state(setting)
            context = self._context(state)
            try:
                self._write_files(state, setting)
                context.meanwhile = self._meanwhile(state, setting, context, meanwhile)
                self._open_fifos(context, at_once=at_once)
                if attach is not None:
                    context.attach_network = _undoable(attach, context)
                run_plan(plan, context, observe)
            except BaseException as error:
                take_back(error, self.directory.remove)
                raise
            finally:
                _let_go(context)
                if context.cgroup is not None:
                    context.cgroup.claim.release()  # its container is inside, or never comes
        return context.fds

    def plan(self) -> tuple[Plan, Setting]:
        """Return the plan, and the setting that it was made for."""
        spec, request = self.spec, self.request
        cgroup = ""
        directories: tuple[tuple[str, str], ...] = ()
        if self.cgroup_manager != "disabled":
            cgroup = spec.linux.cgroups_path or self._default_cgroup()
            driver = open_driver(self.container.host, cgroup, manager=self.cgroup_manager)
            directories = tuple(driver.dirs.items())
        rootfs = os.path.join(request.bundle, spec.root.path)
        setting = Setting(
            container_id=self.container.id,
            rootfs=self.directory.file("rootfs") if request.overlay else rootfs,
            state_path=self.directory.file("state.json"),
            overlay=self._overlay(),
            layers=self.directory.file("layers"),
            cgroup=cgroup,
            cgroup_directories=directories,
            cgroup_manager=self.cgroup_manager,
            seccomp=self._filter(),
            network=request.network,
            pivot=request.pivot,
            keyring=request.keyring,
            keep_fds=request.keep_fds,
        )
        return plan_create(spec, self.container.host, setting), setting

    def _cgroup_manager(self) -> str:
        """Return who makes the group; nobody where this user may not and names no place for it."""
        host, asked = self.container.host, self.request.cgroup_manager
        somewhere = not self.spec.linux.cgroups_path.startswith("/")
        if asked == "cgroupfs" and host.rootless and not host.may_make_groups and somewhere:
            return "disabled"
        return asked

    def _overlay(self) -> Overlay | None:
        """Return the layers as this user may stack them."""
        overlay, host = self.request.overlay, self.container.host
        if overlay is None or not host.rootless:
            return overlay
        if "overlay_in_userns" not in host.features:
            raise HostError(
                "an overlay in a user namespace needs Linux 5.11",
                hint="run as root, or a newer kernel; fuse-overlayfs is not supported",
            )
        return replace(overlay, userxattr=True)

    def _default_cgroup(self) -> str:
        """Return where the group goes when the spec does not say."""
        parent, name = self.request.cgroup_parent, self.container.id
        if self.cgroup_manager == "systemd":
            return f":{parent}:{name}"  # in the default slice; see ``cgroups/units.py``
        return f"{parent}/{name}"

    def _filter(self) -> Filter | None:
        """Return the compiled filter: in this process, on the host's side, before any fork."""
        if self.request.program:
            return Filter(self.request.program)
        seccomp = self.spec.linux.seccomp
        if seccomp is None:
            return None
        flags = load_flags(seccomp)
        if needs_listener(seccomp):
            flags |= SeccompFlag.SECCOMP_FILTER_FLAG_NEW_LISTENER
        cache = f"{self.directory.path.rpartition('/')[0]}/.seccomp"
        return Filter(compiled(seccomp, cache), flags)

    def _refuse_existing(self) -> None:
        """An id is free when nothing has it, or when what had it was killed half way."""
        if not self.directory.exists():
            return
        state = self.directory.read()
        dead = not is_alive(state.runtime_pid, state.runtime_start_time)
        if state.status != "creating" or not dead:
            raise StateError(
                f"{_ALREADY}: {self.container.id}",
                hint="choose another id, or delete that container first",
            )
        from .deletion import tear_down

        tear_down(self.container, state, keep_lock=True)

    def _first_state(self, setting: Setting) -> State:
        return State(
            id=self.container.id,
            bundle=self.request.bundle,
            runtime_pid=os.getpid(),
            runtime_start_time=process_start_time(os.getpid()),
            created=timestamp(),
            rootfs=setting.rootfs,
            owner=str(os.getuid()),
            oci_version=self.spec.oci_version,
            annotations=dict(self.spec.annotations),
            cgroup=setting.cgroup,
            cgroup_manager=self.cgroup_manager,
            cgroup_directories=dict(setting.cgroup_directories),
        )

    def _context(self, state: State) -> Context:
        """Return what the steps need of us."""
        context = Context(self.container.id, self.request.bundle, self.directory.path)
        context.stdio = self.request.stdio
        context.keep_fds = self.request.keep_fds
        context.cgroup = self.container.driver(state)

        def save_state(status: str) -> None:
            self.directory.write(replace(_with_init(state, context), status=status))

        context.save_state = save_state
        context.state = lambda status: hook_state(
            replace(state, status=status, pid=context.init_pid)
        )
        return context

    def _write_files(self, state: State, setting: Setting) -> None:
        """What must be there before the first effect; the FIFOs are how start finds init."""
        directory = self.directory
        directory.write(state)
        if setting.overlay:
            os.makedirs(setting.rootfs, 0o755, exist_ok=True)
            os.makedirs(setting.layers, 0o755, exist_ok=True)
        for name in ("start", "result"):
            os.mkfifo(directory.file(name), 0o600)

    def _open_fifos(self, context: Context, *, at_once: bool) -> None:
        """Open them on both sides: opening never blocks, and end of file means init is gone."""
        for name in ("start", "result"):
            fifo = os.open(self.directory.file(name), os.O_RDWR | os.O_CLOEXEC)
            context.fds[name] = fifo
        if at_once:
            context.word_given = True
            os.write(context.fds["start"], b"s")

    def _meanwhile(
        self, state: State, setting: Setting, context: Context, more: Meanwhile | None
    ) -> Callable[[], None]:
        """Return what there is to do beside init: what only later commands will read, and more."""

        def work() -> None:
            if context.word_given:  # a report that nobody is there to read would be lost
                result = self.directory.file("result")
                self.result_fd = os.open(result, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            _let_go(context)  # init has them; a process that is forked from here on must not
            # First what forks: each page that is written before a fork is copied again after it.
            if more is not None:
                more(_with_init(state, context))
            self.directory.write_spec(self.spec, self.request.spec_text)
            if setting.seccomp:
                self._write_filter(setting.seccomp)

        return work

    def _write_filter(self, seccomp: Filter) -> None:
        """Keep the program for ``exec``; a listener is asked for once."""
        flags = int(seccomp.flags & ~SeccompFlag.SECCOMP_FILTER_FLAG_NEW_LISTENER)
        with open(self.directory.file("filter"), "wb") as file:
            file.write(flags.to_bytes(8, "little") + seccomp.program)


def _let_go(context: Context) -> None:
    """Close what was opened for init alone."""
    for name in ("start", "result", "userns"):
        if name in context.fds:
            os.close(context.fds.pop(name))


def _with_init(state: State, context: Context) -> State:
    """Return the state of a container that has a process."""
    pid = context.init_pid
    return replace(state, pid=pid, start_time=process_start_time(pid))


def _undoable(attach: Attach, context: Context) -> Callable[[int], None]:
    """Return attach with its undo registered."""

    def attach_network(pid: int) -> None:
        context.undo.append(attach(pid))

    return attach_network
