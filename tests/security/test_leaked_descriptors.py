"""P3: what the caller of the runtime has open ends up in the container.

Mechanism: Python closes its own descriptors on exec (PEP 446), but not those that it inherited, nor
those that raw system calls return. An engine that leaks ``/`` on descriptor 7 gives the container
the host. With ``CLONE_NEWPID`` shared, others could even take them from us.

Defence: ``runner._leave_the_caller`` closes what is not the container's in the first child, and
``steps/handoff.py``, CloseFds, once more and without exceptions before execve; every wrapper in
``kernel.py`` asks for close-on-exec.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from minirun.execute import ExecRequest, execute, process_like
from minirun.lifecycle import Container
from minirun.steps.base import Context
from minirun.steps.handoff import CloseFds
from tests.security.lab import Bundle, Weakening, attempt, become, keep_descriptor

pytestmark = pytest.mark.requires("root", "busybox")

LEAK = 7
LIST = f"for fd in /proc/self/fd/*; do readlink $fd; done; cat /proc/self/fd/{LEAK}/secret"


class LeaveOpen(CloseFds):
    """Close nothing: whoever opened it will have marked it, won't they."""

    def apply(self, context: Context) -> None:
        del context


def leak(bundle: Bundle) -> Callable[[], None]:
    def open_it() -> None:
        fd = os.open(bundle.canary, os.O_RDONLY | os.O_DIRECTORY)
        os.dup2(fd, LEAK, inheritable=True)
        for number in (40, 200):
            os.dup2(fd, number, inheritable=True)

    return open_it


def weak() -> list[Weakening]:
    return [keep_descriptor(LEAK), become(LeaveOpen)]


def test_weak_runtime_hands_them_on(bundle: Bundle) -> None:
    bundle.script(LIST)

    outcome = attempt(bundle, leak(bundle), *weak())

    assert "the secret of the host" in outcome.output, outcome


@pytest.mark.parametrize("half", [0, 1])
def test_either_sweep_is_enough(bundle: Bundle, half: int) -> None:
    bundle.script(LIST)

    outcome = attempt(bundle, leak(bundle), weak()[half])

    assert outcome.ran, outcome
    assert "the secret" not in outcome.output


def test_program_has_its_three_streams_and_nothing_else(bundle: Bundle) -> None:
    bundle.script("ls /proc/self/fd; ls -l /proc/1/fd")

    outcome = attempt(bundle, leak(bundle))
    listed, _, links = outcome.output.partition("total")

    assert listed.split() == ["0", "1", "2", "3"]  # 3 is how ls reads the directory
    assert links.count("->") == 3, links
    assert str(bundle.path) not in links


def test_preserved_ones_are_handed_on_and_no_more(bundle: Bundle) -> None:
    """--preserve-fds 1 means descriptor 3: not 7, not 40."""
    bundle.script("ls -l /proc/1/fd")

    def open_third() -> None:
        os.dup2(os.memfd_create("wanted"), 3, inheritable=True)

    outcome = attempt(bundle, leak(bundle), open_third, keep_fds=1)

    assert "memfd:wanted" in outcome.output, outcome
    assert outcome.output.count("->") == 4, outcome


def test_exec_has_the_same_defence(bundle: Bundle) -> None:
    bundle.script("sleep 20")

    def join(container: Container) -> None:
        words = ["/bin/sh", "-c", f"(ls -l /proc/self/fd; {LIST}) > /seen 2>&1"]
        process = process_like(container.directory.read_spec(), words)
        with open(os.devnull, "r+") as null:
            request = ExecRequest(stdio=(null.fileno(), null.fileno(), null.fileno()))
            os.waitpid(execute(container, process, request).pid, 0)
        container.kill(9)

    outcome = attempt(bundle, leak(bundle), during=join)
    seen = (bundle.rootfs / "seen").read_text()

    assert outcome.ran, outcome
    assert "the secret" not in seen
    assert "No such file" in seen
    assert str(bundle.canary) not in seen
