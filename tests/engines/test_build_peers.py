"""The same Dockerfiles built here, by docker's classic builder and by buildah: file by file."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from minirun.decode import encode
from minirun.image import archive
from minirun.image.build import build_to
from minirun.image.build_export import Output
from minirun.image.build_options import Options
from minirun.image.build_secrets import Secret
from tests.engines.lab import Engine, scratch
from tests.integration.build_lab import Workshop

pytestmark = pytest.mark.requires("root", "overlay")

#: What an engine puts into every container, and is no part of the image.
_ENGINES_OWN = ("dev", "proc", "sys", ".dockerenv", "etc/hosts", "etc/hostname", "etc/resolv.conf",
                "etc/mtab", "run/.containerenv")  # fmt: skip

BOTH = {
    "the rules for targets": """
        FROM base
        WORKDIR /w
        COPY f /new
        COPY f /tmp
        COPY f deep/er/
        COPY d /d
        COPY d/sub /d/again
        COPY b* many/
        COPY ["f", "name with space"]
        COPY . /all/
        ADD pack.tar.gz /opt/
        ADD pack.tar.gz f /both/
        COPY pack.tar.gz /kept
        """,
    "variables and configuration": """
        ARG TAG=base
        FROM $TAG
        ARG COLOUR=red
        ENV A=1 B="two words" PATH=/own:$PATH
        ENV C=${A}x${MISSING:-none} D=$COLOUR
        LABEL one=1 "two three"=4 five=$C
        EXPOSE 80 53/udp
        VOLUME ["/data", "/x y"]
        WORKDIR /srv/$A
        WORKDIR relative
        USER nobody
        STOPSIGNAL SIGINT
        HEALTHCHECK --interval=5s --retries=2 CMD test -e /
        ONBUILD RUN echo later
        ENTRYPOINT ["/bin/sh", "-c"]
        CMD echo "$A"
        """,
}
#: What docker's classic builder lacks, or BuildKit decided otherwise: whom new folders belong to.
BUILDAH = {
    "deleting and replacing": """
        FROM base
        RUN mkdir -p /a/b; echo 1 > /a/b/f; echo 2 > /a/g
        RUN rm -r /a/b; mkdir /a/b; echo new > /a/b/h; rm /a/g
        RUN rm -r /a/b; ln -s /tmp /a/b
        COPY f /a/f
        """,
    "links, owners, modes": """
        FROM base
        RUN echo 'app:x:777:888::/:' >> /etc/passwd; echo 'team:x:999:' >> /etc/group
        RUN mkdir -p /real /usr/deep; ln -s real /link; ln -s /real /abs; echo x > /real/x
        COPY --chown=app:team d /link/
        COPY --chown=5:6 f /abs/f
        COPY --chown=app:999 d /new/folder/
        RUN chmod 4755 /real/x; mkfifo /pipe; ln /real/x /hard; chown 7:8 /real
        """,
    "stages": """
        FROM base AS build
        RUN mkdir /out; echo made > /out/made
        COPY d /out/d
        FROM build AS more
        RUN echo more > /out/more
        FROM base
        COPY --from=build /out/made /one
        COPY --from=1 /out /two
        COPY --from=more /out/d/ /three/
        """,
    "folders of a user": """
        FROM base
        RUN mkdir /made
        USER nobody
        WORKDIR /made/own/deep
        """,
    "mounts": """
        FROM base AS tools
        RUN mkdir /t; echo tool > /t/f
        FROM base
        RUN --mount=type=bind,from=tools,source=/t,target=/mnt/t cp /mnt/t/f /f
        RUN --mount=type=cache,target=/cache echo x > /cache/x
        RUN --mount=type=tmpfs,target=/scratch echo x > /scratch/x
        RUN --mount=type=secret,id=s,target=/s cat /s | wc -c > /size
        RUN --mount=type=bind,source=d,target=/ctx ls /ctx > /list
        """,
    "modes": "FROM base\nCOPY --chmod=0640 d /d\nCOPY --chmod=711 f /f\nADD --chmod=600 f /g\n",
}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    """Return a workshop with a context that has something of everything."""
    made = Workshop(tmp_path_factory.mktemp("build"))
    made.make_base()
    made.write({"f": "file", "d/one": "1", "d/sub/two": "2", "b1": "x", "b2": "y", "a.log": ""})
    made.write({"e/.git/x": "", "e/y": "", ".dockerignore": "**/.git\n*.log\nDockerfile\n"})
    (made.context / "d/one").chmod(0o600)
    (made.context / "d/sub").chmod(0o750)
    (made.context / "d/link").symlink_to("one")
    with tarfile.open(made.context / "pack.tar.gz", "w:gz") as packed:
        member = tarfile.TarInfo("bin/tool")
        member.size, member.uid, member.mode = 4, 42, 0o755
        packed.addfile(member, io.BytesIO(b"tool"))
    return made


@pytest.fixture(scope="module")
def base(shop: Workshop) -> Path:
    """Return the base image as docker and buildah read it."""
    path = shop.context.parent / "base.tar"
    with path.open("wb") as file:
        archive.save([shop.store.resolve("base")], file.write)
    return path


@pytest.fixture(scope="module")
def buildah(base: Path) -> Iterator[Engine]:
    """Return a buildah whose every path is private, and that needs no runtime."""
    with scratch("buildah") as folder:
        places = ["--root", str(folder / "graph"), "--runroot", str(folder / "run")]
        argv = ["buildah", *places, "--storage-driver", "vfs"]
        engine = Engine(folder, argv, {"BUILDAH_ISOLATION": "chroot"})
        pulled = engine.out("pull", "-q", f"docker-archive:{base}").strip()
        engine.out("tag", pulled, "localhost/base:latest")
        yield engine
        engine.run("rmi", "--all", "--force")
        engine.close()


def files_of(packed: bytes) -> dict[str, tuple[object, ...]]:
    """Return what is in an archive: type, mode, owner, target and content of every path."""
    found: dict[str, tuple[object, ...]] = {}
    with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
        for one in tar:
            name = one.name.removeprefix("./").strip("/")
            if name in ("", ".") or name.startswith(_ENGINES_OWN):
                continue
            source = tar.extractfile(one) if one.isfile() or one.islnk() else None
            digest = hashlib.sha256(source.read()).hexdigest() if source else one.linkname
            kind = tarfile.REGTYPE if one.islnk() else one.type
            found[name] = (kind, oct(one.mode & 0o7777), one.uid, one.gid, digest)
    return found


def ours(shop: Workshop, text: str, out: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Build here; return the files and the configuration."""
    image = shop.build(text, secrets={"s": Secret(b"12345")})
    build_to(
        shop.context,
        [Output("tar", str(out))],
        store=shop.store,
        executor=shop.executor,
        options=Options(secrets={"s": Secret(b"12345")}),
    )
    return files_of(out.read_bytes()), encode(image.config.config)


def same_configuration(mine: dict[str, Any], theirs: dict[str, Any]) -> None:
    """Compare what an image says, absent and empty being the same."""
    fields = ("Env", "Cmd", "Entrypoint", "WorkingDir", "User", "ExposedPorts", "Labels", "Volumes",
              "StopSignal", "OnBuild")  # fmt: skip
    assert {f: mine.get(f) or None for f in fields} == {f: theirs.get(f) or None for f in fields}


@pytest.mark.requires("buildah")
@pytest.mark.parametrize("name", [*BOTH, *BUILDAH])
def test_buildah_builds_the_same(
    shop: Workshop, buildah: Engine, tmp_path: Path, name: str
) -> None:
    files, _ = ours(shop, {**BOTH, **BUILDAH}[name], tmp_path / "ours.tar")
    (tmp_path / "s").write_text("12345")
    argv = ["bud", "-q", "--layers=false", "--pull-never", f"--secret=id=s,src={tmp_path / 's'}"]
    image = buildah.out(*argv, str(shop.context)).split()[-1]
    container = buildah.out("from", "--pull-never", image).strip()
    top = buildah.out("mount", container).strip()
    packed = subprocess.run(["tar", "-C", top, "-c", "."], capture_output=True, check=True).stdout
    buildah.out("rm", container)
    theirs = files_of(packed)
    assert [row for row in files.items() if theirs.get(row[0]) != row[1]] == []
    assert theirs.keys() - files.keys() == set()


@pytest.mark.requires("docker")
@pytest.mark.parametrize("name", BOTH)
def test_docker_builds_the_same(
    shop: Workshop, docker: Engine, base: Path, tmp_path: Path, name: str
) -> None:
    files, config = ours(shop, BOTH[name], tmp_path / "ours.tar")
    docker.out("load", "-q", "-i", str(base))
    image = docker.out("build", "-q", "--network=none", str(shop.context)).strip().split()[-1]
    container = docker.out("create", "--network=none", image, "true").strip()
    docker.out("export", "-o", str(tmp_path / "theirs.tar"), container)
    docker.out("rm", container)
    theirs = files_of((tmp_path / "theirs.tar").read_bytes())
    assert [row for row in files.items() if theirs.get(row[0]) != row[1]] == []
    assert theirs.keys() - files.keys() == set()
    same_configuration(config, json.loads(docker.out("inspect", image))[0]["Config"])
