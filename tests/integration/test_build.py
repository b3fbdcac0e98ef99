"""Building images for real: layers, cache, COPY, failures, and what never gets into a layer."""

from __future__ import annotations

import io
import os
import stat
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from minirun.errors import ImageError
from minirun.image.build_run import BuildStepError
from minirun.image.dockerfile import DockerfileError
from tests.integration.build_lab import Workshop

pytestmark = pytest.mark.requires("root", "overlay")


@pytest.fixture(scope="module")
def _shop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    made = Workshop(tmp_path_factory.mktemp("build"))
    made.make_base()
    return made


@pytest.fixture
def shop(_shop: Workshop) -> Iterator[Workshop]:
    """Return a workshop with an empty context; its store and cache are shared by the tests."""
    yield _shop
    for path in sorted(_shop.context.rglob("*"), reverse=True):
        if path.is_dir() and not path.is_symlink():
            path.rmdir()
        else:
            path.unlink()


# ---- RUN ----------------------------------------------------------------------------------------


def test_run_takes_both_forms_and_the_environment(shop: Workshop) -> None:
    image = shop.build("""
        FROM base
        ARG COLOUR=red
        ENV SIZE=big NAME="a $COLOUR b"
        WORKDIR /work/here
        RUN echo "$COLOUR $SIZE $NAME $PWD" > shell
        RUN ["sh", "-c", "echo $0 > exec", "$COLOUR"]
        """)
    assert shop.read(image, "/work/here/shell") == "red big a red b /work/here\n"
    assert shop.read(image, "/work/here/exec") == "$COLOUR\n"
    assert "COLOUR=red" not in image.config.config.env


def test_run_reads_heredocs(shop: Workshop) -> None:
    image = shop.build("""
        FROM base
        RUN <<EOF
        echo "one" > /a
        echo "two $PATH" > /b
        EOF
        RUN cat > /c <<'EOF'
        $kept as it is
        EOF
        RUN <<EOF
        #!/bin/busybox cat
        shown
        EOF
        """)
    assert shop.read(image, "/a") == "one\n"
    assert shop.read(image, "/c") == "$kept as it is\n"
    assert any(line.rstrip().endswith("shown") for line in shop.lines)


def test_run_runs_as_the_user_in_its_shell(shop: Workshop) -> None:
    image = shop.build("""
        FROM base
        RUN mkdir -m 777 /out
        SHELL ["/bin/sh", "-e", "-c"]
        USER nobody
        RUN id -u > /out/uid; id -g > /out/gid
        """)
    assert (shop.read(image, "/out/uid"), shop.read(image, "/out/gid")) == ("65534\n", "65534\n")
    assert image.config.config.user == "nobody"


def test_run_that_fails_shows_line_status_and_output_and_keeps_the_cache(shop: Workshop) -> None:
    text = """
        FROM base
        RUN echo before-failure > /kept
        RUN echo what went wrong >&2; exit 7
        """
    before = os.listdir(Path(shop.store.root) / "tmp")
    with pytest.raises(BuildStepError) as caught:
        shop.build(text)
    assert "Dockerfile:4: RUN echo what went wrong >&2; exit 7: exit status 7" in str(caught.value)
    assert (caught.value.status, caught.value.output) == (7, "what went wrong\n")
    assert "cached" in caught.value.hint
    assert os.listdir(Path(shop.store.root) / "tmp") == before
    with pytest.raises(BuildStepError):
        shop.build(text)
    assert shop.cached == 1


def test_run_of_an_unknown_command_is_explained(shop: Workshop) -> None:
    with pytest.raises(BuildStepError) as caught:
        shop.build('FROM base\nRUN ["nonesuch"]\n')
    assert caught.value.status == 127
    assert caught.value.hint == "the command was not found in the image"


def test_run_deletes_what_a_lower_layer_has(shop: Workshop) -> None:
    image = shop.build("FROM base\nRUN echo x > /x\nRUN rm /x\n")
    with pytest.raises(FileNotFoundError):
        shop.stat(image, "/x")


# ---- what the host lends ------------------------------------------------------------------------


def test_run_gets_proxy_pip_and_certificates_and_no_layer_does(
    shop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = tmp_path / "company.pem"
    bundle.write_text("private authority\n")
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    (wheels / "a.whl").write_text("wheel")
    simple = tmp_path / "index" / "simple" / "a"
    simple.mkdir(parents=True)
    (simple / "index.html").write_text('<a href="../../files/a.whl">a</a>')
    (tmp_path / "index" / "files").mkdir()
    (tmp_path / "index" / "files" / "a.whl").write_text("indexed")
    (tmp_path / "index" / "secret").write_text("not linked")
    (tmp_path / "netrc").write_text("machine x login y password z\n")
    for name, value in {
        "HTTP_PROXY": "http://proxy.example:3128",
        "SSL_CERT_FILE": str(bundle),
        "PIP_FIND_LINKS": str(wheels),
        "PIP_EXTRA_INDEX_URL": f"file://{tmp_path}/index/simple https://mirror.example/simple",
        "NETRC": str(tmp_path / "netrc"),
    }.items():
        monkeypatch.setenv(name, value)
    image = shop.build("""
        FROM base
        RUN echo "$HTTP_PROXY"; cat "$SSL_CERT_FILE" "$NETRC" "$PIP_FIND_LINKS/a.whl"; \
            set -- $PIP_EXTRA_INDEX_URL; echo "$2"; dir=${1#file://}; cat $dir/a/index.html; \
            cat $dir/../files/a.whl; ls $dir/..; touch "$SSL_CERT_FILE" || echo is-read-only
        RUN echo > /only-this
        """)
    shown = "".join(shop.lines)
    for text in ("proxy.example", "private authority", "machine x", "wheel", "indexed"):
        assert text in shown
    assert "https://mirror.example/simple" in shown
    assert "is-read-only" in shown
    assert "secret" not in shown
    assert shop.top_layer(image) == ["only-this"]
    assert len(image.layers) == 2, "the first RUN changed no file, so it made no layer"
    assert "proxy.example" not in str(image.config)


def test_a_changed_proxy_or_mirror_repeats_nothing(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "FROM base\nRUN echo proxied > /proxied\n"
    monkeypatch.setenv("HTTPS_PROXY", "http://one.example")
    first = shop.build(text)
    monkeypatch.setenv("HTTPS_PROXY", "http://two.example")
    second = shop.build(text, build_args={"http_proxy": "http://three.example"})
    assert (shop.cached, first.id) == (1, second.id)


def test_what_a_command_puts_where_something_was_mounted_stays(shop: Workshop) -> None:
    image = shop.build("FROM base\nRUN echo mine > /run/mine; chmod 750 /run\n")
    assert shop.top_layer(image) == ["run", "run/mine"]
    assert stat.S_IMODE(shop.stat(image, "/run").st_mode) == 0o750


def test_run_on_scratch_leaves_no_mount_points(shop: Workshop) -> None:
    (shop.context / "busybox").write_bytes(Path("/bin/busybox").read_bytes())
    (shop.context / "busybox").chmod(0o755)
    image = shop.build('FROM scratch\nCOPY busybox /bin/\nRUN ["/bin/busybox", "touch", "/made"]\n')
    assert shop.top_layer(image) == ["made"]


# ---- COPY and ADD -------------------------------------------------------------------------------


def test_copy_follows_dockers_rules_for_the_target(shop: Workshop) -> None:
    shop.write({"f": "file", "d/one": "1", "d/sub/two": "2", "b1": "x", "b2": "y"})
    image = shop.build("""
        FROM base
        WORKDIR /w
        COPY f /new
        COPY f /tmp
        COPY f deep/er/
        COPY d /d
        COPY d/sub /d/again
        COPY b* many/
        COPY ["f", "name with space"]
        """)
    for path in ("/new", "/tmp/f", "/w/deep/er/f", "/w/name with space"):
        assert shop.read(image, path) == "file"
    assert [shop.read(image, f"/d/{p}") for p in ("one", "sub/two", "again/two")] == ["1", "2", "2"]
    assert [shop.read(image, f"/w/many/b{n}") for n in (1, 2)] == ["x", "y"]
    (shop.context / "d").chmod(0o700)
    again = shop.build("FROM base\nCOPY d /private\n")
    assert stat.S_IMODE(shop.stat(again, "/private").st_mode) == 0o755, "only what is in it"
    facts = shop.stat(image, "/new")
    assert (facts.st_uid, facts.st_gid) == (0, 0)


def test_copy_of_several_sources_needs_a_folder(shop: Workshop) -> None:
    shop.write({"a": "", "b": ""})
    with pytest.raises(
        DockerfileError, match="Dockerfile:2: several sources need a folder"
    ) as caught:
        shop.build("FROM base\nCOPY a b /x\n")
    assert caught.value.hint == "write /x/"


def test_copy_sets_owner_and_mode_by_the_images_own_names(shop: Workshop) -> None:
    shop.write({"d/f": ""})
    image = shop.build("""
        FROM base
        RUN echo 'app:x:777:888::/:' >> /etc/passwd; echo 'team:x:999:' >> /etc/group
        COPY --chown=app --chmod=0640 d/f /one/f
        COPY --chown=app:team d /two
        COPY --chown=5 d /three
        """)
    one, two, three = (shop.stat(image, f"/{name}/f") for name in ("one", "two", "three"))
    assert (one.st_uid, one.st_gid, stat.S_IMODE(one.st_mode)) == (777, 888, 0o640)
    assert (two.st_uid, two.st_gid) == (777, 999)
    assert (three.st_uid, three.st_gid) == (5, 5)
    assert shop.stat(image, "/one").st_uid == 777


def test_copy_never_reads_outside_of_the_context(shop: Workshop, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    (shop.context / "up").symlink_to(tmp_path)
    (shop.context / "file").symlink_to(tmp_path / "secret")
    (shop.context / "d").mkdir()
    (shop.context / "d" / "link").symlink_to(tmp_path / "secret")
    for source in ("up/secret", "file", "../secret", f"{tmp_path}/secret"):
        with pytest.raises(DockerfileError, match="is not in the build context"):
            shop.build(f"FROM base\nCOPY {source} /x\n")
    image = shop.build("FROM base\nCOPY d /d\n")
    assert stat.S_ISLNK(shop.stat(image, "/d/link").st_mode), "a link is copied as a link"


def test_copy_never_writes_outside_of_the_image(shop: Workshop, tmp_path: Path) -> None:
    shop.write({"f": "payload"})
    image = shop.build(f"""
        FROM base
        RUN mkdir -p /inside{tmp_path}; ln -s {tmp_path} /out; ln -s /etc/hosts /file
        COPY f /out/../f1
        COPY f /file
        """)
    assert not list(tmp_path.iterdir())
    assert shop.read(image, "/file") == "payload"
    assert "localhost" in shop.read(image, "/etc/hosts"), "a link is replaced, not followed"


def test_copy_writes_through_links_to_folders_inside_the_image(shop: Workshop) -> None:
    shop.write({"rootfs/lib/x": "in lib"})
    image = shop.build("FROM base\nCOPY rootfs/ /\n")
    assert shop.read(image, "/usr/lib/x") == "in lib"
    assert stat.S_ISLNK(shop.stat(image, "/lib").st_mode)


def test_copy_keeps_file_and_folder_apart(shop: Workshop) -> None:
    shop.write({"d/etc": "a file", "e/passwd/x": "in a folder"})
    with pytest.raises(DockerfileError, match="cannot copy a file over the folder /etc"):
        shop.build("FROM base\nCOPY d /\n")
    with pytest.raises(DockerfileError, match="cannot copy a folder over the file /etc/passwd"):
        shop.build("FROM base\nCOPY e /etc/\n")


def test_copy_heeds_dockerignore(shop: Workshop) -> None:
    shop.write(
        {
            ".dockerignore": "*.log\n!keep.log\nnode\n**/.git\nd\n!d/wanted\n",
            "a.log": "", "keep.log": "", "node/x": "", "s/.git/x": "", "s/y": "",
            "d/wanted": "", "d/other": "",
        }
    )  # fmt: skip
    image = shop.build("FROM base\nCOPY . /all/\n")
    names = [p for p in shop.top_layer(image) if p.startswith("all/")]
    assert names == [
        "all/.dockerignore", "all/Dockerfile", "all/d", "all/d/wanted", "all/keep.log", "all/s",
        "all/s/y",
    ]  # fmt: skip
    with pytest.raises(DockerfileError, match=r"'a.log' is excluded from the build context"):
        shop.build("FROM base\nCOPY a.log /x\n")


def test_copy_reads_heredocs(shop: Workshop) -> None:
    image = shop.build("""
        FROM base
        ENV WHO=world
        COPY <<greeting <<"raw.txt" /texts/
        it's $WHO
        greeting
        $WHO
        raw.txt
        """)
    assert shop.read(image, "/texts/greeting") == "it's world\n"
    assert shop.read(image, "/texts/raw.txt") == "$WHO\n"


def test_copy_suggests_a_name_that_is_there(shop: Workshop) -> None:
    shop.write({"src/serve.py": ""})
    with pytest.raises(DockerfileError) as caught:
        shop.build("FROM base\nCOPY src/server.py /x\n")
    assert caught.value.hint == "did you mean src/serve.py?"


def test_add_unpacks_an_archive_and_stays_inside(shop: Workshop) -> None:
    with tarfile.open(shop.context / "good.tar.gz", "w:gz") as archive:
        member = tarfile.TarInfo("bin/tool")
        member.size, member.uid = 4, 42
        archive.addfile(member, io.BytesIO(b"tool"))
    with tarfile.open(shop.context / "evil.tar", "w") as archive:
        link = tarfile.TarInfo("up")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc"
        archive.addfile(link)
        member = tarfile.TarInfo("up/passwd")
        member.size = 4
        archive.addfile(member, io.BytesIO(b"evil"))
    image = shop.build("FROM base\nADD good.tar.gz /opt/\nCOPY good.tar.gz /packed\n")
    assert shop.read(image, "/opt/bin/tool") == "tool"
    assert shop.stat(image, "/opt/bin/tool").st_uid == 42
    assert shop.stat(image, "/packed").st_size > 0
    with pytest.raises(DockerfileError, match="'up' is a symbolic link to a directory"):
        shop.build("FROM base\nADD evil.tar /opt/\n")
    assert "evil" not in Path("/etc/passwd").read_text()


def test_add_knows_an_archive_by_its_content(shop: Workshop) -> None:
    shop.write({"f": "plain", "fake.tar.gz": "not an archive at all" * 100})
    with tarfile.open(shop.context / "archive", "w") as archive:
        archive.add(shop.context / "f", "unpacked")
    image = shop.build("FROM base\nADD archive f fake.tar.gz /new/\n")
    assert (shop.read(image, "/new/unpacked"), shop.read(image, "/new/f")) == ("plain", "plain")
    assert shop.stat(image, "/new/fake.tar.gz").st_size > 0
    assert stat.S_IMODE(shop.stat(image, "/new").st_mode) == 0o755


# ---- stages, arguments, configuration -----------------------------------------------------------


def test_stages_copy_from_each_other_and_only_needed_ones_are_built(shop: Workshop) -> None:
    text = """
        ARG TAG=base
        FROM $TAG AS build
        RUN echo built > /artefact
        FROM base AS never
        RUN exit 1
        FROM base
        COPY --from=build /artefact /from-name
        COPY --from=0 /artefact /from-number
        COPY --from=base /etc/group /from-image
        """
    image = shop.build(text)
    assert [shop.read(image, f"/from-{n}") for n in ("name", "number")] == ["built\n"] * 2
    assert "root:x:0" in shop.read(image, "/from-image")
    assert shop.read(shop.build(text, target="build"), "/artefact") == "built\n"
    with pytest.raises(DockerfileError, match="no stage is named 'x'") as caught:
        shop.build(text, target="x")
    assert caught.value.hint == "the stages are: build, never, 2"


def test_args_reach_only_the_stage_that_declares_them(shop: Workshop) -> None:
    image = shop.build(
        """
        ARG OUTER=global
        FROM base
        RUN echo "[$OUTER]" > /before
        ARG OUTER
        ARG OWN=default TARGETARCH
        RUN echo "[$OUTER] [$OWN] [$TARGETARCH]" > /after
        """,
        build_args={"OWN": "given", "TYPO": "x"},
    )
    assert shop.read(image, "/before") == "[]\n"
    architecture = image.config.architecture
    assert shop.read(image, "/after") == f"[global] [given] [{architecture}]\n"
    assert "WARNING: no ARG takes the build argument TYPO\n" in shop.lines


def test_onbuild_runs_in_the_next_build(shop: Workshop) -> None:
    shop.write({"f": "from the child's context"})
    parent = shop.build("FROM base\nONBUILD COPY f /f\nONBUILD ENV A=b\n", tags=["parent"])
    assert parent.config.config.on_build == ("COPY f /f", "ENV A=b")
    child = shop.build("FROM parent\nRUN echo $A > /a\n")
    assert (shop.read(child, "/f"), shop.read(child, "/a")) == ("from the child's context", "b\n")
    assert child.config.config.on_build == ()


def test_build_names_labels_and_history(shop: Workshop) -> None:
    image = shop.build(
        "FROM base\nLABEL a=1\nRUN echo history > /h\nCMD x\n",
        tags=["app:1", "app"],
        labels={"b": "2"},
    )
    assert image.familiar_names == ("app:1", "app:latest")
    assert dict(image.config.config.labels) == {"a": "1", "b": "2"}
    rows = [(h.created_by, h.empty_layer) for h in image.config.history[-3:]]
    assert rows == [("LABEL a=1", True), ("RUN echo history > /h", False), ("CMD x", True)]


# ---- the cache ----------------------------------------------------------------------------------


def test_cache_repeats_only_what_changed(shop: Workshop) -> None:
    text = "FROM base\nRUN echo cache1 > /1\nCOPY f /f\nRUN echo cache2 > /2\nLABEL v={}\n"
    shop.write({"f": "cache one"})
    first = shop.build(text.format(1))
    assert shop.build(text.format(1)).id == first.id
    assert shop.cached == 3
    shop.build(text.format(2))
    assert shop.cached == 3, "a label changes no file"
    (shop.context / "f").touch()
    shop.build(text.format(1))
    assert shop.cached == 3, "neither does a date"
    shop.write({"f": "cache two"})
    shop.build(text.format(1))
    assert shop.cached == 1
    shop.build(text.format(1), no_cache=True)
    assert shop.cached == 0


def test_cache_notices_arguments_and_modes(shop: Workshop) -> None:
    shop.write({"f": "modes"})
    text = "FROM base\nCOPY f /modes\nARG A\nRUN echo $A > /args\n"
    shop.build(text, build_args={"A": "1"})
    shop.build(text, build_args={"A": "2"})
    assert shop.cached == 1
    (shop.context / "f").chmod(0o700)
    shop.build(text, build_args={"A": "2"})
    assert shop.cached == 0


def test_cache_survives_the_loss_of_a_layer(shop: Workshop) -> None:
    text = "FROM base\nRUN echo lost > /lost\n"
    image = shop.build(text)
    shop.store.remove(image.id, force=True)
    shop.store.gc()
    assert shop.read(shop.build(text), "/lost") == "lost\n"
    assert shop.cached == 0


def test_source_date_epoch_makes_two_builds_equal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    digests = set()
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        shop = Workshop(tmp_path / name)
        shop.make_base()
        shop.write({"d/f": "same"})
        image = shop.build("FROM base\nCOPY d /d\nRUN echo x > /x; mkdir /y\nCMD x\n")
        digests.add(image.descriptor.digest)
    assert len(digests) == 1


# ---- refusals -----------------------------------------------------------------------------------


def test_unusable_contexts_are_explained(shop: Workshop, tmp_path: Path) -> None:
    from minirun.image.build import build

    for path, problem in (
        (tmp_path / "missing", "does not exist"),
        (tmp_path, "no Dockerfile at"),
        (Path("/etc/passwd"), "is not a folder"),
    ):
        with pytest.raises(ImageError, match=problem) as caught:
            build(path, store=shop.store, executor=shop.executor)
        assert caught.value.hint


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("FROM nonesuch\n", r"Dockerfile:1: no such image: nonesuch"),
        ("FROM minirun/python:2.5\n", r"Dockerfile:1: no such image: .*python:2.5"),
        ("FROM --platform=linux/s390x base\n", r"Dockerfile:1: platform linux/s390x is foreign"),
        ("FROM base\nRUN --security=insecure true\n", r"Dockerfile:2: RUN --security=insecure is"),
        ("FROM base\nCOPY --form=x a b\n", r"Dockerfile:2: COPY has no flag --form"),
        ("FROM base\nCOPY --from=nonesuch a b\n", r"Dockerfile:2: COPY failed: no such image"),
        ("FROM base AS x\nCOPY --from=x a b\n", r"Dockerfile:2: --from=x names no stage before"),
        ("FROM base AS 2nd\n", r"Dockerfile:1: '2nd' cannot be the name of a stage"),
        ("RUN x\nFROM base\n", r"Dockerfile:1: RUN comes before the first FROM"),
        ("FROM base\nENV A=${B:?give-it}\n", r"Dockerfile:2: B: give-it"),
        ("FROM ${NOTHING}\n", r"Dockerfile:1: base name .* is empty"),
    ],
)
def test_what_cannot_be_built_is_refused_with_its_line(
    shop: Workshop, text: str, problem: str
) -> None:
    with pytest.raises(DockerfileError, match=problem) as caught:
        shop.build(text)
    assert caught.value.hint or "B:" in problem or "--from=x" in problem
