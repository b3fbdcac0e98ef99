"""Walk a plan: fork the lanes, pass the baton, undo on failure.

All processes, two or three, hold the same plan. The runtime process walks it from the first step to
the last; where the next step belongs to another lane it hands over with ``go`` and waits for
``done``, and does what can be done beside init: ``context.meanwhile``. The protocol is drawn in
``sync.py``; what each step does is in ``steps/``.

A failure anywhere comes back here as a StepError. Then the children are killed and everything that
was done to the host is taken back, latest first, so that a failed create leaves no trace.

Next: ``lifecycle.py``, which calls ``create``.
"""

from __future__ import annotations

import errno
import gc
import os
import time

from . import kernel
from .descriptors import close_all_but
from .errors import MinirunError, StepError, take_back
from .flags import PR_SET_CHILD_SUBREAPER
from .quickjson import dumps, loads
from .steps.base import nothing
from .sync import Channel, Gone

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Callable
    from typing import Any, NoReturn

    from .plan import Plan
    from .steps.base import Context, Step

    Observer = Callable[[int, Step, float], None]
else:
    # The C half has all that is needed; the Python half builds enums for 3 ms.
    import _signal as signal

#: FDs that travel from init to the runtime process with ``done``.
_HANDED_UP = ("console", "seccomp")


def create(plan: Plan, context: Context, observe: Observer | None = None) -> None:
    """Apply the plan up to wait-for-start; ``context.init_pid`` is then the container's process.

    Args:
        plan: ends with wait-for-start … execve in lane I.
        context: empty but for what ``lifecycle`` puts in; afterwards ``fds`` may hold the console.
        observe: called with (index, step, seconds) after each step, for ``--explain``.

    Raises:
        MinirunError: a step failed; nothing is left on the host.
    """
    ours, theirs = Channel.pair()
    context.channel = ours
    context.spawn = lambda lane: _spawn(plan, context, lane, theirs, observe=observe is not None)
    # Where init is the child of a child that ends, the nearest subreaper adopts it. Only for so
    # long: later orphans are not ours, and would stay zombies with us.
    was_subreaper = kernel.prctl_get_child_subreaper()
    kernel.prctl(PR_SET_CHILD_SUBREAPER, 1)
    try:
        _conduct(plan, context, theirs, observe)
    except BaseException as error:
        _abandon(context, error)
        raise
    finally:
        kernel.prctl(PR_SET_CHILD_SUBREAPER, int(was_subreaper))
        ours.close()
        theirs.close()


def _conduct(plan: Plan, context: Context, theirs: Channel, observe: Observer | None) -> None:
    """Apply our own steps; hand over and wait where a step belongs to another lane."""
    position = 0
    while position < len(plan.steps):
        step = plan.steps[position]
        if step.lane == "R":
            started = time.perf_counter()
            if context.word_given and plan.steps[position + 1].hands_over:
                _hand_over(context, position + 1)  # init need not wait for our last step
            _apply(step, context)
            if context.child_pid:
                theirs.close()  # the child's alone: its end, or init's, ends the conversation
            if observe:
                observe(position, step, time.perf_counter() - started)
            position += 1
        elif step.hands_over:
            if not context.word_given:
                _hand_over(context, position)
            return
        else:
            position = _let_child_act(context, position, plan, observe)
            if step.lane == "M" and context.init_pid:
                _reap(context.child_pid)  # its last act was to fork init


def _let_child_act(context: Context, position: int, plan: Plan, observe: Observer | None) -> int:
    """Send ``go``, wait for ``done``, take over what was found out; return the next position."""
    channel = context.channel
    assert channel is not None
    facts = {"init_pid": context.init_pid}
    try:
        channel.send({"go": position, "facts": facts})
        if plan.steps[position].lane == "I":
            _use_the_time(context)
        message, fds = channel.receive()
    except Gone as error:
        step = plan.steps[position]
        raise StepError(
            step.title,
            step.lane,
            "the process ended without a word",
            hint="it was probably killed for memory: is the limit too low?",
        ) from error
    context.init_pid = message["init_pid"] or context.init_pid
    context.fds.update(zip(message["fds"], fds, strict=True))
    if observe:
        for index, seconds in enumerate(message["seconds"], position):
            observe(index, plan.steps[index], seconds)
    done: int = message["done"]
    return done


def _use_the_time(context: Context) -> None:
    """Init is busy for milliseconds: do what the caller wants to have done beside, once."""
    work, context.meanwhile = context.meanwhile, nothing
    work()


def _hand_over(context: Context, position: int) -> None:
    """Let init wait for start; from here on it does not depend on us."""
    assert context.channel is not None
    try:
        context.channel.send({"go": position, "facts": {"init_pid": context.init_pid}})
    except Gone as error:
        raise StepError("hand-over", "I", "init ended before it could wait") from error


def _spawn(plan: Plan, context: Context, lane: str, channel: Channel, *, observe: bool) -> int:
    """Fork a process for a lane; only the parent returns."""
    # The collector would touch, and so copy, every page that parent and child share.
    gc.freeze()
    first = context.channel is not channel  # forked by the runtime, not by the intermediate
    pid = os.fork()
    if pid == 0:
        try:
            if first:
                _leave_the_caller(context, channel)
            _live(plan, context, lane, channel, observe=observe)
        finally:
            os._exit(1)
    if first:
        kernel.move_aside(pid)  # both have something to do from here on
    return pid


def _leave_the_caller(context: Context, channel: Channel) -> None:
    """Take the container's standard streams, let go of everything else that the caller has open.

    A lock of the caller would stay locked as long as the container waits for start.
    """
    kept = {0, 1, 2, *range(3, 3 + context.keep_fds), *context.fds.values(), channel.fileno()}
    close_all_but(kept.union(context.stdio or ()))
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD, signal.SIGHUP, signal.SIGWINCH):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    if context.stdio:
        for place, fd in enumerate(context.stdio):
            os.dup2(fd, place)


def _live(plan: Plan, context: Context, lane: str, channel: Channel, *, observe: bool) -> NoReturn:
    """Apply the steps of this lane, one turn after another, until there are no more."""
    context.channel = channel
    gc.disable()
    position = 0
    try:
        while True:
            message, _ = channel.receive()
            context.init_pid = message["facts"]["init_pid"] or context.init_pid
            position = message["go"]
            seconds = []
            while position < len(plan.steps) and plan.steps[position].lane == lane:
                started = time.perf_counter() if observe else 0.0
                _apply(plan.steps[position], context)
                seconds.append(time.perf_counter() - started if observe else 0.0)
                position += 1
            _report(context, channel, position, seconds)
            if all(step.lane != lane for step in plan.steps[position:]):
                os._exit(0)
    except Gone:
        os._exit(1)
    except Exception as error:  # noqa: BLE001 - the edge of a process: everything is reported
        step = plan.steps[position]
        if context.handed_over:
            _report_late(error, context.fds["result"])
        else:
            channel.send_error(error, step=step.title, lane=lane)
        code = error.exit_code if isinstance(error, MinirunError) else 1
        os._exit(code)


def _report(context: Context, channel: Channel, position: int, seconds: list[float]) -> None:
    """Say how far we got, and hand up what the runtime process will need."""
    names = [name for name in _HANDED_UP if name in context.fds]
    fds = [context.fds.pop(name) for name in names]
    channel.send(
        {"done": position, "init_pid": context.init_pid, "fds": names, "seconds": seconds}, fds
    )
    for fd in fds:
        os.close(fd)


def _report_late(error: Exception, result_fd: int) -> None:
    """Tell whoever said start why there is no program."""
    report = {"error": str(error), "hint": "", "exit_code": 125}
    if isinstance(error, MinirunError):
        report["hint"], report["exit_code"] = error.hint, error.exit_code
    os.write(result_fd, dumps(report).encode())


def revive_late(report: bytes) -> MinirunError:
    """Return the error that init wrote to the result FIFO."""
    held: dict[str, Any] = loads(report)
    return MinirunError(held["error"], hint=held["hint"], exit_code=held["exit_code"])


def _apply(step: Step, context: Context) -> None:
    """Apply one step; whatever goes wrong becomes a StepError that names it."""
    try:
        step.apply(context)
    except StepError:
        raise
    except MinirunError as error:
        raise StepError(
            step.title, step.lane, str(error), hint=error.hint, exit_code=error.exit_code
        ) from error
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        text = os.strerror(error.errno or 0).lower()
        raise StepError(step.title, step.lane, where + text, hint=_full(error)) from error


def _full(error: OSError) -> str:
    """Return what to do about a full disk, where that is what it is."""
    return "free some disk space: df -h shows where" if error.errno == errno.ENOSPC else ""


def _reap(pid: int) -> None:
    """Wait for the intermediate: it ends as soon as its last step is done."""
    try:
        os.waitpid(pid, 0)
    except ChildProcessError:
        return


def _abandon(context: Context, error: BaseException) -> None:
    """Kill what was started, take back what was done."""
    for pid in {context.init_pid, context.child_pid}:
        if pid:
            try:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
            except (ProcessLookupError, ChildProcessError):
                continue
    take_back(error, *reversed(context.undo))
    context.undo.clear()
