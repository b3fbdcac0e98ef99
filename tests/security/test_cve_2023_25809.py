"""CVE-2023-25809: without a cgroup namespace the host's groups are the container's to write.

Mechanism: where a cgroup tree could not be mounted afresh, runc bound the host's whole /sys, and
/sys/fs/cgroup with it: a user's container could write to all groups of that user.

Defence: the mount of type cgroup shows the container's own groups and nothing above or beside them,
with a namespace or without, and it covers whatever a bind of /sys has brought.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.features import cgroup1_mount, cgroup2_mount
from tests.security.lab import Bundle, Weakening, attempt, leave_out

pytestmark = pytest.mark.requires("root", "busybox", "cgroups")


def escaped(bundle: Bundle, *weakenings: Weakening) -> bool:
    """Try to make a group beside the container's own; return whether it was made on the host."""
    tree = cgroup2_mount() or cgroup1_mount("pids")
    assert tree is not None
    (tree / "minirun").mkdir(exist_ok=True)
    group = tree / "minirun" / f"escape-{os.getpid()}"
    bundle.without_mount("/sys")
    bundle.mount("/sys", "/sys")
    bundle.mount("/sys/fs/cgroup", "cgroup", "nosuid", "noexec", "nodev", kind="cgroup")
    # By its full name, as on the host, and as it would be called in a tree that begins higher up.
    inside = Path("/sys/fs/cgroup") / group.relative_to("/sys/fs/cgroup")
    bundle.script(f"mkdir {inside} || mkdir /sys/fs/cgroup/*/{group.name}; true")
    outcome = attempt(bundle, *weakenings)
    assert outcome.ran, outcome
    if made := group.is_dir():
        group.rmdir()
    return made


def test_weak_runtime_shows_the_hosts_groups(bundle: Bundle) -> None:
    assert escaped(bundle, leave_out("mount-cgroup"))


def test_container_makes_no_group_beside_its_own(bundle: Bundle) -> None:
    assert not escaped(bundle)
