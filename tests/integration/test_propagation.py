"""Mounts that travel: between a volume and the host as the bind says, and no further."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from minirun import kernel
from minirun.flags import Clone, Mount, Umount
from tests.integration.oci_lab import Runtime

pytestmark = pytest.mark.requires("root", "busybox", "cgroups")


@pytest.fixture
def volume(tmp_path: Path) -> Iterator[Path]:
    """Return a directory of the host whose mounts are shared with whoever shares it."""
    folder = tmp_path / "volume"
    folder.mkdir()
    kernel.mount("none", str(folder), "tmpfs", Mount(0), None)
    kernel.mount(None, str(folder), None, Mount.MS_SHARED, None)
    for name in ("in", "out"):
        (folder / name).mkdir()
    yield folder
    kernel.umount2(str(folder), Umount.MNT_DETACH)


def create(oci: Runtime, volume: Path, bind: str, root: str) -> int:
    """Create a container with the volume at /mnt; return its pid."""
    oci.config(args=["sleep", "1000"])
    path = oci.bundle / "config.json"
    config = json.loads(path.read_text())
    config["mounts"].append(
        {"destination": "/mnt", "source": str(volume), "options": ["rbind", bind]}
    )
    config["linux"]["rootfsPropagation"] = root
    path.write_text(json.dumps(config))
    oci.create("web")
    oci.quiet("start", "web")
    return oci.pid("web")


def mounted(pid: int | str) -> dict[str, str]:
    """Return {mount point: what it shares, and with whom it is a slave}."""
    lines = Path(f"/proc/{pid}/mountinfo").read_text().splitlines()
    return {line.split()[4]: " ".join(line.partition(" - ")[0].split()[6:]) for line in lines}


def inside(pid: int, act: Callable[[], None]) -> None:
    """Do something in the mount namespace of a container."""
    child = os.fork()
    if child == 0:
        try:
            kernel.setns(os.open(f"/proc/{pid}/ns/mnt", os.O_RDONLY), Clone.CLONE_NEWNS)
            act()
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitpid(child, 0)[1] == 0


@pytest.mark.parametrize(
    ("bind", "root", "up", "down"),
    [
        ("rshared", "shared", True, True),
        ("rslave", "rslave", False, True),
        ("rprivate", "rprivate", False, False),
        ("rprivate", "shared", False, False),
    ],
)
def test_mounts_travel_as_the_bind_says(
    oci: Runtime, volume: Path, bind: str, root: str, up: bool, down: bool
) -> None:
    pid = create(oci, volume, bind, root)
    inside(pid, lambda: kernel.mount("none", "/mnt/in", "tmpfs", Mount(0), None))
    assert "/mnt/in" in mounted(pid)
    assert (f"{volume}/in" in mounted("self")) == up
    kernel.mount("none", f"{volume}/out", "tmpfs", Mount(0), None)
    assert ("/mnt/out" in mounted(pid)) == down


@pytest.mark.parametrize(
    ("root", "told"), [("shared", "shared:"), ("private", ""), ("slave", ""), ("unbindable", "unb")]
)
def test_root_propagates_as_it_is_told(oci: Runtime, volume: Path, root: str, told: str) -> None:
    """And never with a mount of the host: what it shares, it shares with its own alone."""
    pid = create(oci, volume, "rprivate", root)
    found = mounted(pid)["/"]
    assert found.startswith(told)
    assert bool(found) == bool(told)
    assert "master:" not in found
    assert not found or found not in mounted("self").values()
