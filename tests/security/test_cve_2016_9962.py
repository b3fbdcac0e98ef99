"""CVE-2016-9962: the container looks into the process that is on its way in.

Mechanism: ``exec`` joins the container's namespaces while it still holds descriptors of the host.
For that moment it is a process like any other inside, and the container's root may ptrace it or
walk through its /proc/PID/fd.

Defence: ``steps/joining.py``, HideFromContainer: not dumpable before the first setns(2), and
``runner._leave_the_caller``: there is hardly anything to find.

The replay needs no luck: a step that is only in the test holds the window open until the container
has looked.
"""

from __future__ import annotations

import os

import pytest

from minirun.execute import execute, process_like
from minirun.lifecycle import Container
from minirun.steps.base import Context, Step
from minirun.steps.joining import HideFromContainer
from minirun.steps.namespaces import NewSession
from tests.security.lab import IDENTITY_MAP, Bundle, attempt, become, insert

pytestmark = pytest.mark.requires("root", "busybox", "userns")

#: The container's own program: told of a process, it takes what it can see, and says so.
LOOK = "read pid < /who; ls -l /proc/$pid/fd; cat /proc/$pid/fd/*/secret; echo > /seen; sleep 20"


class HoldHostDirectory(Step):
    """What runc did: a directory of the host is open when the namespaces are joined."""

    lane = "M"
    id = "hold-host-directory"

    path: str

    def apply(self, context: Context) -> None:
        context.fds["host"] = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)


class Linger(Step):
    """Tell the container our pid, and wait until it has looked."""

    id = "linger"

    def apply(self, context: Context) -> None:
        who = os.open("who", os.O_WRONLY, dir_fd=context.rootfs_fd)
        os.write(who, b"%d\n" % os.getpid())
        os.close(who)
        seen = os.open("seen", os.O_RDONLY, dir_fd=context.rootfs_fd)
        os.read(seen, 1)
        os.close(seen)


class StayVisible(HideFromContainer):
    def apply(self, context: Context) -> None:
        del context


class OnlyNewSession(NewSession):
    def apply(self, context: Context) -> None:
        del context
        os.setsid()


@pytest.mark.parametrize("weak", [True, False])
def test_container_looks_into_exec(bundle: Bundle, weak: bool) -> None:
    for name in ("who", "seen"):
        os.mkfifo(bundle.rootfs / name, 0o666)
    bundle.user_namespace(IDENTITY_MAP)
    del bundle.config["process"]["capabilities"]  # root of its user namespace, with everything
    bundle.without_mount("/sys")
    bundle.script(LOOK)
    weakenings = [
        insert(HoldHostDirectory(str(bundle.canary)), after="hide-from-container"),
        insert(Linger(), after="new-session"),
    ]
    if weak:
        weakenings += [become(StayVisible), become(OnlyNewSession)]

    def join(container: Container) -> None:
        for weaken in weakenings:
            weaken()
        process = process_like(container.directory.read_spec(), ["true"])
        os.waitpid(execute(container, process).pid, 0)
        container.kill(9)

    outcome = attempt(bundle, during=join)

    assert ("the secret of the host" in outcome.output) == weak, outcome
    assert ("Permission denied" in outcome.output) != weak, outcome
