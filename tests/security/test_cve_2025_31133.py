"""CVE-2025-31133: /dev/null is not /dev/null when it is used to mask.

Mechanism: files are masked by binding the container's /dev/null over them. The container swaps
/dev/null for a link to ``/proc/sys/kernel/core_pattern``: now the masked path *is* that file, and
writable, because the read-only remount has happened.

Defence: ``steps/masks.py``, MaskPaths: the cover is an empty file of a detached, read-only tmpfs
of our own; nothing of the container is used. Only a path that does not exist is skipped. The canary
is the domain name of the container's own UTS namespace.
"""

from __future__ import annotations

import os

import pytest

from minirun import inroot, kernel
from minirun.flags import OpenTree
from minirun.steps.base import Context, Step
from minirun.steps.masks import MaskPaths
from tests.security.lab import Bundle, attempt, become, insert

pytestmark = pytest.mark.requires("root", "busybox")

MASKED = "/proc/timer_list"
ABUSE = f"echo pwned > {MASKED}; cat /proc/sys/kernel/domainname; wc -c < {MASKED}"


class MaskWithNull(MaskPaths):
    """As runc did: bind the container's /dev/null."""

    def apply(self, context: Context) -> None:
        for path in self.paths:
            flags = OpenTree.OPEN_TREE_CLONE
            tree = kernel.open_tree(-100, "/dev/null", flags)
            target = inroot.open_in_root(context.rootfs_fd, path)
            inroot.attach(tree, target)


class SwapNull(Step):
    """The race, won: what the container's other processes do at just the right moment."""

    id = "swap-null"

    def apply(self, context: Context) -> None:
        del context
        os.unlink("/dev/null")
        os.symlink("/proc/sys/kernel/domainname", "/dev/null")


@pytest.mark.parametrize("weak", [True, False])
def test_masked_path_is_no_way_to_a_knob(bundle: Bundle, weak: bool) -> None:
    bundle.config["linux"]["maskedPaths"] = [MASKED]
    bundle.config["domainname"] = "untouched"
    bundle.script(ABUSE)
    weakenings = [insert(SwapNull(), before="mask-paths")]

    outcome = attempt(bundle, *weakenings, *([become(MaskWithNull)] if weak else []))

    assert outcome.ran, outcome
    assert ("pwned" in outcome.output) == weak, outcome
    assert ("untouched" in outcome.output) != weak, outcome
    assert weak or "Read-only file system" in outcome.output, outcome


def test_null_of_the_image_must_be_null(bundle: Bundle) -> None:
    """Without a /dev of our own, the image's node is looked at before it is trusted."""
    bundle.without_mount("/dev")
    bundle.without_mount("/dev/pts")
    (bundle.rootfs / "dev/null").symlink_to("/proc/sys/kernel/domainname")

    outcome = attempt(bundle)

    assert "/dev/null exists and is something else" in outcome.error, outcome


@pytest.mark.parametrize(("path", "ran"), [("/proc/missing", True), ("/loop/x", False)])
def test_only_what_does_not_exist_is_skipped(bundle: Bundle, path: str, ran: bool) -> None:
    (bundle.rootfs / "loop").symlink_to("loop")
    bundle.config["linux"]["maskedPaths"] = [path]

    outcome = attempt(bundle)

    assert outcome.ran == ran, outcome
