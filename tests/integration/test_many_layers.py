"""More layers than have room in one page of mount data, which is all that mount(2) reads."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from minirun.errors import HostError
from minirun.image.model import ContainerConfig
from minirun.image.store import Store
from minirun.record import replace
from minirun.steps.base import Context
from minirun.steps.overlay import MountOverlay, Overlay

from .cli_lab import Cli, fresh
from .image_lab import PLAIN

pytestmark = pytest.mark.requires("root", "overlay", "cgroups", "busybox")

#: Docker makes and takes images of up to 127.
LAYERS = 127


@pytest.fixture
def cli() -> Iterator[Cli]:
    with fresh() as made:
        yield made


def test_an_image_of_as_many_layers_as_docker_s_runs(cli: Cli, tmp_path: Path) -> None:
    with Store(str(cli.data), default_registry="").write() as writer:
        layers = [writer.add_layer_from_dir(str(cli.rootfs))]
        for number in range(1, LAYERS):
            folder = tmp_path / str(number)
            folder.mkdir()
            (folder / "top").write_text(f"{number}\n")
            layers.append(writer.add_layer_from_dir(str(folder)))
        config = replace(PLAIN, config=ContainerConfig(cmd=("cat", "/top")))
        writer.write_image(config, layers, ["tall"])
    assert cli("run", "--name", "one", "--network=none", "tall").out == f"{LAYERS - 1}\n"
    assert cli("run", "--rm", "--read-only", "--network=none", "tall").out == f"{LAYERS - 1}\n"
    cli("commit", "one", "taller")
    assert cli("run", "--rm", "--network=none", "--userns=auto", "taller").out == f"{LAYERS - 1}\n"


def test_more_layers_than_any_mount_takes_are_refused(tmp_path: Path) -> None:
    paths = [tmp_path / f"{number:0>50}" for number in range(300)]
    for path in paths:
        path.mkdir()
    step = MountOverlay(Overlay(tuple(map(str, paths))), str(tmp_path))
    with pytest.raises(HostError, match="300 layers are more than one mount can have") as caught:
        step.apply(Context("x", "", ""))
    assert "--squash" in caught.value.hint
