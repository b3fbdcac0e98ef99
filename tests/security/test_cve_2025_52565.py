"""CVE-2025-52565: /dev/pts/N is swapped before it becomes /dev/console.

Mechanism: the runtime opens a terminal, learns its number N, and binds ``/dev/pts/N`` of the
container over /dev/console. Where the image or a volume controls /dev/pts, that path is a link to
a file of the host, which thereby becomes /dev/console, readable and writable.

Defence: ``steps/devices.py``, OpenConsole: /dev/pts must be a devpts (fstatfs), the terminal is
opened through its master (TIOCGPTPEER) and never by name, and what is attached is that descriptor.
"""

from __future__ import annotations

import os

import pytest

from minirun import inroot, kernel
from minirun.flags import OpenTree
from minirun.steps.base import Context
from minirun.steps.devices import OpenConsole
from tests.security.lab import Bundle, attempt, become

pytestmark = pytest.mark.requires("root", "busybox")


class ConsoleByPath(OpenConsole):
    """As runc did: the name of the terminal, joined to the root."""

    def apply(self, context: Context) -> None:
        master, slave = os.openpty()
        name = os.ttyname(slave).rpartition("/")[2]
        root = os.readlink(f"/proc/self/fd/{context.rootfs_fd}")
        tree = kernel.open_tree(-100, f"{root}/dev/pts/{name}", OpenTree.OPEN_TREE_CLONE)
        inroot.attach(tree, inroot.make_file(context.rootfs_fd, "/dev/console"))
        context.fds["console"] = master


@pytest.mark.parametrize("weak", [True, False])
def test_console_is_a_terminal_and_nothing_else(bundle: Bundle, weak: bool) -> None:
    volume = bundle.path / "volume"
    volume.mkdir()
    for number in range(64):
        (volume / str(number)).symlink_to(bundle.secret)
    bundle.without_mount("/dev/pts")
    bundle.mount("/dev/pts", volume)
    bundle.config["process"]["terminal"] = True
    bundle.script("echo pwned > /dev/console")

    outcome = attempt(bundle, *([become(ConsoleByPath)] if weak else []))

    assert outcome.ran == weak, outcome
    assert (bundle.secret.read_text() == "pwned\n") == weak
    assert weak or "open-console failed" in outcome.error, outcome


def test_fake_multiplexer_is_refused(bundle: Bundle) -> None:
    """A ptmx that is the host's: its terminals would be the host's too."""
    volume = bundle.path / "volume"
    volume.mkdir()
    os.mknod(volume / "ptmx", 0o020666, os.makedev(5, 2))
    bundle.without_mount("/dev/pts")
    bundle.mount("/dev/pts", volume)
    bundle.config["process"]["terminal"] = True

    outcome = attempt(bundle)

    assert "open-console failed" in outcome.error, outcome
