"""CVE-2025-52881: what the runtime writes to /proc is redirected.

Mechanism: with a shared volume and a race, the file that the runtime opens below /proc becomes
another one: ``core_pattern`` or ``sysrq-trigger`` instead of ``attr/exec``. The text is the
attacker's, because it comes from the config.

Defence: ``procfs.py``: a detached procfs that nobody else can reach, walked without links, magic
links and mount points (openat2: BENEATH, NO_XDEV, NO_SYMLINKS, NO_MAGICLINKS), and fstatfs on what
was opened. The race is replayed as won: the volume covers the file when the runtime comes to it.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from minirun import kernel, procfs
from minirun.flags import Resolve
from minirun.steps import mounts
from minirun.validate import isolation
from tests.security.lab import Bundle, Weakening, attempt, put
from tests.security.test_fake_proc import attach_anywhere

pytestmark = pytest.mark.requires("root", "busybox")


def write_by_path(_proc_fd: int, path: str, text: str) -> None:
    """Write like runc before 1.4: to /proc/… of the container."""
    Path("/proc", path).write_text(text)


cover: Weakening = put(mounts, "place", attach_anywhere)


@pytest.fixture
def redirected(bundle: Bundle) -> Bundle:
    """Return a bundle whose volume covers the sysctl that will be written."""
    bundle.mount("/proc/sys/kernel/domainname", bundle.secret)
    bundle.config["linux"]["sysctl"] = {"kernel.domainname": "payload"}
    bundle.script("cat /proc/sys/kernel/domainname")
    return bundle


def test_weak_runtime_writes_where_it_is_led(redirected: Bundle) -> None:
    outcome = attempt(redirected, cover, put(procfs, "write", write_by_path))

    assert outcome.ran, outcome
    assert redirected.secret.read_text().startswith("payload")


def test_private_procfs_is_not_led(redirected: Bundle) -> None:
    outcome = attempt(redirected, cover)

    assert outcome.ran, outcome
    assert redirected.secret.read_text() == "the secret of the host\n"


def test_cover_is_refused_to_begin_with(redirected: Bundle) -> None:
    outcome = attempt(redirected)

    assert "is inside /proc and may not be covered" in outcome.error, outcome
    assert redirected.secret.read_text() == "the secret of the host\n"


CLIMBING = ["net/../kernel/domainname", "net.//.kernel.domainname", "net/./../kernel/domainname"]


@pytest.mark.parametrize("name", CLIMBING)
def test_sysctl_name_does_not_climb(bundle: Bundle, name: str) -> None:
    """The name is a path too: this one begins with net, and could have been core_pattern."""
    bundle.config["domainname"] = "untouched"
    bundle.config["linux"]["sysctl"] = {name: "payload"}
    bundle.script("cat /proc/sys/kernel/domainname")

    weak = attempt(bundle, put(isolation, "check_sysctl", believe), put(procfs, "write", climb))
    second = attempt(bundle, put(isolation, "check_sysctl", believe))
    default = attempt(bundle)

    assert "payload" in weak.output, weak
    assert "holds '..'" in second.error, second
    assert "not the name of a sysctl" in default.error, default


def believe(_name: str, _kinds: object) -> None:
    """Accept any name."""


def climb(proc_fd: int, path: str, text: str) -> None:
    """Walk beneath procfs, but up and down as the name says."""
    fd = kernel.openat2(proc_fd, path, os.O_WRONLY, 0, Resolve.RESOLVE_BENEATH)
    os.write(fd, text.encode())
    os.close(fd)
