"""The store under stress: many processes, kill -9 at any moment, no room, other versions."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from minirun.errors import ImageError
from minirun.image import layout
from minirun.image.store import Store
from minirun.image.store_version import VERSION
from minirun.image.verify import verify
from tests.integration.cli_lab import fresh
from tests.integration.image_lab import PLAIN, everything_in, listing

pytestmark = pytest.mark.requires("root")

WORKER = Path(__file__).with_name("store_worker.py")
#: What changes something on the disk: the moments at which being killed can matter.
CHANGES = (
    "rename,renameat,mkdir,mkdirat,rmdir,unlink,unlinkat,symlink,symlinkat,link,linkat,write,"
    "fchown,flock,mknodat,ftruncate"
)


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory that an added layer is made of."""
    folder = tmp_path_factory.mktemp("content")
    (folder / "deep/er").mkdir(parents=True)
    for number in range(5):
        (folder / f"deep/er/{number}").write_bytes(os.urandom(3000))
    return folder


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory, content: Path) -> Path:
    """Return an OCI layout with one image of three layers."""
    top = tmp_path_factory.mktemp("source")
    store = Store(str(top / "store"))
    with store.write() as writer:
        layers = []
        for number in range(3):
            folder = top / str(number)
            shutil.copytree(content, folder / f"app{number}")
            (folder / "big").write_bytes(os.urandom(200_000))
            layers.append(writer.add_layer_from_dir(str(folder)))
        image = writer.write_image(PLAIN, layers, ["original"])
    layout.save([image], str(top / "layout"))
    return top / "layout"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "root"


def argv(how: str, root: Path, source: Path, content: Path, *more: str) -> list[str]:
    return [sys.executable, str(WORKER), how, str(root), str(source), str(content), *more]


def environment() -> dict[str, str]:
    """Return what lets a worker import the project from wherever this test is."""
    top = str(Path(__file__).parents[2])
    return os.environ | {"PYTHONPATH": top, "MINIRUN_DEFAULT_REGISTRY": "docker.io"}


def assert_whole(store: Store) -> None:
    """Every visible image is as its digests say, layer by layer, byte by byte."""
    for image in store.images():
        assert list(verify(store, image)) == []


def assert_nothing_left(root: Path) -> None:
    """A collection has taken away all that is not part of an image."""
    Store(str(root)).gc()
    left = {name: os.listdir(root / name) for name in ("tmp", "leases", "locks", "partial")}
    assert left == {name: [] for name in left}


def test_many_processes_do_everything_at_once(root: Path, source: Path, content: Path) -> None:
    with contextlib.ExitStack() as stack:
        workers = [_start(stack, argv("many", root, source, content, str(n))) for n in range(4)]
        with contextlib.suppress(subprocess.TimeoutExpired):
            workers[0].wait(5)  # none of them ends before it is told to, but by an error
        done = 0
        for worker in workers:
            out, _ = worker.communicate("", timeout=60)
            assert worker.returncode == 0
            done += int(out)
    assert done > 20
    store = Store(str(root))
    assert_whole(store)
    for image in store.images():
        store.remove(image.id, force=True)
    assert_nothing_left(root)
    assert os.listdir(root / "layers") == os.listdir(root / "blobs/sha256") == []


def _start(stack: contextlib.ExitStack, command: list[str]) -> subprocess.Popen[str]:
    """Start a worker, which ends with the stack at the latest."""
    worker = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment()
    )
    stack.enter_context(worker)
    stack.callback(worker.kill)
    return worker


@pytest.mark.requires("strace")
def test_killed_at_any_change_the_store_is_whole_and_the_next_attempt_succeeds(
    root: Path, source: Path, content: Path, tmp_path: Path
) -> None:
    command = argv("once", root, source, content)
    moments = _moments(command, tmp_path / "log")
    assert len(moments) > 60
    wanted = everything_in(root / "layers")
    for name, nth in moments[3 :: len(moments) // 8]:
        shutil.rmtree(root)
        inject = ["-e", f"trace={name}", "-e", f"inject={name}:signal=KILL:when={nth}"]
        strace = ["strace", "-f", "-qq", *inject, "-o", "/dev/null"]
        killed = subprocess.run([*strace, *command], check=False, env=environment())
        assert killed.returncode == -9, f"not killed at {name} number {nth}"
        assert_whole(Store(str(root)))
        subprocess.run(command, check=True, env=environment())
        assert_whole(Store(str(root)))
        assert_nothing_left(root)
        assert everything_in(root / "layers") == wanted


def _moments(command: list[str], log: Path) -> list[tuple[str, int]]:
    """Return the changes of the main thread in order, as strace counts: (call, how often so far).

    The other threads' work is that of one layer each; which one gets which is chance.
    """
    strace = ["strace", "-f", "-qq", "-e", f"trace={CHANGES}", "-o", str(log)]
    subprocess.run([*strace, *command], check=True, env=environment())
    lines = [line.split(maxsplit=1) for line in log.read_text().splitlines()]
    (main, _), *_ = Counter(thread for thread, _ in lines).most_common()
    seen: Counter[str] = Counter()
    moments = []
    for thread, text in lines:
        name = text.partition("(")[0]
        if thread == main and name.isidentifier():
            seen[name] += 1
            moments.append((name, seen[name]))
    return moments


def test_a_store_that_was_moved_works_where_it_is(root: Path, source: Path, tmp_path: Path) -> None:
    (image,) = layout.load(Store(str(root)), str(source), ["app"])
    before = [listing(path) for path in image.lower_dirs()]
    os.rename(root, tmp_path / "elsewhere")
    moved = Store(str(tmp_path / "elsewhere"))
    assert_whole(moved)
    assert [listing(path) for path in moved.resolve("app").lower_dirs()] == before


def test_a_store_of_the_first_version_is_read_and_brought_up(root: Path, source: Path) -> None:
    store = Store(str(root))
    layout.load(store, str(source), ["app"])
    (root / "version").unlink()
    (root / "partial").rmdir()
    assert store.resolve("app").familiar_names == ("app:latest",)
    assert not (root / "version").exists()  # reading changes nothing
    store.gc()
    assert (root / "version").read_text() == f"{VERSION}\n"
    assert_whole(store)


@pytest.mark.parametrize("text", ["3", "99999", "two"])
def test_a_store_of_a_newer_version_is_refused_unread(root: Path, source: Path, text: str) -> None:
    store = Store(str(root))
    layout.load(store, str(source), ["app"])
    (root / "version").write_text(text)
    before = everything_in(root)
    for use in (store.images, store.gc, store.df, store.write, lambda: store.resolve("app")):
        with pytest.raises(ImageError, match=f"version.*{text}"):
            use()
    assert everything_in(root) == before


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Return a file system of 600 kB."""
    place = tmp_path / "disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=600k", "none", str(place)], check=True)
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_full_disk_fails_in_one_sentence_and_leaves_room_again(
    small_disk: Path, source: Path, content: Path
) -> None:
    store = Store(str(small_disk / "store"))
    with store.write() as writer:
        layer = writer.add_layer_from_dir(str(content))
        writer.write_image(PLAIN, [layer], ["small"])
    free = os.statvfs(small_disk).f_bavail
    with pytest.raises(ImageError, match="no space left") as caught:
        layout.load(store, str(source), ["large"])
    assert "prune" in caught.value.hint
    assert [image.familiar_names for image in store.images()] == [("small:latest",)]
    store.gc()
    assert os.statvfs(small_disk).f_bavail == free
    assert_whole(store)


def test_a_read_only_store_can_be_read_and_says_why_it_cannot_be_written(
    small_disk: Path, content: Path, tmp_path: Path
) -> None:
    store = Store(str(small_disk / "store"))
    with store.write() as writer:
        writer.write_image(PLAIN, [writer.add_layer_from_dir(str(content))], ["small"])
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    image = store.resolve("small")
    layout.save([image], str(tmp_path / "copy"))
    assert store.df().images == 1
    assert len(store.history(image)) == 1
    assert list(verify(store, image)) == []
    for use in (
        store.gc,
        store.write,
        lambda: store.tag(image, "x"),
        lambda: store.remove("small"),
    ):
        with pytest.raises(ImageError, match="read-only") as caught:
            use()
        assert "MINIRUN_DATA" in caught.value.hint


@pytest.mark.requires("overlay", "cgroups", "busybox")
def test_an_image_is_never_collected_below_a_container_that_is_being_made() -> None:
    """What if rmi and run meet: the container runs, or is refused; its files never vanish."""
    with fresh() as cli:
        cli("run", "--name", "base", "--network", "none", str(cli.rootfs), "true")
        cli("commit", "base", "app")
        cli("rm", "base")
        cli("save", "-o", str(cli.data / "app.tar"), "app")
        for _ in range(3):
            going = [cli.spawn("rmi", "-f", "app")]
            going += [cli.spawn("run", "--network", "none", "app", "cat", "/etc/passwd")]
            for process in going:
                out, err = process.communicate(timeout=60)
                if process.args[1] == "run":  # type: ignore[index] # a list
                    met = re.search(
                        rb"no such image|was removed while|pull access denied|no registry", err
                    )
                    assert out.startswith(b"root:") or met, err
            for name in cli("ps", "-aq").out.split():
                assert cli.spawn("start", "-a", name).communicate(timeout=60)[1] == b""
                cli("rm", name)
            cli("image", "prune", "-af")
            cli("load", "-i", str(cli.data / "app.tar"))
