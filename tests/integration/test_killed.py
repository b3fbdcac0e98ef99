"""Fail, or die by kill -9, at every moment of create, start and delete: nothing may be left."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from functools import partial
from itertools import count
from types import FrameType
from typing import Any

import pytest

from minirun import creation
from minirun import plan as planning
from minirun.errors import MinirunError, StepError
from minirun.lifecycle import Container
from minirun.plan import Plan
from minirun.steps.base import Context, Step
from tests.integration.engine_lab import eventually, kill_hard
from tests.integration.lifecycle_lab import Lab, footprint, fork, full, steps_of

pytestmark = pytest.mark.requires("root", "overlay", "busybox")

#: How many moments of create, start and delete are tried, evenly spread over the lines they run.
MOMENTS = 24
OURS = os.path.dirname(creation.__file__)


class Broken(Step):
    """A step that fails in place of another."""

    id = "broken"
    inner: Step

    @property
    def title(self) -> str:
        return self.inner.title

    @property
    def lane(self) -> str:  # type: ignore[override]
        return self.inner.lane

    @property
    def hands_over(self) -> bool:  # type: ignore[override]
        return self.inner.hands_over

    def apply(self, context: Context) -> None:
        del context
        raise MinirunError("broken on purpose")


class Deadly(Broken):
    """A step at which its process ends, as for want of memory: init would survive its own kill."""

    id = "deadly"

    def apply(self, context: Context) -> None:
        del context
        os._exit(1)


def break_step(monkeypatch: pytest.MonkeyPatch, index: int, broken: type[Broken]) -> None:
    """Put a broken step in the place of one of every plan."""

    def breaking(*args: Any) -> Plan:  # noqa: ANN401
        steps = list(planning.plan_create(*args).steps)
        steps[index] = broken(steps[index])
        return Plan(tuple(steps))

    monkeypatch.setattr(creation, "plan_create", breaking)


@pytest.mark.parametrize("remapped", [False, True], ids=["plain", "userns"])
def test_every_step_that_fails_is_named_and_leaves_nothing(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, remapped: bool
) -> None:
    config = full(lab, remapped=remapped)
    before, steps = footprint(lab.root), steps_of(lab, config)
    last = next(i for i, step in enumerate(steps) if step.hands_over)
    for index, step in enumerate(steps[:last]):
        break_step(monkeypatch, index, Broken)
        with pytest.raises(StepError, match="broken on purpose") as caught:
            lab.create(lab.container(), config)
        assert caught.value.step == step.title
        assert footprint(lab.root) == before, step.title
    eventually(lab.offspring.reap, lambda left: not left)


def test_child_killed_at_every_step_is_told_and_leaves_nothing(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What if the kernel kills the process that becomes the container, while it is made?"""
    config = full(lab, remapped=False)
    before, steps = footprint(lab.root), steps_of(lab, config)
    last = next(i for i, step in enumerate(steps) if step.hands_over)
    for index, step in enumerate(steps[:last]):
        if step.lane == "R":
            continue  # the runtime itself: see below
        break_step(monkeypatch, index, Deadly)
        with pytest.raises(StepError, match="ended without a word"):
            lab.create(lab.container(), config)
        assert footprint(lab.root) == before, step.title
    eventually(lab.offspring.reap, lambda left: not left)


@pytest.mark.parametrize("remapped", [False, True], ids=["plain", "userns"])
def test_runtime_killed_at_every_step_leaves_the_id_free(lab: Lab, remapped: bool) -> None:
    """What if the runtime dies by kill -9 after step k? The next create clears up after it."""
    config = full(lab, remapped=remapped)
    name = f"lab-{os.getpid()}-killed"
    before = footprint(lab.root)
    last = next(i for i, step in enumerate(steps_of(lab, config)) if step.hands_over)
    for index in range(last):

        def die(at: int, _step: Step, _seconds: float, wanted: int = index) -> None:
            if at == wanted:
                os.kill(os.getpid(), signal.SIGKILL)

        pid = fork(partial(lab.create, lab.container(name), config, observe=die))
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
        container = lab.container(name)
        if index % 2 and index < last - 1:  # after save-state it exists, and is stopped
            lab.create(container, config)
            assert container.state().status == "created"
        container.delete(force=True)
        assert footprint(lab.root) == before, index


def trace_lines(each: Callable[[int], object]) -> None:
    """Call something with the number of every line of minirun that this process goes on to run."""
    number = count()

    def trace(frame: FrameType, event: str, _argument: object) -> Callable[..., Any] | None:
        if not frame.f_code.co_filename.startswith(OURS):
            return None
        if event == "line":
            each(next(number))
        return trace

    sys.settrace(trace)


def lines_of(act: Callable[[], object]) -> int:
    """Return how many lines of minirun an operation runs."""
    seen: list[int] = []
    trace_lines(seen.append)
    try:
        act()
    finally:
        sys.settrace(None)
    return len(seen)


def die_at(moment: int, act: Callable[[], object]) -> int:
    """Run an operation in a child that dies before its n-th line; return its exit code."""

    def doomed() -> None:
        runtime = os.getpid()

        def die(number: int) -> None:
            if number == moment and os.getpid() == runtime:  # and not a child of its own
                os.kill(runtime, signal.SIGKILL)

        trace_lines(die)
        act()

    return os.waitstatus_to_exitcode(os.waitpid(fork(doomed), 0)[1])


def test_create_killed_at_any_moment_leaves_the_id_free(lab: Lab) -> None:
    """What if it dies between two steps, or before the first: with a directory, without a group?"""
    config = full(lab, remapped=False)
    name = f"lab-{os.getpid()}-created"
    before = footprint(lab.root)
    total = lines_of(partial(lab.create, lab.container(name), config))
    lab.container(name).delete(force=True)
    for moment in range(0, total, -(-total // MOMENTS)):
        container = lab.container(name)
        assert die_at(moment, partial(lab.create, container, config)) == -signal.SIGKILL
        if (lab.root / name / "state.json").exists() and container.state().status == "created":
            container.delete()  # it had been done, but for telling the caller
        lab.create(container, config)
        assert container.state().status == "created"
        container.delete(force=True)
        assert footprint(lab.root) == before, moment


def test_start_killed_at_any_moment_happened_or_not(lab: Lab) -> None:
    """What if the caller dies in start? The container waits as before, or it runs."""
    config = lab.config("sleep", "1000")
    for _ in range(2):  # the lines of what the first one imports are not run again
        first = lab.container()
        lab.create(first, config)
        total = lines_of(first.start)
    before = footprint(lab.root)
    happened = []
    for moment in range(0, total, -(-total // MOMENTS)):
        container = lab.container()
        lab.create(container, config)
        assert die_at(moment, container.start) == -signal.SIGKILL
        happened.append(container.state().status)
        if happened[-1] == "created":
            container.start()
        assert container.state().status == "running"
        container.delete(force=True)
        assert footprint(lab.root) == before, moment
    assert happened == sorted(happened)  # at some line, and never back
    assert set(happened) == {"created", "running"}


@pytest.mark.parametrize("force", [False, True], ids=["stopped", "running"])
def test_delete_killed_at_any_moment_can_be_repeated(lab: Lab, force: bool) -> None:
    """What if the caller dies in delete? The next one does the rest, and the id is free."""
    config = lab.config("sleep", "1000")
    name = f"lab-{os.getpid()}-deleted"

    def made() -> Container:
        container = lab.container(name)
        lab.create(container, config)
        container.start()
        if not force:
            kill_hard(container.state().pid)
        return container

    before = footprint(lab.root)
    total = lines_of(partial(made().delete, force=force))
    for moment in range(0, total, -(-total // MOMENTS)):
        # As long as it waits for the dying it runs some lines again, now more, now fewer.
        assert die_at(moment, partial(made().delete, force=force)) in (-signal.SIGKILL, 0)
        lab.container(name).delete(force=True)
        assert footprint(lab.root) == before, moment
