"""Images that are pulled because somebody runs them or builds on them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from minirun.errors import ImageError
from minirun.image.model import ContainerConfig
from minirun.image.obtain import ALWAYS, NEVER, Obtain, obtain
from minirun.image.registry.push import push
from minirun.image.store import Image, Store
from minirun.record import replace

from .cli_lab import Cli, fresh
from .image_lab import PLAIN
from .registry_lab import registry

pytestmark = pytest.mark.requires("root", "overlay", "docker-registry")


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with registry(tmp_path_factory.mktemp("registry")) as running:
        yield running


@pytest.fixture(scope="module")
def cli() -> Iterator[Cli]:
    with fresh() as made:
        yield made


@pytest.fixture
def remote(host: str, cli: Cli, tmp_path: Path) -> Iterator[str]:
    """Yield the name of an image that only the registry has."""
    name = f"{host}/team/app:1"
    publish(Store(str(tmp_path / "author"), ""), cli.rootfs, name, "first")
    yield name
    cli("rmi", "-f", name, check=False)


def publish(author: Store, content: Path, name: str, said: str) -> Image:
    """Push an image that says something."""
    with author.write() as writer:
        config = replace(PLAIN, config=ContainerConfig(cmd=("/bin/echo", said)))
        image = writer.write_image(config, [writer.add_layer_from_dir(str(content))], [name])
    push(author, image, name)
    return image


def test_run_pulls_what_is_missing_and_then_only_when_told(
    cli: Cli, remote: str, tmp_path: Path
) -> None:
    run = ("run", "--rm", "--network", "none")
    assert remote in cli.fails(*run, "--pull", "never", remote)
    first = cli(*run, remote)
    assert first.out == "first\n"
    assert f"Unable to find image '{remote}' locally" in first.err
    publish(Store(str(tmp_path / "author"), ""), cli.rootfs, remote, "second")
    assert cli(*run, remote).err == ""
    assert cli(*run, remote).out == "first\n"
    assert cli(*run, "-q", "--pull=always", remote).out == "second\n"


def test_create_pulls_too(cli: Cli, remote: str) -> None:
    created = cli("create", "--network", "none", "-q", remote)
    assert cli("start", "-a", created.out.strip()).out == "first\n"
    cli("rm", created.out.strip())


def test_an_unknown_policy_is_refused(cli: Cli) -> None:
    said = cli.fails("run", "--pull", "sometimes", "app")
    assert "invalid pull policy 'sometimes'" in said
    assert "hint: one of: always, missing, never" in said


def test_without_a_default_registry_the_error_says_so(cli: Cli) -> None:
    said = cli.fails("run", "nowhere-to-be-found")
    assert "no such image: nowhere-to-be-found: the name has no registry" in said
    assert "hint: write it as HOST/NAME, or set default-registry" in said


def test_a_misspelt_name_is_corrected_rather_than_explained(remote: str, tmp_path: Path) -> None:
    store = Store(str(tmp_path / "mine"), "")
    obtain(store, remote)
    with pytest.raises(ImageError) as caught:
        obtain(store, remote.replace("/app", "/apt"))
    assert caught.value.hint == f"did you mean {remote}"


def test_an_image_without_a_build_for_this_platform_is_not_taken(
    remote: str, tmp_path: Path
) -> None:
    store = Store(str(tmp_path / "mine"), "")
    with pytest.raises(ImageError, match="is for linux/amd64, not for linux/s390x"):
        obtain(store, remote, Obtain(platform="linux/s390x"))
    assert store.images() == []


def test_an_id_is_never_asked_for(remote: str, tmp_path: Path) -> None:
    store = Store(str(tmp_path / "mine"), "")
    image = obtain(store, remote)
    for text in (image.id, image.id[7:], image.id[7:19]):
        assert obtain(store, text, Obtain(ALWAYS)).id == image.id


def test_never_names_the_command_that_would_pull(remote: str, tmp_path: Path) -> None:
    with pytest.raises(ImageError) as caught:
        obtain(Store(str(tmp_path / "mine"), ""), remote, Obtain(NEVER))
    assert caught.value.hint == f"minirun pull {remote}"


def test_build_pulls_its_base(cli: Cli, remote: str, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text(f"FROM {remote}\nRUN echo built > /built\n")
    assert "Dockerfile:1: no such image" in cli.fails("build", "--pull=never", str(tmp_path))
    image = cli("build", "-q", str(tmp_path)).out.strip()
    assert cli("run", "--rm", "--network", "none", image, "cat", "/built").out == "built\n"
