"""What a build can be told on the command line: where to, how much of it, and from which cache."""

from __future__ import annotations

import base64
import io
import json
import os
import signal
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from minirun.errors import ImageError, UsageError
from minirun.image import archive, layout
from minirun.image.build import build_to
from minirun.image.build_export import Output, parse_output
from minirun.image.build_options import Options
from minirun.image.build_progress import RawJson
from minirun.image.build_prune import kept, prune
from minirun.image.build_run import BuildStepError
from minirun.image.store import Image, Store
from tests.integration.build_lab import Workshop
from tests.integration.cli_lab import MINIRUN, Cli, fresh
from tests.integration.registry_lab import registry

pytestmark = pytest.mark.requires("root", "overlay")
TEXT = "FROM base\nRUN mkdir /d; echo one > /d/f; chown 7:8 /d/f\nCMD true\n"


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    made = Workshop(tmp_path_factory.mktemp("build"))
    made.make_base()
    return made


@pytest.fixture(scope="module")
def cli() -> Iterator[Cli]:
    """Yield a command line whose store has a base image."""
    with fresh() as made:
        (made.rootfs / "Dockerfile").write_text("FROM scratch\nCOPY . /\n")
        made("build", "-q", "-t", "base", str(made.rootfs))
        yield made


@pytest.fixture
def context(tmp_path: Path) -> Path:
    """Return a folder with a Dockerfile."""
    folder = tmp_path / "context"
    folder.mkdir()
    (folder / "Dockerfile").write_text("FROM base\nCOPY f /f\nRUN cat /f > /g\n")
    (folder / "f").write_text("content\n")
    return folder


def out(shop: Workshop, text: str, *outputs: str, **options: object) -> Image | None:
    """Build to outputs."""
    (shop.context / "Dockerfile").write_text(text)
    return build_to(
        shop.context,
        [parse_output(one) for one in outputs],
        store=shop.store,
        executor=shop.executor,
        options=Options(**options),  # type: ignore[arg-type] # fields of Options
    )


# ---- --output -----------------------------------------------------------------------------------


def test_output_local_writes_files_that_are_the_callers(shop: Workshop, tmp_path: Path) -> None:
    dest = tmp_path / "out"
    dest.mkdir()
    (dest / "mine").write_text("stays")
    before = len(shop.store.images())
    assert (
        out(shop, "FROM base AS a\n" + TEXT[10:] + "FROM scratch\nCOPY --from=a /d /\n", str(dest))
        is None
    )
    assert (dest / "f").read_text() == "one\n"
    assert ((dest / "f").stat().st_uid, (dest / "mine").read_text()) == (os.getuid(), "stays")
    assert len(shop.store.images()) == before


def test_output_never_writes_outside_of_its_folder(shop: Workshop, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "d").symlink_to(tmp_path)
    with pytest.raises(ImageError, match="cannot copy a folder over the file /d"):
        out(shop, TEXT, f"type=local,dest={tmp_path / 'out'}")
    assert not (tmp_path / "f").exists()


def test_output_tar_keeps_owners(shop: Workshop, tmp_path: Path) -> None:
    out(shop, TEXT, f"type=tar,dest={tmp_path / 'out.tar'}")
    with tarfile.open(tmp_path / "out.tar") as found:
        member = found.getmember("d/f")
    assert (member.uid, member.gid, member.size) == (7, 8, 4)


def test_output_archives_can_be_loaded_and_leave_nothing_in_the_store(
    shop: Workshop, tmp_path: Path
) -> None:
    text = TEXT + "LABEL only=exported\n"
    before = {image.id for image in shop.store.images()}
    oci, docker, folder = (tmp_path / name for name in ("o.tar", "d.tar", "layout"))
    outputs = (
        f"type=oci,dest={oci}",
        f"type=docker,dest={docker}",
        f"type=oci,tar=false,dest={folder}",
    )
    out(shop, text, *outputs, tags=["app:1"])
    assert {image.id for image in shop.store.images()} == before
    store = Store(str(tmp_path / "store"), "")
    loaded = [
        *layout.load(store, str(oci)),
        *archive.load(store, str(docker)),
        *layout.load(store, str(folder)),
    ]
    assert {image.familiar_names for image in loaded} == {("app:1",)}
    assert len({image.id for image in loaded}) == 1


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("type=floppy", "unknown type 'floppy'"),
        ("type=tar", "no destination"),
        ("type=local,dest=-", "files cannot go to stdout"),
        ("type=oci,dest=x,compression=zstd", "type oci has no option compression"),
    ],
)
def test_output_that_means_nothing_is_refused(text: str, problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        parse_output(text)
    assert parse_output("-") == Output("tar", "-")


# ---- --squash -----------------------------------------------------------------------------------


def test_squash_makes_one_layer_that_means_the_same(shop: Workshop) -> None:
    text = """
        FROM base
        RUN mkdir -p /a/b /gone; echo 1 > /a/f; echo x > /gone/f; ln /a/f /a/hard; chmod 700 /a/b
        RUN rm -r /gone /bin/sh.not /etc/group 2>/dev/null; echo 2 > /a/g
        RUN rm -r /usr/share; mkdir -p /usr/share; echo new > /usr/share/only
        RUN rm /a/g; mkdir /a/g; ln -s g /a/link
        """
    plain = shop.build(text)
    squashed = shop.build(text, squash=True)
    assert (len(plain.layers), len(squashed.layers)) == (5, 2)
    with shop.root(plain) as one, shop.root(squashed) as two:
        assert _listing(one) == _listing(two)
    assert sum(not entry.empty_layer for entry in squashed.config.history) == 2
    assert shop.stat(squashed, "/a/f").st_nlink == 2


def _listing(root: int) -> str:
    """Return what find(1) sees below a descriptor."""
    argv = ["find", f"/proc/self/fd/{root}/", "-mindepth", "1", "-printf", "%P %y %m %U:%G %s %l\n"]
    done = subprocess.run(argv, pass_fds=[root], capture_output=True, text=True, check=True)
    rows = [r for r in done.stdout.splitlines() if r.split(" ", 2)[1] != "d"]
    folders = [r.rsplit(" ", 2)[0] for r in done.stdout.splitlines() if r.split(" ", 2)[1] == "d"]
    return "\n".join(sorted([*rows, *folders]))


# ---- stages -------------------------------------------------------------------------------------


def test_independent_stages_run_at_the_same_time(shop: Workshop) -> None:
    """Each waits for a file of the other: one after the other they would never end."""
    mount = "--mount=type=cache,id=meet,target=/c"
    wait = "for n in $(seq 2000); do test -e /c/{0} && break; usleep 10000; done; test -e /c/{0}"
    image = shop.build(f"""
        FROM base AS one
        RUN {mount} touch /c/x; {wait.format("y")}
        FROM base AS two
        RUN {mount} touch /c/y; {wait.format("x")} && echo here > /said
        FROM base
        COPY --from=one /etc/passwd /p
        COPY --from=two /said /said
        """)
    assert shop.read(image, "/said") == "here\n"


def test_a_stage_that_fails_ends_the_others(shop: Workshop) -> None:
    with pytest.raises(BuildStepError, match="exit 3"):
        shop.build("""
            FROM base AS slow
            RUN exec sleep 1000
            FROM base AS bad
            RUN exit 3
            FROM base
            COPY --from=slow /x /x
            COPY --from=bad /x /x
            """)


def test_no_cache_filter_names_the_stage_to_build_anew(shop: Workshop) -> None:
    text = "FROM base AS a\nRUN echo a > /a\nFROM base AS b\nRUN echo b > /b\nCOPY --from=a /a /a\n"
    shop.build(text)
    shop.build(text, no_cache_stages=frozenset({"a"}))
    assert shop.cached == 2
    shop.build(text, no_cache_stages=frozenset({"a", "b"}))
    assert shop.cached == 0


def test_onbuild_of_a_stage_waits_for_what_it_copies_from(shop: Workshop) -> None:
    image = shop.build("""
        FROM base AS data
        RUN echo data > /data
        FROM base AS parent
        ONBUILD COPY --from=data /data /copied
        FROM parent
        """)
    assert shop.read(image, "/copied") == "data\n"


# ---- named contexts, caches ---------------------------------------------------------------------


def test_build_context_is_a_folder_or_another_image(shop: Workshop, tmp_path: Path) -> None:
    (tmp_path / "extra").write_text("extra")
    shop.build("FROM base\nRUN echo replaced > /which\n", tags=["other"])
    image = shop.build(
        """
        FROM base
        COPY --from=more extra /extra
        RUN --mount=from=more,target=/m cp /m/extra /x
        """,
        contexts={"more": str(tmp_path), "base": "docker-image://other"},
    )
    assert shop.read(image, "/extra") == shop.read(image, "/x") == "extra"
    assert shop.read(image, "/which") == "replaced\n"


def test_cache_from_takes_the_steps_of_an_image(shop: Workshop, tmp_path: Path) -> None:
    text = "FROM base\nRUN head -c 9 /dev/urandom | base64 > /random\n"
    first = shop.build(text, tags=["cached:1"], inline_cache=True)
    prune(shop.store.root)
    again = shop.build(text, cache_from=["cached:1"], inline_cache=True)
    assert (shop.cached, again.id) == (1, first.id)
    shop.build(text, cache_from=["base", "nonesuch"], no_cache=True)
    said = "".join(shop.lines)
    assert "WARNING: --cache-from base: it brings no cache along" in said
    assert "WARNING: --cache-from nonesuch: no such image" in said


def test_prune_forgets_steps_and_caches_but_not_what_is_young(shop: Workshop) -> None:
    text = "FROM base\nRUN --mount=type=cache,id=pruned,target=/c echo x > /c/x; echo prune > /p\n"
    shop.build(text)
    assert "pruned" in {one.id for one in kept(shop.store.root)}
    assert prune(shop.store.root, unused_s=3600) == []
    gone = prune(shop.store.root)
    assert {"regular", "exec.cachemount"} == {one.kind for one in gone}
    assert kept(shop.store.root) == []
    shop.build(text)
    assert shop.cached == 0


# ---- reproducible -------------------------------------------------------------------------------


def test_the_same_build_on_another_day_is_the_same_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    found = set()
    for day in (1_600_000_000, 1_750_000_000):
        (tmp_path / str(day)).mkdir()
        shop = Workshop(tmp_path / str(day))
        shop.make_base()
        shop.write({"d/f": "same", "d/g": "same"})
        for path in (*shop.context.rglob("*"), shop.context):
            os.utime(path, (day, day))
        image = shop.build(
            "FROM base AS a\nRUN echo $SOURCE_DATE_EPOCH > /x; mkdir /y\n"
            "FROM base\nCOPY d /d\nCOPY --from=a /x /y /z/\nWORKDIR /w\nCMD x\n"
        )
        found.add((image.descriptor.digest, shop.read(image, "/z/x"), image.config.created))
    assert {row[1:] for row in found} == {("1700000000\n", "2023-11-14T22:13:20Z")}
    assert len(found) == 1


def test_a_layer_of_another_epoch_is_not_taken_from_the_cache(shop: Workshop) -> None:
    text = "FROM base\nRUN echo dated > /dated\n"
    shop.build(text)
    image = shop.build(text, build_args={"SOURCE_DATE_EPOCH": "1000"})
    assert shop.cached == 0
    assert int(shop.stat(image, "/dated").st_mtime) == 1000


# ---- progress -----------------------------------------------------------------------------------


def test_rawjson_tells_steps_logs_and_errors() -> None:
    lines: list[str] = []
    lane = RawJson(lines.append).lane()
    lane.start("[1/2] RUN x")
    lane.output(b"said\n")
    lane.done(cached=True)
    lane.start("[2/2] RUN y")
    lane.failed("why")
    events = [json.loads(line) for line in lines]
    first, log, done, _, failed = (next(iter(event.values()))[0] for event in events)
    assert base64.b64decode(log["data"]) == b"said\n"
    assert (done["digest"], done["cached"], failed["error"]) == (first["digest"], True, "why")
    assert failed["digest"] != first["digest"]


# ---- the command --------------------------------------------------------------------------------


def test_build_reads_a_context_or_a_dockerfile_from_stdin(cli: Cli, context: Path) -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        tar.add(context, ".")
    for data, words in (
        (packed.getvalue(), ("-",)),
        (b"FROM base\nRUN echo content > /g\n", ("-",)),
        (b"FROM base\nCOPY f /g\n", ("-f", "-", str(context))),
    ):
        done = subprocess.run(
            [str(MINIRUN), "build", "-q", *words],
            input=data, capture_output=True, check=True, env=os.environ | cli.environment,
        )  # fmt: skip
        image = done.stdout.decode().strip()
        assert cli("run", "--rm", "--network", "none", image, "cat", "/g").out == "content\n"


def test_build_writes_iidfile_metadata_and_plain_progress(
    cli: Cli, context: Path, tmp_path: Path
) -> None:
    done = cli(
        "build", "-t", "meta:1", "--progress=plain", "--iidfile", str(tmp_path / "iid"),
        "--metadata-file", str(tmp_path / "meta"), "--provenance=false", str(context),
    )  # fmt: skip
    facts = json.loads((tmp_path / "meta").read_text())
    assert (
        facts["containerimage.config.digest"] == (tmp_path / "iid").read_text() == done.out.strip()
    )
    assert facts["image.name"] == "meta:1"
    assert facts["containerimage.digest"] == facts["containerimage.descriptor"]["digest"]
    assert "[2/3] COPY f /f\n" in done.err


def test_build_shows_what_a_variable_base_is(cli: Cli, context: Path) -> None:
    lines = "ARG OF=scratch\nFROM ${OF} AS made\nCOPY f /f\n"
    (context / "Dockerfile").write_text(lines)
    assert "[made 1/2] FROM scratch AS made\n" in cli("build", str(context)).err


def test_build_quiet_shows_what_a_failed_step_printed(cli: Cli, context: Path) -> None:
    (context / "Dockerfile").write_text("FROM base\nRUN echo fine\nRUN echo the reason; false\n")
    said = cli.fails("build", "-q", str(context))
    assert said.startswith("the reason\nminirun: ")
    assert "fine" not in said


def test_build_output_dash_is_a_tar_on_stdout(cli: Cli, context: Path) -> None:
    done = subprocess.run(
        [str(MINIRUN), "build", "-q", "-o", "-", str(context)],
        capture_output=True, check=True, env=os.environ | cli.environment,
    )  # fmt: skip
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as found:
        member = found.extractfile("g")
        assert member is not None
        assert member.read() == b"content\n"


@pytest.mark.requires("docker-registry")
def test_build_pushes(cli: Cli, context: Path, tmp_path: Path) -> None:
    with registry(tmp_path / "registry") as host:
        cli("build", "-q", "-t", f"{host}/built:1", "--push", str(context))
        cli("rmi", f"{host}/built:1")
        name = f"{host}/built:1"
        assert cli("run", "--rm", "-q", "--network", "none", name, "cat", "/g").out == "content\n"


def test_builder_shows_and_prunes(cli: Cli, context: Path) -> None:
    (context / "Dockerfile").write_text(
        "FROM base\nRUN --mount=type=cache,target=/cc echo > /cc/x\n"
    )
    cli("build", "-q", str(context))
    rows = [json.loads(row) for row in cli("builder", "du", "--format", "json").out.splitlines()]
    assert ("/cc", "exec.cachemount") in {(row["ID"], row["Type"]) for row in rows}
    assert "deleted" not in cli("builder", "prune", "-f", "--filter", "until=24h").out
    assert "deleted: /cc" in cli("builder", "prune", "-f").out
    assert "Total: 0B" in cli("builder", "du").out


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (("--ulimit", "nofile=1"), "--ulimit is not supported"),
        (("--sbom=true",), "--sbom=true is not supported"),
        (("--secret", "src=x"), "no id"),
        (("--secret", "id=nonesuch,src=/nonesuch"), "/nonesuch: no such file"),
        (("--secret", "id=a,env=NONESUCH_VARIABLE"), "the variable NONESUCH_VARIABLE is not set"),
        (("--ssh", "default=/etc/passwd"), "is not the socket of an agent"),
        (("--cache-from", "type=s3,bucket=x"), "--cache-from type=s3,bucket=x is not supported"),
        (("--build-context", "x=https://example.com/x"), "is not supported"),
        (("--build-context", "x"), "no name and place"),
        (("--platform", "linux/s390x"), "platform linux/s390x is foreign"),
        (("-m", "1g"), "--memory is not supported"),
        (("--compress",), "--compress is not supported"),
        (("--call=check",), "--call is not supported"),
    ],
)
def test_build_refuses_by_name(
    cli: Cli, context: Path, words: tuple[str, ...], problem: str
) -> None:
    assert problem in cli.fails("build", *words, str(context))


def test_build_takes_switches_with_a_value_as_docker_does(cli: Cli, context: Path) -> None:
    words = ("--rm=true", "--force-rm=false", "--no-cache=true", "--pull=false", "--push=false")
    told = cli("build", *words, "--network=default", "--progress=plain", str(context)).err
    assert "CACHED" not in told


def test_ctrl_c_leaves_neither_container_nor_scratch(cli: Cli, context: Path) -> None:
    (context / "Dockerfile").write_text(
        "FROM base AS a\nRUN echo runs && exec sleep 1000\nFROM base\nCOPY --from=a /x /x\n"
    )
    building = cli.spawn("build", "--progress=plain", "--no-cache", str(context))
    assert building.stderr is not None
    while not (line := building.stderr.readline()).endswith(b" runs\n"):
        assert line, "the build ended"
    building.send_signal(signal.SIGINT)
    building.communicate(timeout=60)
    assert building.returncode == 130
    assert cli.left() == []
    assert os.listdir(cli.data / "tmp") == []
