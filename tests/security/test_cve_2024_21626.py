"""CVE-2024-21626: a working directory on the host, through a descriptor that leaked.

Mechanism: runc had a directory of the host open while it prepared the container. ``process.cwd``
of ``/proc/self/fd/7`` made it the working directory, and ``../../..`` from there is the host's
root, though the container's root is elsewhere.

Defence, three times over: the first process that enters the container closes everything that the
caller left open (``runner._leave_the_caller``); after chdir the raw getcwd(2) must give a path that
starts with / (``steps/identity.py``, ChangeDirectory), because for a directory outside of the root
the kernel says ``(unreachable)``; and ``steps/handoff.py``, CloseFds, really closes before execve.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from minirun.execute import ExecRequest, execute, process_like
from minirun.lifecycle import Container
from minirun.steps.base import Context
from minirun.steps.identity import ChangeDirectory
from tests.security.lab import Bundle, Outcome, Weakening, attempt, become, keep_descriptor

pytestmark = pytest.mark.requires("root", "busybox")

LEAK = 7
OUTSIDE = "current working directory is outside of container"
LOOT = "cat secret; cat ../canary/secret"


class BelieveTheDirectory(ChangeDirectory):
    """Change directory as runc did: without asking where that is."""

    def apply(self, context: Context) -> None:
        del context
        os.chdir(self.cwd)


def leak(directory: Path) -> Weakening:
    """The caller, not we, left a directory of the host open for every child."""

    def open_it() -> None:
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        os.dup2(fd, LEAK, inheritable=True)

    return open_it


keep_leak = keep_descriptor(LEAK)
believe = become(BelieveTheDirectory)


def test_weak_runtime_gives_the_host_away(bundle: Bundle) -> None:
    bundle.config["process"]["cwd"] = f"/proc/self/fd/{LEAK}"
    bundle.script(LOOT)

    outcome = attempt(bundle, leak(bundle.canary), keep_leak, believe)

    assert "the secret of the host" in outcome.output, outcome


def test_getcwd_alone_refuses(bundle: Bundle) -> None:
    bundle.config["process"]["cwd"] = f"/proc/self/fd/{LEAK}"
    bundle.script(LOOT)

    outcome = attempt(bundle, leak(bundle.canary), keep_leak)

    assert OUTSIDE in outcome.error, outcome


def test_getcwd_refuses_what_the_caller_preserves(bundle: Bundle) -> None:
    """--preserve-fds hands the descriptor over on purpose; it is still no working directory."""
    bundle.config["process"]["cwd"] = f"/proc/self/fd/{LEAK}"
    bundle.script(LOOT)

    outcome = attempt(bundle, leak(bundle.canary), keep_fds=LEAK - 2)

    assert OUTSIDE in outcome.error, outcome


def test_closing_alone_refuses(bundle: Bundle) -> None:
    bundle.config["process"]["cwd"] = f"/proc/self/fd/{LEAK}"
    bundle.script(LOOT)

    outcome = attempt(bundle, leak(bundle.canary), believe)

    assert not outcome.ran, outcome
    assert "secret" not in outcome.output


@pytest.mark.parametrize("first", range(0, 64, 16))
def test_no_descriptor_is_a_working_directory(bundle: Bundle, first: int) -> None:
    """Our own descriptors count too; those that lead anywhere lead to the container's own root."""
    bundle.script("readlink /proc/self/cwd; " + LOOT)
    for number in range(first, first + 16):
        bundle.config["process"]["cwd"] = f"/proc/self/fd/{number}"
        outcome = attempt(bundle, leak(bundle.canary))
        inside = outcome.ran and outcome.output.startswith("/\n")
        refused = "chdir failed" in outcome.error or "make-workdir failed" in outcome.error
        assert inside or refused, (number, outcome)
        assert "the secret" not in outcome.output


def test_link_of_the_image_to_a_descriptor_is_refused(bundle: Bundle) -> None:
    (bundle.rootfs / "sneaky").symlink_to(f"/proc/self/fd/{LEAK}")
    bundle.config["process"]["cwd"] = "/sneaky"
    bundle.script(LOOT)

    outcome = attempt(bundle, leak(bundle.canary), keep_leak)

    assert OUTSIDE in outcome.error, outcome


@pytest.mark.parametrize("weak", [True, False])
def test_exec_has_the_same_defence(bundle: Bundle, weak: bool) -> None:
    bundle.script("sleep 20")

    def join(container: Container) -> None:
        process = process_like(
            container.directory.read_spec(), ["/bin/sh", "-c", LOOT], cwd=f"/proc/self/fd/{LEAK}"
        )
        out = os.open(bundle.path / "loot", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC)
        with open(os.devnull) as null:
            request = ExecRequest(stdio=(null.fileno(), out, out))
            try:
                os.waitpid(execute(container, process, request).pid, 0)
            finally:
                container.kill(9)

    weakenings = (keep_leak, believe) if weak else ()
    outcome: Outcome = attempt(bundle, leak(bundle.canary), *weakenings, during=join)

    assert ("secret" in (bundle.path / "loot").read_text()) == weak, outcome
    assert outcome.ran == weak, outcome
