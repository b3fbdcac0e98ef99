"""CVE-2026-41579: the image ships /dev as a link, and the runtime tidies up on the host.

Mechanism: the runtime makes its nodes and links in ``rootfs/dev``, and removes an old ``ptmx``
there first. With ``/dev`` a symbolic link, absolute or climbing, that happens in a directory of
the host.

Defence: ``steps/devices.py``: /dev is opened once inside the root, and every mknodat, symlinkat and
unlinkat is relative to that descriptor.
"""

from __future__ import annotations

import os

import pytest

from minirun.steps.base import Context
from minirun.steps.devices import MakeDevices
from tests.security.lab import Bundle, attempt, become

pytestmark = pytest.mark.requires("root", "busybox")


class DevicesByPath(MakeDevices):
    """Join strings, as the unfixed runtimes did."""

    def apply(self, context: Context) -> None:
        dev = os.readlink(f"/proc/self/fd/{context.rootfs_fd}") + "/dev"
        if os.path.lexists(f"{dev}/ptmx"):
            os.unlink(f"{dev}/ptmx")
        os.symlink("pts/ptmx", f"{dev}/ptmx")


@pytest.mark.parametrize("weak", [True, False])
@pytest.mark.parametrize("kind", ["absolute", "climbing", "chain"])
def test_dev_of_the_image_does_not_lead_out(bundle: Bundle, kind: str, weak: bool) -> None:
    (bundle.canary / "ptmx").write_text("of the host\n")
    (bundle.canary / "pts").mkdir()
    before = sorted(os.listdir(bundle.canary))
    link = {"absolute": str(bundle.canary), "climbing": "../canary", "chain": "hop"}[kind]
    (bundle.rootfs / "hop").symlink_to("../canary")
    (bundle.rootfs / "dev").rmdir()
    (bundle.rootfs / "dev").symlink_to(link)
    for place in ("/dev", "/dev/pts"):
        bundle.without_mount(place)

    outcome = attempt(bundle, *([become(DevicesByPath)] if weak else []))

    assert outcome.ran == weak, outcome
    assert not outcome.crash, outcome
    assert (bundle.canary / "ptmx").is_symlink() == weak
    assert sorted(os.listdir(bundle.canary)) == before
