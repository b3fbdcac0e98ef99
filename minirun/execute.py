"""Run a command in a container that is there: ``exec``.

    execute(container, process) ─▶ Running(pid, console)

The command is a child of nobody inside: it is forked into the container from here, and is adopted
by the nearest subreaper. While the caller lives that is the caller, who can wait for it; afterwards
it is whoever started the caller (containerd's shim, conmon).

Whether the program could be executed is known when ``execute`` returns: a pipe that execve closes
tells. No lock is held, since many commands may be on their way into one container at a time.

See: setns(2), pidfd_open(2). Next: ``plan_exec.py``.
"""

from __future__ import annotations

import os

from .cgroups import check_path
from .errors import StateError
from .flags import Clone, SeccompFlag
from .plan import Filter
from .plan_exec import ExecSetting, plan_exec
from .record import Record, replace
from .runner import create as run_plan
from .runner import revive_late
from .spec import Capabilities
from .state import is_alive
from .steps.base import Context
from .validate import validate

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from .cgroups.driver import Driver
    from .lifecycle import Container
    from .runner import Observer
    from .spec import Process, Spec, User
    from .state import State

#: Names below /proc/PID/ns.
_KINDS = {
    "user": Clone.CLONE_NEWUSER,
    "mnt": Clone.CLONE_NEWNS,
    "uts": Clone.CLONE_NEWUTS,
    "ipc": Clone.CLONE_NEWIPC,
    "net": Clone.CLONE_NEWNET,
    "pid": Clone.CLONE_NEWPID,
    "cgroup": Clone.CLONE_NEWCGROUP,
    "time": Clone.CLONE_NEWTIME,
}


class ExecRequest(Record):
    """What the caller of exec asks for beside the process.

    Args:
        stdio: descriptors for the program's 0, 1 and 2; None lets it inherit ours.
        keep_fds: how many descriptors from 3 on it inherits.
        cgroups: groups below the container's: ``path``, or ``controller,…:path`` on version 1.
        ignore_paused: join a paused container too; the program then waits until it is resumed.
        keyring: False keeps the caller's session keyring.
    """

    stdio: tuple[int, int, int] | None = None
    keep_fds: int = 0
    cgroups: tuple[str, ...] = ()
    ignore_paused: bool = False
    keyring: bool = True


class Running(Record):
    """A process that was started: its pid as seen from here, and its terminal's master or -1."""

    pid: int
    console: int = -1


def execute(
    container: Container,
    process: Process,
    request: ExecRequest = ExecRequest(),  # noqa: B008 - a Record is immutable
    observe: Observer | None = None,
) -> Running:
    """Run a process in a container and return once its program has been executed.

    Raises:
        StateError: the container is stopped, paused or not complete yet.
        MinirunError: the program could not be executed; exit code 126 or 127.
    """
    state = container.state()
    _require_joinable(state, request)
    spec = container.directory.read_spec()
    validate(replace(spec, process=process), container.host)
    pidfd = _open_init(state)
    result, told = os.pipe()
    context = Context(container.id, state.bundle, container.directory.path)
    try:
        setting = _setting(container, state, request)
        context.stdio, context.keep_fds = request.stdio, request.keep_fds
        context.cgroup = container.driver(state)
        context.fds = {"container": pidfd, "result": told}
        run_plan(plan_exec(process, spec, container.host, setting), context, observe)
        os.close(context.fds.pop("result"))
        report = os.read(result, 65536)
    finally:
        os.close(result)
        for name in ("container", "result"):
            if name in context.fds:
                os.close(context.fds.pop(name))
    if report:
        _reap(context.init_pid)
        raise revive_late(report)
    return Running(context.init_pid, context.fds.get("console", -1))


def process_like(  # noqa: PLR0913 - one argument per option of exec
    spec: Spec,
    args: Iterable[str],
    *,
    env: Iterable[str] = (),
    cwd: str = "",
    user: User | None = None,
    capabilities: Iterable[str] = (),
    terminal: bool = False,
) -> Process:
    """Return the container's own process with another command, as ``exec`` without ``--process``.

    Args:
        spec: the container's.
        args: the command.
        env: added to the container's environment.
        cwd: instead of the container's; "" keeps that.
        user: instead of the container's.
        capabilities: added to the container's; never inheritable (CVE-2022-29162), and ambient only
            where they are inheritable already.
        terminal: whether it gets one.

    Raises:
        StateError: the container has no process to take after.
    """
    own = spec.process
    if own is None:
        raise StateError("the container's config.json has no process", hint="use exec --process")
    return replace(
        own,
        args=tuple(args),
        env=(*own.env, *env),
        cwd=cwd or own.cwd,
        user=user or own.user,
        capabilities=_with_capabilities(own.capabilities, tuple(capabilities)),
        terminal=terminal,
        console_size=None,
    )


def _with_capabilities(held: Capabilities | None, more: tuple[str, ...]) -> Capabilities | None:
    """Add to the sets that are in force; the inheritable set is left as it is."""
    if not more:
        return held
    held = held or Capabilities()
    return replace(
        held,
        bounding=_union(held.bounding, more),
        effective=_union(held.effective, more),
        permitted=_union(held.permitted, more),
        ambient=_union(held.ambient, [name for name in more if name in held.inheritable]),
    )


def _union(first: Iterable[str], second: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*first, *second)))


def _require_joinable(state: State, request: ExecRequest) -> None:
    """Refuse what has no process to join, in the words that callers search for."""
    if state.status == "stopped":
        raise StateError("cannot exec in a stopped container", hint="start it first")
    if state.status == "creating":
        raise StateError("cannot exec in a container in creating state", hint="try again")
    if state.status == "paused" and not request.ignore_paused:
        raise StateError(
            "cannot exec in a paused container", hint="resume it first, or use --ignore-paused"
        )


def _open_init(state: State) -> int:
    """Return a pidfd of the container's init, verified to be that very process."""
    try:
        pidfd = os.pidfd_open(state.pid)
    except ProcessLookupError as error:
        raise StateError("cannot exec in a stopped container") from error
    # The order matters: once the pidfd is ours the number cannot come to mean somebody else.
    if not is_alive(state.pid, state.start_time):
        os.close(pidfd)
        raise StateError("cannot exec in a stopped container")
    return pidfd


def _setting(container: Container, state: State, request: ExecRequest) -> ExecSetting:
    driver = container.driver(state)
    inner = tuple(_inner_groups(driver, request.cgroups))
    return ExecSetting(
        namespaces=_foreign_namespaces(state.pid),
        init_pid=state.pid,
        groups=tuple(dict.fromkeys(driver.dirs.values())),
        inner_groups=inner,
        join_groups=not inner or container.host.cgroup_mode != "v2",
        seccomp=_filter(container.directory.file("filter")),
        keep_fds=request.keep_fds,
        keyring=request.keyring,
        container=container.id,
    )


def _foreign_namespaces(pid: int) -> Clone:
    """Return the namespaces in which a process is not with us: only those can be joined."""
    kinds = Clone(0)
    for name, kind in _KINDS.items():
        try:
            theirs, ours = os.stat(f"/proc/{pid}/ns/{name}"), os.stat(f"/proc/self/ns/{name}")
        except FileNotFoundError:
            continue  # this kernel has no such namespace
        if theirs.st_ino != ours.st_ino:
            kinds |= kind
    return kinds


def _inner_groups(driver: Driver, wanted: Iterable[str]) -> Iterator[str]:
    """Yield the directories that ``--cgroup`` means; never outside the container's own groups."""
    for word in wanted:
        names, colon, path = word.rpartition(":")
        if not path.strip("/"):
            continue  # the container's own group
        inside = check_path(path.strip("/"))
        controllers = names.split(",") if colon else driver.dirs
        directories: dict[str, None] = {}
        for controller in controllers:
            if controller not in driver.dirs:
                raise StateError(f"no cgroup controller {controller!r}", hint="see /proc/cgroups")
            if os.path.isdir(driver.dirs[controller]):
                directories[f"{driver.dirs[controller]}/{inside}"] = None
        for directory in directories:
            if not os.path.isdir(directory):
                raise StateError(
                    f"cgroup {directory} does not exist", hint="make it inside the container first"
                )
            yield directory


def _filter(path: str) -> Filter | None:
    """Return the filter that create wrote: 8 bytes of flags, then the program."""
    try:
        with open(path, "rb") as file:
            data = file.read()
    except FileNotFoundError:
        return None
    return Filter(data[8:], SeccompFlag(int.from_bytes(data[:8], "little")))


def _reap(pid: int) -> None:
    """Collect what could not become a program, where we are the ones to do so."""
    try:
        os.waitpid(pid, 0)
    except ChildProcessError:
        return
