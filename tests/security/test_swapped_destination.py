"""CVE-2021-30465 and CVE-2024-45310: the mount's destination is swapped while it is being used.

Mechanism: two containers share a volume. While the runtime prepares the second, the first swaps a
directory of the volume for a symbolic link, again and again. The runtime checked that
``/volume/target`` is inside the root; a moment later the same path is the host's, and the mount, or
the directories that are made for it (mkdirall), end up there.

Defence: ``inroot.py``: a destination is walked once, by the kernel, with the container's root as
the root of the walk; directories are made one below the other's descriptor; the mount is attached
to the descriptor. There is no second walk for the racer to win.

The racer uses renameat2(2), RENAME_EXCHANGE: there is no instant without one or the other.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic

import pytest

from minirun import inroot
from minirun.errors import StepError
from minirun.steps.base import Context, Step
from minirun.steps.mounts import MountBind
from minirun.steps.trees import open_source
from tests.security.lab import Bundle, Outcome, Weakening, attempt, become, insert

pytestmark = pytest.mark.requires("root", "busybox")

RENAME_EXCHANGE = 2
AT_FDCWD = -100
SECONDS = 4.0
#: So many even where each takes long.
TRIES = 5
#: The weak runtime loses within a few dozen tries, on a busy machine within a few hundred.
PATIENCE_S = 60.0


@contextlib.contextmanager
def racer(first: Path, second: Path) -> Iterator[None]:
    """Exchange two names as fast as the machine can, until the block ends."""
    rename = ctypes.CDLL(None, use_errno=True).renameat2
    arguments = (AT_FDCWD, os.fsencode(first), AT_FDCWD, os.fsencode(second), RENAME_EXCHANGE)
    pid = os.fork()
    if pid == 0:
        try:
            deadline = monotonic() + 60
            while monotonic() < deadline:
                rename(*arguments)
        finally:
            os._exit(0)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def checked_path(context: Context, destination: str) -> str:
    """Return the path on the host, checked as runc did: it is inside, at this moment.

    Then let the racer have its turn before the path is used: how long a runtime takes between the
    two is a matter of luck, and the replay is about what happens without any.
    """
    root = os.readlink(f"/proc/self/fd/{context.rootfs_fd}")
    path = root + destination
    inside = (root, os.path.dirname(root) + "/volume")
    if not _comes_true(lambda: os.path.realpath(path).startswith(inside)):
        raise StepError("bind", "I", "outside")
    _comes_true(lambda: not os.path.realpath(path).startswith(inside))
    return path


def _comes_true(condition: Callable[[], bool]) -> bool:
    deadline = monotonic() + 0.5
    while monotonic() < deadline:
        if condition():
            return True
    return False


class AttachByPath(MountBind):
    """Check, then use: two walks."""

    def apply(self, context: Context) -> None:
        tree = open_source(self.source, self.options)
        path = checked_path(context, self.destination)
        with contextlib.suppress(OSError):
            os.makedirs(path, exist_ok=True)
        target = os.open(path, os.O_PATH)
        inroot.attach(tree, target)


class TellMounts(Step):
    """A witness: what is mounted outside of the root, before the host's tree is let go of?"""

    id = "tell-mounts"

    canary: str
    report: str

    def apply(self, context: Context) -> None:
        del context
        points = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
        if any(point.startswith(self.canary) for point in points):
            Path(self.report).write_text("mounted on the host's side")


def prepare(bundle: Bundle) -> Path:
    """Give the container a shared volume, and a mount inside of it; return the volume."""
    volume = bundle.path / "volume"
    (volume / "swapped").mkdir(parents=True)
    (volume / "link").symlink_to(bundle.canary)
    (bundle.path / "payload").mkdir()
    bundle.mount("/work", volume)
    bundle.mount("/work/swapped/deep/target", bundle.path / "payload")
    return volume


def race(
    bundle: Bundle, *weakenings: Weakening, seconds: float = SECONDS
) -> tuple[bool, list[Outcome]]:
    """Start containers against the racer until the canary is touched or patience ends.

    Returns:
        Whether something was mounted or made at the canary, and the outcome of each try.
    """
    volume = prepare(bundle)
    report = bundle.path / "report"
    watch = insert(TellMounts(str(bundle.canary), str(report)), before="pivot-root")
    before = sorted(os.listdir(bundle.canary))
    outcomes: list[Outcome] = []
    touched = False
    deadline = monotonic() + seconds
    with racer(volume / "swapped", volume / "link"):
        while not touched and (monotonic() < deadline or len(outcomes) < TRIES):
            outcomes.append(attempt(bundle, watch, *weakenings))
            touched = report.exists() or sorted(os.listdir(bundle.canary)) != before
    return touched, outcomes


def test_weak_check_holds_where_nobody_races(bundle: Bundle) -> None:
    """Without the racer the weak runtime is no fool: it is the race that it loses."""
    prepare(bundle)
    (bundle.path / "volume/swapped").rmdir()
    (bundle.path / "volume/swapped").symlink_to(bundle.canary)

    assert "outside" in attempt(bundle, become(AttachByPath)).error


def test_weak_runtime_mounts_on_the_host(bundle: Bundle) -> None:
    touched, outcomes = race(bundle, become(AttachByPath), seconds=PATIENCE_S)

    assert touched, outcomes[-1]


def test_destination_cannot_be_swapped(bundle: Bundle) -> None:
    touched, outcomes = race(bundle)

    assert not touched, outcomes[-1]
    assert not any(outcome.crash for outcome in outcomes)
    for outcome in outcomes:
        assert outcome.ran or "bind /work/swapped/deep/target failed" in outcome.error, outcome
