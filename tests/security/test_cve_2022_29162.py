"""CVE-2022-29162 (and CVE-2022-24769, CVE-2022-27650): inheritable capabilities nobody asked for.

Mechanism: runtimes filled the inheritable set as they filled the others. A file in the image with
inheritable file capabilities then gives them to a user who is not root: P'(permitted) is
P(inheritable) & F(inheritable). See: capabilities(7).

Defence: only what the config lists becomes inheritable (``steps/identity.py``), and ``exec --cap``
never adds to that set (``execute.process_like``).
"""

from __future__ import annotations

import os
import struct

import pytest

from minirun.execute import execute, process_like
from minirun.lifecycle import Container
from minirun.record import replace
from minirun.spec import User
from minirun.steps.base import Context
from minirun.steps.identity import SetIdentity
from tests.security.lab import Bundle, attempt, become

pytestmark = pytest.mark.requires("root", "busybox")

CAP_NET_RAW = 13
STATUS = "grep -E 'CapInh|CapPrm|CapEff' /proc/self/status"


class FillInheritable(SetIdentity):
    """What the runtimes did."""

    def apply(self, context: Context) -> None:
        assert self.capabilities is not None
        held = replace(self.capabilities, inheritable=self.capabilities.permitted)
        SetIdentity(self.user, held, self.last_capability, self.setgroups).apply(context)


def sets(output: str) -> dict[str, int]:
    """Return {"CapInh": mask, …} of what /proc/self/status said."""
    return {line.split(":")[0]: int(line.split()[1], 16) for line in output.splitlines()}


@pytest.mark.parametrize("weak", [True, False])
def test_file_with_inheritable_capabilities_gives_none(bundle: Bundle, weak: bool) -> None:
    # struct vfs_ns_cap_data, revision 2 with the effective bit: capability CAP_NET_RAW=ei
    granted = struct.pack("<5I", 0x02000001, 0, 1 << CAP_NET_RAW, 0, 0)
    os.setxattr(bundle.rootfs / "bin/busybox", "security.capability", granted)
    bundle.config["process"]["user"] = {"uid": 1000, "gid": 1000}
    bundle.config["process"]["noNewPrivileges"] = False
    bundle.run("/bin/busybox", "grep", "-E", "CapInh|CapPrm|CapEff", "/proc/self/status")

    outcome = attempt(bundle, *([become(FillInheritable)] if weak else []))

    assert outcome.ran, outcome
    assert bool(sets(outcome.output)["CapPrm"] >> CAP_NET_RAW & 1) == weak, outcome
    assert bool(sets(outcome.output)["CapInh"]) == weak, outcome


def test_exec_adds_nothing_inheritable(bundle: Bundle) -> None:
    bundle.script("sleep 20")

    def join(container: Container) -> None:
        process = process_like(
            container.directory.read_spec(),
            ["/bin/sh", "-c", f"{STATUS} > /status"],
            user=User(0, 0),
            capabilities=["CAP_SYS_PTRACE", "CAP_NET_RAW"],
        )
        os.waitpid(execute(container, process).pid, 0)
        container.kill(9)

    outcome = attempt(bundle, during=join)
    found = sets((bundle.rootfs / "status").read_text())

    assert outcome.ran, outcome
    assert found["CapInh"] == 0
    assert found["CapEff"] >> 19 & 1  # CAP_SYS_PTRACE: it was added, but not there
