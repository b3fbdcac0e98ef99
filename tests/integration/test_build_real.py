"""Dockerfiles of the kind that machine learning repositories have, built as they are.

Their bases are docker.io's, by name; a mirror on loopback has what stands in for them: the Python
of this host, and a small Debian made by mmdebstrap.
"""

from __future__ import annotations

import json
import subprocess
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from minirun.image.capture import capture_named
from minirun.image.model import ContainerConfig
from minirun.image.registry.push import push
from minirun.image.store import Store
from minirun.record import replace as changed

from .cli_lab import Cli, fresh
from .image_lab import PLAIN
from .registry_lab import registry

pytestmark = pytest.mark.requires("root", "overlay", "docker-registry")

FILES = Path(__file__).parent / "dockerfiles"
TOKEN = "hub-token-that-nobody-may-find"
_APP = "import sys, tinymodel\nprint(tinymodel.NAME, *sys.argv[1:])\n"
_TRAIN = """
import argparse, json, os, pathlib, tinymodel
parser = argparse.ArgumentParser()
parser.add_argument("--seed", type=int)
parser.add_argument("--out", type=pathlib.Path)
given = parser.parse_args()
given.out.parent.mkdir()
given.out.write_text(json.dumps({"seed": given.seed, "token": len(os.environ["HUB_TOKEN"])}))
"""


@pytest.fixture(scope="module")
def mirror(data_root: Path, memory_disk: Path) -> Iterator[str]:
    """Yield a registry that has what docker.io would have."""
    (memory_disk / "registry").mkdir()
    with registry(memory_disk / "registry") as host:
        store = Store(str(data_root), "")
        push(store, capture_named(store, "minirun/python:3.11"), f"{host}/library/python:3.11-slim")
        yield host


@pytest.fixture(scope="module")
def cli(mirror: str, memory_disk: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cli]:
    """Yield a command line whose docker.io is the mirror, and whose pip finds one package."""
    folder = tmp_path_factory.mktemp("host")
    settings = folder / "registries.json"
    settings.write_text(json.dumps({"registry-mirrors": [f"http://{mirror}"]}))
    make_wheel(folder)
    with fresh(memory_disk) as made:
        yield replace(
            made,
            extra={
                "MINIRUN_REGISTRIES": str(settings),
                "MINIRUN_DEFAULT_REGISTRY": "docker.io",
                "PIP_FIND_LINKS": str(folder),
                "PIP_NO_INDEX": "1",
                "HUB_TOKEN": TOKEN,
            },
        )


@pytest.fixture
def context(tmp_path: Path) -> Path:
    """Return a repository: a service, its training, its requirements."""
    (tmp_path / "app").mkdir()
    (tmp_path / "app/__main__.py").write_text(_APP)
    (tmp_path / "train.py").write_text(_TRAIN)
    (tmp_path / "requirements.txt").write_text("tinymodel==1.0\n")
    (tmp_path / ".dockerignore").write_text(".git\n**/__pycache__\n*.md\n")
    return tmp_path


def make_wheel(folder: Path) -> None:
    """Make a package of one line, as pip installs it."""
    about = "Metadata-Version: 2.1\nName: tinymodel\nVersion: 1.0\n"
    tags = "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    with zipfile.ZipFile(folder / "tinymodel-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("tinymodel.py", 'NAME = "tiny"\n')
        wheel.writestr("tinymodel-1.0.dist-info/METADATA", about)
        wheel.writestr("tinymodel-1.0.dist-info/WHEEL", tags)
        wheel.writestr("tinymodel-1.0.dist-info/RECORD", "")


def build(cli: Cli, context: Path, name: str, *words: str) -> str:
    """Build one of the Dockerfiles; return the image's id."""
    return cli(
        "build", "-q", "-f", str(FILES / f"{name}.Dockerfile"), *words, str(context)
    ).out.strip()


def run(cli: Cli, image: str, *words: str) -> str:
    """Run an image; return what it printed."""
    return cli("run", "--rm", "-q", "--network", "none", image, *words).out


def test_wheels_are_built_in_one_stage_and_installed_in_another(cli: Cli, context: Path) -> None:
    image = build(cli, context, "wheels")
    assert run(cli, image) == "tiny --port 8000\n"
    facts = json.loads(cli("image", "inspect", image).out)[0]["Config"]
    assert (facts["User"], list(facts["ExposedPorts"])) == ("1000:1000", ["8000/tcp"])
    assert facts["Healthcheck"]["Test"][0] == "CMD-SHELL"
    shell = ("run", "--rm", "-q", "--network", "none", "--entrypoint", "sh", image, "-c")
    assert cli(*shell, "ls -d /wheels || id -u").out == "1000\n"


def test_training_uses_a_token_that_is_found_nowhere(cli: Cli, context: Path) -> None:
    words = ("--secret", "id=hub_token,env=HUB_TOKEN", "--build-arg", "SEED=7")
    image = build(cli, context, "train", *words)
    assert run(cli, image) == "tiny 7\n"
    done = subprocess.run(["grep", "-rl", TOKEN, str(cli.data)], capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (1, b"")
    assert build(cli, context, "train", "--target", "test", *words) != image


def test_scripts_and_files_are_written_in_place(cli: Cli, context: Path) -> None:
    image = build(cli, context, "scripts")
    assert run(cli, image) == 'hello there, 3 models\ngreeting = "hello there"\n'
    settings = run(cli, image, "cat", "/app/settings.ini")
    assert settings.startswith("hello there, 3 models\n[app]\npath = /")


@pytest.mark.requires("mmdebstrap")
def test_packages_of_a_distribution_are_installed(
    cli: Cli, context: Path, mirror: str, debian: Path, memory_disk: Path
) -> None:
    store = Store(str(memory_disk / "author"), "")
    with store.write() as writer:
        layer = writer.add_layer_from_dir(str(debian), compress=False)
        config = changed(PLAIN, config=ContainerConfig(cmd=("bash",)))
        image = writer.write_image(config, [layer])
    push(store, image, f"{mirror}/library/debian:bookworm-slim")
    # What reaches the distribution's servers from here reaches them from the host's network.
    built = build(cli, context, "debian", "--network", "host")
    assert run(cli, built) == "app\napp\n"
    assert [found.name for found in (cli.data / "cachemounts").iterdir()]
