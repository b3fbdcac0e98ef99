"""CVE-2018-15664: a path of the container is swapped while ``cp`` copies.

Mechanism: docker resolved the path inside the container's root, found it harmless, and then opened
it by its name on the host. In between the container exchanged a directory for a link to the host.

Defence: ``minirun/engine/copy.py``: both sides are directory descriptors, and the kernel walks each
path from there with that directory as the root (openat2, RESOLVE_IN_ROOT). The host's files are not
below it, whatever a link says.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic

import pytest

from minirun.engine import copy
from minirun.errors import MinirunError
from tests.security.test_swapped_destination import racer

pytestmark = pytest.mark.requires("root")

SECONDS = 1.5
PATIENCE_S = 60.0
SECRET = "the secret of the host\n"


class Stage:
    """A container's root with a directory that keeps turning into a link to the host's canary."""

    def __init__(self, top: Path) -> None:
        self.root, self.canary = top / "rootfs", top / "canary"
        self.out, self.enemy = top / "out", top / "enemy"
        for folder in (self.root / "work/swapped", self.canary):
            folder.mkdir(parents=True)
        (self.root / "work/swapped/file").write_text("the container's\n")
        (self.root / "work/link").symlink_to(self.canary)
        (self.canary / "file").write_text(SECRET)
        self.enemy.write_text("the enemy's\n")
        self.fd = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY)

    def checked(self, path: str) -> str:
        """Resolve as docker did: at this moment it is inside; then let the racer have its turn."""
        whole = f"{self.root}{path}"
        deadline = monotonic() + 0.5
        while not os.path.realpath(whole).startswith(str(self.root)) and monotonic() < deadline:
            continue
        while os.path.realpath(whole).startswith(str(self.root)) and monotonic() < deadline:
            continue
        return whole

    def weak_out(self) -> None:
        shutil.copyfile(self.checked("/work/swapped/file"), self.out)

    def weak_into(self) -> None:
        shutil.copyfile(self.enemy, self.checked("/work/swapped/file"))

    def out_of(self) -> None:
        target = str(self.out)
        copy.out_of(self.fd, "/work/swapped/file", target, follow=False, owners=False, seen=bool)

    def into(self) -> None:
        copy.into(
            str(self.enemy), self.fd, "/work/swapped/file", follow=False, owners=False, seen=bool
        )

    @property
    def lost(self) -> bool:
        """Whether the host's file was read or written."""
        stolen = self.out.exists() and self.out.read_text() == SECRET
        return stolen or (self.canary / "file").read_text() != SECRET


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    made = Stage(tmp_path)
    yield made
    os.close(made.fd)


def race(stage: Stage, act: Callable[[], None], seconds: float) -> int:
    """Copy against the racer until the host has lost or time is over; return how often."""
    tries = 0
    deadline = monotonic() + seconds
    with racer(stage.root / "work/swapped", stage.root / "work/link"):
        while not stage.lost and (monotonic() < deadline or tries < 20):
            with contextlib.suppress(MinirunError, OSError):
                act()
            tries += 1
    return tries


def test_weak_copy_gives_the_hosts_file_away(stage: Stage) -> None:
    race(stage, stage.weak_out, PATIENCE_S)
    assert stage.out.read_text() == SECRET


def test_weak_copy_overwrites_the_hosts_file(stage: Stage) -> None:
    race(stage, stage.weak_into, PATIENCE_S)
    assert (stage.canary / "file").read_text() == "the enemy's\n"


def test_copy_out_reads_the_container_alone(stage: Stage) -> None:
    stage.out_of()  # nobody races yet
    assert stage.out.read_text() == "the container's\n"
    assert race(stage, stage.out_of, SECONDS) >= 20
    assert not stage.lost


def test_copy_in_writes_the_container_alone(stage: Stage) -> None:
    stage.into()  # nobody races yet
    assert (stage.root / "work/swapped/file").read_text() == "the enemy's\n"
    assert race(stage, stage.into, SECONDS) >= 20
    assert not stage.lost
