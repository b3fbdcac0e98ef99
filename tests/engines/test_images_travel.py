"""Images built here run under docker and podman; those of docker, podman and buildah run here."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engines.lab import Engine, parent, scratch
from tests.integration.cli_lab import Cli, fresh

pytestmark = pytest.mark.requires("root", "overlay", "cgroups", "busybox")

RULES = """
FROM start:1
ENV WHO=world
WORKDIR /srv/deep
RUN echo made > file; chmod 4751 file; mkdir /gone; echo x > /gone/x
RUN rm -r /gone; ln -s file link; chmod 755 file
USER 5:6
ENTRYPOINT ["/bin/sh", "-c"]
CMD ["echo $WHO $PWD $(id -u):$(id -g) $(cat link) $(ls -d /gone 2>&1)"]
"""
SAID = "world /srv/deep 5:6 made ls: /gone: No such file or directory\n"


@pytest.fixture(scope="module")
def cli() -> Iterator[Cli]:
    with fresh() as made:
        subprocess.run(
            ["tar", "-C", made.rootfs, "-cf", made.root.parent / "r.tar", "."], check=True
        )
        made("import", str(made.root.parent / "r.tar"), "start:1")
        yield made


@pytest.fixture(scope="module")
def context(cli: Cli) -> Path:
    folder = cli.root.parent / "context"
    folder.mkdir()
    (folder / "Dockerfile").write_text(RULES)
    return folder


@pytest.fixture(scope="module")
def start(cli: Cli) -> str:
    """Return the base image as an archive."""
    path = str(cli.root.parent / "start.tar")
    cli("save", "-o", path, "start:1")
    return path


@pytest.fixture(scope="module")
def built(cli: Cli, context: Path) -> str:
    """Return an image that was built here, as an archive."""
    cli("build", "-q", "--network=none", "-t", "built:1", str(context))
    assert cli("run", "--rm", "--network=none", "built:1").out == SAID
    path = str(cli.root.parent / "built.tar")
    cli("save", "-o", path, "built:1")
    return path


def runs_here(cli: Cli, archive: Path) -> bool:
    """Load an archive of an engine and run its image."""
    name = cli("load", "-i", str(archive)).out.split()[-1]
    return cli("run", "--rm", "--network=none", name).out == SAID


@pytest.mark.requires("docker")
def test_docker(
    cli: Cli, docker: Engine, built: str, start: str, context: Path, tmp_path: Path
) -> None:
    docker.out("load", "-q", "-i", built)
    assert docker.out("run", "--rm", "--network=none", "built:1") == SAID
    docker.out("load", "-q", "-i", start)
    docker.out("build", "-q", "--network=none", "-t", "theirs:1", str(context))
    docker.out("save", "-o", str(tmp_path / "docker.tar"), "theirs:1")
    assert runs_here(cli, tmp_path / "docker.tar")


@pytest.mark.requires("podman", "runc")
def test_podman(
    cli: Cli, podman: Engine, built: str, start: str, context: Path, tmp_path: Path
) -> None:
    podman.out("load", "-q", "-i", built)
    words = ("run", "--rm", "--network=none", f"--cgroup-parent={parent('podman')}")
    assert podman.out("--runtime=runc", *words, "localhost/built:1") == SAID
    podman.out("load", "-q", "-i", start)
    podman.out("build", "-q", "--isolation=chroot", "--pull=never", "-t", "theirs:1", str(context))
    for kind in ("docker-archive", "oci-archive"):
        podman.out("save", "-q", "--format", kind, "-o", str(tmp_path / kind), "localhost/theirs:1")
        assert runs_here(cli, tmp_path / kind)


@pytest.mark.requires("buildah")
def test_buildah(cli: Cli, start: str, context: Path, tmp_path: Path) -> None:
    with scratch("buildah") as folder:
        places = ["--root", str(folder / "graph"), "--runroot", str(folder / "run")]
        argv = ["buildah", *places, "--storage-driver", "vfs"]
        buildah = Engine(folder, argv, {"BUILDAH_ISOLATION": "chroot"})
        try:
            base = buildah.out("pull", "-q", f"docker-archive:{start}").strip()
            buildah.out("tag", base, "localhost/start:1")
            buildah.out("bud", "-q", "--pull-never", "-t", "theirs:1", str(context))
            target = f"oci-archive:{tmp_path / 'buildah.tar'}:theirs:1"
            buildah.out("push", "-q", "localhost/theirs:1", target)
            assert runs_here(cli, tmp_path / "buildah.tar")
        finally:
            buildah.run("rmi", "--all", "--force")
            buildah.close()
