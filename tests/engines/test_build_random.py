"""Dockerfiles that nobody thought of, built here and by docker's classic builder: file by file.

More of them with MINIRUN_TEST_SEEDS=100. Left out is what BuildKit, whose rules are ours, decided
otherwise: the owner of folders that COPY --chown and WORKDIR make, and unclean WORKDIRs.
"""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from minirun.decode import encode
from minirun.image.build import build_to
from minirun.image.build_export import Output, parse_output
from minirun.image.build_options import Options
from tests.engines.lab import Engine
from tests.engines.test_build_peers import base, files_of, same_configuration, shop
from tests.integration.build_lab import Workshop

__all__ = ["base", "shop"]

pytestmark = pytest.mark.requires("root", "overlay", "docker")

SEEDS = int(os.environ.get("MINIRUN_TEST_SEEDS", "3"))
NAMES = ("A", "B", "C", "LONG_NAME")
WORDS = (
    *("a", "$A", "${B}", "${C:-dflt}", "${A:+set}", "${NONE}", r"\$A", "'$A'", '"$B q"', r"a\ b"),
    *("x=y", "é", "${A}${B}", "pre${C:-${A}}post", "#no", "a'b'c", r'"a\"b"', r"\\", "''", '""'),
)
SOURCES = ("f", "d", "d/sub", "b*", "d/", "f b1", "b1 f", "[bf]*", "./f", "/f", "d/*", ".")
Maker = Callable[[random.Random], str]


def env(r: random.Random) -> str:
    if r.random() < 0.3:
        return f"ENV {r.choice(NAMES)} {r.choice(WORDS)} {r.choice(WORDS)}"
    return "ENV " + " ".join(f"{r.choice(NAMES)}={r.choice(WORDS)}" for _ in range(r.randint(1, 3)))


def label(r: random.Random) -> str:
    keys = ("l", "m.n", '"o p"', "k$A")
    return "LABEL " + " ".join(f"{r.choice(keys)}={r.choice(WORDS)}" for _ in range(2))


def copy(r: random.Random) -> str:
    keyword, target = r.choice(("COPY", "COPY", "ADD", "copy")), r.choice(("/t/", "dir/", "./"))
    source = r.choice(SOURCES)
    if r.random() < 0.2:
        return f'{keyword} ["{source.split()[0]}", "{target}"]'
    return f"{keyword} {source} {target}"


def any_of(*lines: str) -> Maker:
    return lambda r: r.choice(lines)


MAKERS: tuple[Maker, ...] = (
    *(env, env, label, copy, copy, copy),
    lambda r: f"ARG {r.choice(NAMES)}" + r.choice(("", f"={r.choice(WORDS)}")),
    any_of("WORKDIR /p", "WORKDIR /p/q", "WORKDIR rel", "WORKDIR ./here", "WORKDIR /w/${A:-x}/y"),
    any_of("EXPOSE 80", "EXPOSE 53/tcp 54/udp", "EXPOSE 8000-8003", "EXPOSE ${PORT:-81}"),
    any_of("VOLUME /v", 'VOLUME ["/v1", "/v 2"]', "VOLUME /v3 /v4"),
    any_of("STOPSIGNAL SIGTERM", "STOPSIGNAL 9", "STOPSIGNAL ${S:-SIGINT}"),
    any_of('CMD ["a","$A"]', "CMD echo $A  two", 'ENTRYPOINT [ "a" ]', "ENTRYPOINT exec 'q q'"),
    any_of("HEALTHCHECK --interval=1m CMD x $A", 'HEALTHCHECK --retries=2 CMD ["y"]'),
    any_of("ONBUILD ENV T=$A", "ONBUILD COPY f /t/", 'ONBUILD CMD ["z"]', "MAINTAINER me <m@x>"),
    any_of(
        'RUN echo "$A|$B|$C|$LONG_NAME|$PWD" > /seen',
        "RUN echo one \\\n  two > /joined \\\n# comment\n  && cat /joined",
    ),
)


def dockerfile(seed: int) -> str:
    """Return a Dockerfile of one or two stages."""
    r = random.Random(seed)
    lines = ["ARG A=top", "FROM base AS one", *(r.choice(MAKERS)(r) for _ in range(7))]
    if r.random() < 0.5:
        lines += [r.choice(("FROM one", "FROM base")), "COPY --from=one /bin/busybox /copied"]
        lines += [r.choice(MAKERS)(r) for _ in range(5)]
    lines.append(r.choice(("USER 5:6", "USER nobody", "USER ${A:-root}", "")))
    spaced = [f"  {line}  " if r.random() < 0.1 else line for line in lines]
    return "\n".join(spaced) + "\n"


@pytest.mark.parametrize("seed", range(SEEDS))
def test_docker_builds_the_same_of_anything(
    shop: Workshop, docker: Engine, base: Path, tmp_path: Path, seed: int
) -> None:
    text = dockerfile(seed)
    (shop.context / "Dockerfile").write_text(text)
    outputs = [Output(), parse_output(f"type=tar,dest={tmp_path / 'ours.tar'}")]
    options = Options(build_args={"B": "given b"})
    image = build_to(
        shop.context, outputs, store=shop.store, executor=shop.executor, options=options
    )
    docker.out("load", "-q", "-i", str(base))
    words = ("--network=none", "--build-arg", "B=given b", str(shop.context))
    theirs = docker.out("build", "-q", *words).split()[-1]
    container = docker.out("create", "--network=none", theirs, "true").strip()
    docker.out("export", "-o", str(tmp_path / "theirs.tar"), container)
    docker.out("rm", container)
    files, expected = (files_of((tmp_path / n).read_bytes()) for n in ("ours.tar", "theirs.tar"))
    volumes = {name for name in expected if name.startswith("v")} - files.keys()  # made for RUN
    assert {k: v for k, v in expected.items() if k not in volumes} == files, text
    assert image is not None
    config = json.loads(docker.out("inspect", theirs))[0]["Config"]
    same_configuration(encode(image.config.config), config)
