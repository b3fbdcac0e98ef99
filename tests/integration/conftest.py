"""Containers by way of the engine, below the test run's own folders."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from minirun import kernel
from minirun.engine.home import Home
from minirun.flags import Mount, Umount
from tests.integration.engine_lab import Engine, make_rootfs
from tests.integration.lifecycle_lab import Lab
from tests.integration.oci_lab import Runtime, make_bundle


@pytest.fixture(scope="session")
def engine_rootfs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a root file system of busybox that tests share."""
    return make_rootfs(tmp_path_factory.mktemp("engine") / "rootfs")


@pytest.fixture
def engine(engine_rootfs: Path, data_root: Path, state_root: Path) -> Iterator[Engine]:
    """Return an engine; what the test made with it is taken away afterwards."""
    made = Engine(Home(str(data_root), str(state_root)), engine_rootfs)
    yield made
    made.close()


@pytest.fixture
def lab(engine_rootfs: Path, state_root: Path, data_root: Path, tmp_path: Path) -> Iterator[Lab]:
    """Return what makes containers without an engine, and takes them away."""
    made = Lab(state_root, engine_rootfs, tmp_path)
    yield made
    made.close()


@pytest.fixture(scope="session")
def oci_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a bundle that tests of the OCI command share; each writes its own config.json."""
    return make_bundle(tmp_path_factory.mktemp("oci"))


@pytest.fixture
def oci(oci_bundle: Path, tmp_path: Path) -> Iterator[Runtime]:
    """Return the OCI command with a state root of its own."""
    runtime = Runtime(tmp_path / "state", oci_bundle)
    runtime.config(args=["true"])
    yield runtime
    runtime.delete_all()


@pytest.fixture(scope="session")
def memory_disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return a folder in memory: a disk takes a minute over a distribution's 10,000 files."""
    folder = tmp_path_factory.mktemp("memory")
    kernel.mount("none", str(folder), "tmpfs", Mount(0), "size=4g,mode=755")
    yield folder
    kernel.umount2(str(folder), Umount.MNT_DETACH)


@pytest.fixture(scope="session")
def debian(memory_disk: Path) -> Path:
    """Return the root file system of a small Debian with nginx. Asks for mmdebstrap."""
    rootfs = memory_disk / "debian"
    words = ["mmdebstrap", "--quiet", "--variant=minbase", "--include=nginx-light", "bookworm"]
    subprocess.run([*words, str(rootfs)], check=True, capture_output=True, timeout=280)
    return rootfs
