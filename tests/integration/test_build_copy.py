"""What COPY and ADD can do beyond copying: parents, modes, links, archives, files from the web."""

from __future__ import annotations

import hashlib
import io
import os
import stat
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from minirun.image.dockerfile import DockerfileError
from tests.integration.build_lab import Workshop
from tests.integration.registry_lab import Handler, server

pytestmark = pytest.mark.requires("root", "overlay")


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    made = Workshop(tmp_path_factory.mktemp("build"))
    made.make_base()
    return made


def archive_of(**files: str) -> bytes:
    """Return a tar archive."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for name, text in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))
    return out.getvalue()


# ---- --parents, --exclude -----------------------------------------------------------------------


def test_parents_keep_the_folders_above(shop: Workshop) -> None:
    shop.write({"x/a.txt": "a", "x/sub/b.txt": "b", "y/a.txt": "y"})
    (shop.context / "x").chmod(0o750)
    image = shop.build("""
        FROM base
        COPY --parents ./x/a.txt ./y/a.txt /one/
        COPY --parents x/./sub/b.txt /two/
        COPY --parents x/sub /three/
        COPY --parents **/*.txt /four/
        """)
    assert shop.read(image, "/one/x/a.txt") + shop.read(image, "/one/y/a.txt") == "ay"
    assert stat.S_IMODE(shop.stat(image, "/one/x").st_mode) == 0o750
    assert shop.read(image, "/two/sub/b.txt") == "b"
    assert shop.read(image, "/three/x/sub/b.txt") == "b"
    assert [p for p in shop.top_layer(image) if p.endswith(".txt")] == [
        "four/x/a.txt", "four/x/sub/b.txt", "four/y/a.txt",
    ]  # fmt: skip


def test_exclude_leaves_out_files_of_a_folder_and_of_a_pattern(shop: Workshop) -> None:
    shop.write({"e/keep.py": "", "e/a.log": "", "e/d/b.log": "", "home.txt": "", "home.md": ""})
    image = shop.build("""
        FROM base
        COPY --exclude=*.log --exclude=d e /e
        COPY --exclude=*.md home* /h/
        """)
    layers = [Path(lower) for lower in image.lower_dirs()]
    assert sorted(os.listdir(layers[1] / "e")) == ["keep.py"]
    assert sorted(os.listdir(layers[0] / "h")) == ["home.txt"]


# ---- --chmod, --link ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "file", "folder"),
    [
        ("0640", 0o640, 0o640),
        ("4755", 0o4755, 0o4755),
        ("u=rwX,go=rX", 0o644, 0o755),
        ("a+x", 0o755, 0o755),
        ("go-rwx", 0o600, 0o700),
        ("g=u,o=", 0o660, 0o770),
        ("+t,u+s", 0o5644, 0o5755),
    ],
)
def test_chmod_takes_octal_and_symbolic_modes(
    shop: Workshop, mode: str, file: int, folder: int
) -> None:
    shop.write({"m/d/f": ""})
    (shop.context / "m/d/f").chmod(0o644)
    (shop.context / "m/d").chmod(0o755)
    image = shop.build(f"FROM base\nCOPY --chmod={mode} m /m\n")
    found = [stat.S_IMODE(shop.stat(image, f"/m/{name}").st_mode) for name in ("d/f", "d")]
    assert [oct(one) for one in found] == [oct(file), oct(folder)]


@pytest.mark.parametrize("mode", ["888", "77777", "u=q", "rwx", "u+rw;rm", "-1"])
def test_chmod_refuses_what_is_no_mode(shop: Workshop, mode: str) -> None:
    shop.write({"f": ""})
    with pytest.raises(DockerfileError, match=r"Dockerfile:2: COPY failed: --chmod=.* is no mode"):
        shop.build(f"FROM base\nCOPY --chmod={mode} f /f\n")


def test_link_is_the_same_layer_on_any_base_and_follows_no_link(shop: Workshop) -> None:
    shop.write({"l/f": "linked"})
    text = """
        FROM base
        RUN ln -s /elsewhere /l; echo {0} > /other
        COPY --link --chown=nobody l /l
        """
    first, second = shop.build(text.format(1)), shop.build(text.format(2))
    assert shop.cached == 1
    assert first.layers[-1] == second.layers[-1]
    assert shop.read(first, "/l/f") == "linked"
    assert shop.stat(first, "/l/f").st_uid == 65534
    assert stat.S_ISDIR(shop.stat(first, "/l").st_mode), "a folder in place of the link"


# ---- ADD ----------------------------------------------------------------------------------------


@pytest.fixture
def web() -> Iterator[tuple[str, dict[str, bytes], list[str]]]:
    """Yield a server's address, its files, and the paths it was asked for."""
    files: dict[str, bytes] = {}
    asked: list[str] = []

    def reply(request: Handler) -> None:
        asked.append(request.path)
        if request.path == "/moved":
            request.send(302, Location="/a.txt")
        elif request.path in files:
            date = "Tue, 14 Nov 2023 22:13:20 GMT"
            request.send(200, files[request.path], Last_Modified=date)
        else:
            request.send(404)

    with server(reply) as host:
        yield f"http://{host}", files, asked


def test_add_fetches_a_file(shop: Workshop, web: tuple[str, dict[str, bytes], list[str]]) -> None:
    url, files, _ = web
    files["/a.txt"] = b"from the web"
    text = f"FROM base\nADD {url}/a.txt?x=1 {url}/moved /d/\nADD --chmod=644 {url}/a.txt /named\n"
    files["/a.txt?x=1"] = b"query"
    image = shop.build(text)
    assert shop.read(image, "/d/a.txt") == "query"
    assert shop.read(image, "/d/moved") == shop.read(image, "/named") == "from the web"
    facts = shop.stat(image, "/d/a.txt")
    assert (stat.S_IMODE(facts.st_mode), facts.st_uid, int(facts.st_mtime)) == (
        0o600, 0, 1700000000,
    )  # fmt: skip
    shop.build(text)
    assert shop.cached == 2
    files["/a.txt"] = b"changed"
    assert shop.read(shop.build(text), "/named") == "changed"


def test_add_with_a_checksum_is_verified_and_needs_no_network_again(
    shop: Workshop, web: tuple[str, dict[str, bytes], list[str]]
) -> None:
    url, files, asked = web
    files["/c"] = b"content"
    digest = hashlib.sha256(b"content").hexdigest()
    text = f"FROM base\nADD --checksum=sha256:{digest} {url}/c /c\n"
    assert shop.read(shop.build(text), "/c") == "content"
    shop.build(text)
    assert asked == ["/c"]
    with pytest.raises(
        DockerfileError, match=r"its checksum is sha256:.*, not sha256:0000"
    ) as caught:
        shop.build(f"FROM base\nADD --checksum=sha256:{'0' * 64} {url}/c /c\n")
    assert caught.value.hint.startswith("the file has changed")


def test_add_unpacks_what_it_is_told_to(
    shop: Workshop, web: tuple[str, dict[str, bytes], list[str]]
) -> None:
    url, files, _ = web
    files["/a.tgz"] = archive_of(inside="x")
    (shop.context / "a.tgz").write_bytes(archive_of(inside="x"))
    image = shop.build(f"""
        FROM base
        ADD {url}/a.tgz /packed/
        ADD --unpack=true {url}/a.tgz /web/
        ADD --unpack=false a.tgz /kept/
        ADD a.tgz /local/
        """)
    assert shop.stat(image, "/packed/a.tgz").st_size == shop.stat(image, "/kept/a.tgz").st_size
    assert shop.read(image, "/web/inside") == shop.read(image, "/local/inside") == "x"


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("ADD {url}/nowhere /x", "the server answered 404"),
        ("ADD {url}/ /x/", "names no file"),
        ("ADD http://127.0.0.1:1/x /x", "http://127.0.0.1:1/x: connection refused"),
        ("ADD --checksum=md5:123 {url}/x /x", "--checksum=md5:123 is no checksum"),
        (f"ADD --checksum=sha256:{0:064d} Dockerfile /x", "is for files from the web"),
        ("ADD https://github.com/a/b.git /x", "ADD of a git repository is not supported"),
        ("ADD git@example.com:a/b /x", "ADD of a git repository is not supported"),
        ("ADD ftp://example.com/x /x", "ADD cannot fetch ftp://example.com/x"),
        ("ADD --keep-git-dir=true x /x", "ADD --keep-git-dir is not supported"),
        ("COPY --parents=maybe Dockerfile /x/", "--parents=maybe is neither true nor false"),
        ("COPY --checksum=x a /x", "COPY has no flag --checksum"),
    ],
)
def test_what_add_cannot_do_is_refused_with_its_line(
    shop: Workshop, web: tuple[str, dict[str, bytes], list[str]], line: str, problem: str
) -> None:
    with pytest.raises(DockerfileError) as caught:
        shop.build(f"FROM base\n{line.format(url=web[0])}\n")
    assert "Dockerfile:2: " in caught.value.message
    assert problem in caught.value.message
