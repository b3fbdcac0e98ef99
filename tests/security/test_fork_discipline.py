"""P4: a forked child that wakes up as the parent.

Mechanism: fork(2) copies the whole interpreter: its stack, its ``finally`` blocks, its atexit
handlers, its buffered output. A child that leaves by an exception, or by sys.exit, runs all of that
a second time, in other namespaces: it deletes the parent's state, or answers its caller twice.

Defence: ``runner._spawn``: a child ends by execve or by ``os._exit`` in a ``finally``; the
collector is off in it (``runner._live``), so no finalizer closes a descriptor that means something
else now. A child that ends without a word is an error at once (``runner._let_child_act``).
"""

from __future__ import annotations

import atexit
import gc
import os
from pathlib import Path

import pytest

from minirun import runner
from minirun.plan import Plan
from minirun.steps.base import Context, Step
from minirun.sync import Channel
from tests.security.lab import IDENTITY_MAP, Bundle, Weakening, attempt, insert, put

pytestmark = pytest.mark.requires("root", "busybox")


class Fail(Step):
    """End this lane in a way that only a bug would."""

    id = "fail"

    kind: str

    def apply(self, context: Context) -> None:
        del context
        if self.kind == "exit":
            raise SystemExit(3)
        if self.kind == "interrupt":
            raise KeyboardInterrupt
        raise LookupError(self.kind)


class FailBetween(Fail):
    lane = "M"


class TellCollector(Step):
    id = "tell-collector"

    def apply(self, context: Context) -> None:
        fd = os.open("collector", os.O_WRONLY | os.O_CREAT, 0o644, dir_fd=context.rootfs_fd)
        os.write(fd, b"on" if gc.isenabled() else b"off")


def mark(file: Path) -> Weakening:
    """Leave a mark when the interpreter of this try, or a copy of it, tidies up."""

    def register() -> None:
        def write() -> None:
            with file.open("a") as out:
                out.write("tidied up\n")

        atexit.register(write)

    return register


def forgetful(plan: Plan, context: Context, lane: str, channel: Channel, *, observe: bool) -> int:
    """Fork without the ``finally``."""
    pid = os.fork()
    if pid == 0:
        if context.channel is not channel:
            runner._leave_the_caller(context, channel)
        try:
            runner._live(plan, context, lane, channel, observe=observe)
        except SystemExit:
            atexit._run_exitfuncs()  # what the interpreter does on its way out
            os._exit(1)
    return pid


@pytest.mark.parametrize("weak", [True, False])
@pytest.mark.parametrize("lane", ["M", "I"])
def test_child_does_not_tidy_up_for_its_parent(bundle: Bundle, lane: str, weak: bool) -> None:
    marks = bundle.path / "marks"
    step = FailBetween("exit") if lane == "M" else Fail("exit")
    place = "join-cgroup" if lane == "M" else "open-rootfs"
    if lane == "M":
        bundle.user_namespace(IDENTITY_MAP)  # nobody is in between where nothing is entered
    weakenings = [mark(marks), insert(step, after=place)]

    outcome = attempt(bundle, *weakenings, *([put(runner, "_spawn", forgetful)] if weak else []))

    assert not outcome.ran
    assert not outcome.crash, outcome
    assert marks.exists() == weak


@pytest.mark.parametrize("kind", ["exit", "interrupt", "bug"])
@pytest.mark.parametrize("place", ["open-rootfs", "pivot-root", "chdir"])
def test_failure_in_a_child_is_one_error_and_no_trace(
    bundle: Bundle, kind: str, place: str
) -> None:
    outcome = attempt(bundle, insert(Fail(kind), after=place))

    assert "failed" in outcome.error, outcome
    assert "Traceback" not in outcome.output + outcome.error
    assert not outcome.crash, outcome


def test_collector_is_off_in_the_container(bundle: Bundle) -> None:
    outcome = attempt(bundle, insert(TellCollector(), after="open-rootfs"))

    assert outcome.ran, outcome
    assert (bundle.rootfs / "collector").read_text() == "off"
