"""CVE-2019-16884, CVE-2019-19921, CVE-2023-27561, CVE-2023-28642: a /proc that is none.

Mechanism: the runtime protects the container by writing to /proc: labels, sysctls. The image ships
/proc (or /sys) as a symbolic link, or a volume is mounted there, and the writes land in files that
look right and do nothing.

Defence: ``steps/mounts.py``: proc and sysfs are mounted on ordinary directories only;
``steps/covering.py``: nothing else may cover /proc or /sys, and next to nothing what is inside; and
``procfs.py``: the runtime itself writes through a procfs of its own. The canary is the domain name
of the container's own UTS namespace: where the write is fooled, it keeps the host's.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from minirun import inroot
from minirun.steps import mounts
from minirun.steps.base import Context
from minirun.steps.masks import SetSysctls, sysctl_path
from minirun.steps.mounts import MountFilesystem
from tests.security.lab import Bundle, attempt, become, put

pytestmark = pytest.mark.requires("root", "busybox")

ORDINARY = "must be mounted on ordinary directory"
KNOB = "sys/kernel/domainname"
READ = f"cat /proc/{KNOB}"


class FollowLinks(MountFilesystem):
    """Mount wherever the image's links lead, inside the root."""

    def _open_target(self, context: Context) -> int:
        return inroot.make_directory(context.rootfs_fd, self.destination)


class WriteByPath(SetSysctls):
    """Write to whatever is called /proc in the container."""

    def apply(self, context: Context) -> None:
        del context
        for name, value in self.values:
            Path("/proc", "sys", sysctl_path(name)).write_text(value)


def ask_for_domain(bundle: Bundle) -> None:
    bundle.config["linux"]["sysctl"] = {"kernel.domainname": "protected"}


def fake_proc(where: Path) -> Path:
    """Return a file that looks like the knob."""
    knob = where / KNOB
    knob.parent.mkdir(parents=True)
    knob.write_text("fake")
    return knob


def test_weak_runtime_is_fooled_by_a_volume(bundle: Bundle) -> None:
    knob = fake_proc(bundle.canary)
    bundle.without_mount("/proc")
    bundle.mount("//proc", bundle.canary)
    ask_for_domain(bundle)

    outcome = attempt(bundle, become(WriteByPath), put(mounts, "place", attach_anywhere))

    assert outcome.ran, outcome
    assert knob.read_text() == "protected"


def attach_anywhere(
    _context: Context, tree: int, target: int, _options: object, _destination: str
) -> None:
    inroot.attach(tree, target)
    os.close(tree)
    os.close(target)


@pytest.mark.parametrize("destination", ["/proc", "//proc", "/./proc/", "/proc/.", "/alias"])
def test_volume_at_proc_is_refused(bundle: Bundle, destination: str) -> None:
    knob = fake_proc(bundle.canary)
    (bundle.rootfs / "alias").symlink_to("proc")
    bundle.without_mount("/proc")
    bundle.mount(destination, bundle.canary)
    ask_for_domain(bundle)

    outcome = attempt(bundle)

    assert "this may not cover /proc" in outcome.error, outcome
    assert knob.read_text() == "fake"


@pytest.mark.parametrize("destination", ["/proc", "//proc", "/proc/.", "/alias", "/sys", "//sys"])
def test_tmpfs_at_proc_or_sys_is_refused(bundle: Bundle, destination: str) -> None:
    (bundle.rootfs / "alias").symlink_to("proc")
    bundle.without_mount("/proc")
    bundle.without_mount("/sys")
    bundle.mount(destination, "tmpfs", kind="tmpfs")

    outcome = attempt(bundle)

    assert "may not cover /" in outcome.error, outcome


def test_weak_runtime_mounts_through_a_link(bundle: Bundle) -> None:
    (bundle.rootfs / "proc").rmdir()
    (bundle.rootfs / "elsewhere").mkdir()
    (bundle.rootfs / "proc").symlink_to("elsewhere")
    bundle.script("ls /elsewhere")

    outcome = attempt(bundle, become(FollowLinks))

    assert "meminfo" in outcome.output, outcome


@pytest.mark.parametrize("name", ["proc", "sys"])
@pytest.mark.parametrize("target", ["bad", "/bad", "chain", "../../bad", "/", "missing"])
def test_link_at_proc_or_sys_is_refused(bundle: Bundle, name: str, target: str) -> None:
    (bundle.rootfs / name).rmdir()
    (bundle.rootfs / "bad").mkdir()
    (bundle.rootfs / "chain").symlink_to("bad")
    (bundle.rootfs / name).symlink_to(target)

    outcome = attempt(bundle)

    assert ORDINARY in outcome.error or target == "missing", outcome
    assert not outcome.ran
    assert not outcome.crash


@pytest.mark.parametrize(
    "inside", ["1/attr", "sys", "sys/kernel/domainname", "self/attr/exec", "./sys", "kcore"]
)
@pytest.mark.parametrize("source", ["canary", "/proc/version", "/proc/self/sched", "/proc/self"])
def test_nothing_is_covered_inside_proc(bundle: Bundle, inside: str, source: str) -> None:
    """A real file of procfs is no better: /proc/self/sched takes any write and forgets it."""
    bundle.mount(f"/proc/{inside}", bundle.canary if source == "canary" else source)

    outcome = attempt(bundle)

    assert not outcome.ran, outcome
    assert not outcome.crash, outcome


def test_lxcfs_may_cover_its_files(bundle: Bundle) -> None:
    """The other side of the rule: /proc/meminfo of the container's size is useful."""
    bundle.mount("/proc/meminfo", bundle.secret)
    bundle.script("cat /proc/meminfo")

    assert attempt(bundle).output == "the secret of the host\n"


def test_host_proc_may_be_shared(bundle: Bundle) -> None:
    """A container in the host's PID namespace gets the host's /proc, which is a real one."""
    bundle.without_mount("/proc")
    bundle.mount("/proc", "/proc", "ro")
    bundle.script("cat /proc/version")

    outcome = attempt(bundle)

    assert outcome.output.startswith("Linux"), outcome
