"""Layers and documents of an enemy: refused with the entry named, or harmless; found by hypothesis.

Each unpacking happens in a child whose root is a folder that stands for the host: a bug harms
nobody, and shows as a change outside of the layer.
"""

from __future__ import annotations

import codecs
import contextlib
import gzip
import io
import json
import os
import stat
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from minirun import kernel
from minirun.errors import ImageError
from minirun.flags import Clone, Mount
from minirun.image import layout, model
from minirun.image.layers import unpack_layer
from minirun.image.limits import Limits
from minirun.image.model import Descriptor, Digest, ImageConfig, Index, Manifest
from minirun.image.store import Store
from minirun.image.streams import Guarded
from minirun.image.tarheader import DIRECTORY, REGULAR
from minirun.image.tarstream import Entry
from minirun.image.tarwriter import TarWriter
from tests.integration.cli_lab import MINIRUN, fresh
from tests.integration.image_lab import (
    PLAIN,
    directory,
    everything_in,
    hardlink,
    make_image,
    member,
    symlink,
    tar,
)

pytestmark = pytest.mark.requires("root")

Member = tuple[tarfile.TarInfo, bytes]
SMALL = Limits(entries=100, size_bytes=1 << 20)


@pytest.fixture
def target(tmp_path: Path) -> Iterator[int]:
    path = tmp_path / "layer"
    path.mkdir()
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    yield fd
    os.close(fd)


def unpack(raw: bytes, target: int, limits: Limits = SMALL) -> None:
    unpack_layer(io.BytesIO(raw), target, limits=limits)


def header(name: str, **fields: bytes) -> bytes:
    """Return one header block, some of whose fields hold exactly these bytes."""
    places = {"size": (124, 12), "uid": (108, 8), "mtime": (136, 12), "type": (156, 1)}
    block = bytearray(member(name)[0].tobuf(tarfile.GNU_FORMAT)[:512])
    for key, value in fields.items():
        start, width = places[key]
        block[start : start + width] = value.ljust(width, b"\0")
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


END = bytes(1024)
MINUS_ONE = b"\xff" * 12
RAW = {
    "negative size": (header("x", size=MINUS_ONE) + END, "size|number"),
    "negative owner": (header("x", uid=b"\xff" * 8) + END, "negative uid"),
    "size of 2**80": (header("x", size=b"\x80\x00" + b"\xff" * 10) + END, "size|bytes|number"),
    "letters for a size": (header("x", size=b"12x4") + END, "bad size"),
    "an unknown kind": (header("x", type=b"Z") + END, "kind|type|unknown"),
    "data that is not there": (header("x", size=b"00000777777") + END, "truncated"),
    "no end": (header("x")[:100], "truncated"),
}


@pytest.mark.parametrize("case", RAW)
def test_a_header_that_lies_is_refused(target: int, case: str) -> None:
    raw, problem = RAW[case]
    with pytest.raises(ImageError, match=problem):
        unpack(raw, target)


def pax(name: str, **records: str) -> Member:
    info, data = member(name)
    info.pax_headers = records
    return info, data


@pytest.mark.parametrize(
    ("members", "problem"),
    [
        ([member("d/" * 2500 + "x")], "longer than Linux allows|too long"),
        ([member("a" * 256)], "a{200}.*too long"),
        ([pax("x", size="-1")], "size|number"),
        ([pax("x", mtime="1e99")], "time|number"),
        ([pax("x", **{"SCHILY.xattr.trusted.overlay.redirect": "/"})], "'x'.*overlayfs"),
        ([pax("x", **{"SCHILY.xattr.user.overlay.opaque": "y"})], "'x'.*overlayfs"),
        ([pax("x", **{"GNU.sparse.map": "-5,10", "GNU.sparse.size": "1"})], "sparse"),
        ([pax("x", **{"GNU.sparse.map": "0,9", "GNU.sparse.size": "1"})], "sparse"),
        (
            [pax("x", **{"GNU.sparse.map": "0,0", "GNU.sparse.size": str(1 << 50)})],
            "more than 1048576",
        ),
        ([member(f"{i}") for i in range(101)], "more than 100 entries"),
        ([member("x", bytes(600_000)), member("y", bytes(600_000))], "1048576 bytes"),
    ],
)
def test_an_entry_that_asks_for_too_much_is_refused(
    target: int, members: list[Member], problem: str
) -> None:
    with pytest.raises(ImageError, match=problem):
        unpack(tar(members), target)


def test_the_last_of_several_entries_of_one_name_wins(target: int, tmp_path: Path) -> None:
    members = [member("x", b"1"), directory("x"), member("x/in", b"2"), symlink("x", "/etc/passwd")]
    unpack(tar([*members, member("x", b"last"), hardlink("y", "x"), member("y", b"own")]), target)
    assert {path.name: path.read_text() for path in (tmp_path / "layer").iterdir()} == {
        "x": "last",
        "y": "own",
    }
    assert Path("/etc/passwd").read_text() != "last"


def test_names_that_are_not_utf_8_come_through(target: int, tmp_path: Path) -> None:
    raw = b"\xff\xfe-\xc3\x28"
    info, _ = member(os.fsdecode(raw))
    unpack(info.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape") + END, target)
    assert os.listdir(os.fsencode(tmp_path / "layer")) == [raw]


def test_absolute_names_land_in_the_layer(target: int, tmp_path: Path) -> None:
    unpack(tar([member("/etc/x", b"1"), member("//b/./y", b"2")]), target)
    assert (tmp_path / "layer/etc/x").exists()
    assert (tmp_path / "layer/b/y").exists()


def hostile_layout(folder: Path, store: Store, members: list[Member]) -> Path:
    """Return a layout with a sound first layer and a second one made of these members."""
    (folder / "content").mkdir()
    (folder / "content/f").write_text("sound")
    sound = make_image(store, folder / "content", "sound")
    layout.save([sound], str(folder / "layout"))
    raw = tar(members)

    def keep(data: bytes, media_type: str) -> Descriptor:
        import hashlib

        digest = hashlib.sha256(data).hexdigest()
        (folder / "layout/blobs/sha256" / digest).write_bytes(data)
        return Descriptor(media_type, Digest(f"sha256:{digest}"), len(data))

    layer = keep(raw, model.OCI_LAYER)
    rootfs = model.RootFs("layers", (*sound.config.rootfs.diff_ids, layer.digest))
    config = keep(
        model.dump(ImageConfig("amd64", "linux", rootfs, config=PLAIN.config)), model.OCI_CONFIG
    )
    manifest = Manifest(2, config, (*sound.manifest.layers, layer), model.OCI_MANIFEST)
    described = keep(model.dump(manifest), model.OCI_MANIFEST)
    index = model.dump(Index(2, (described,), model.OCI_INDEX))
    (folder / "layout/index.json").write_bytes(index)
    return folder / "layout"


def test_a_hostile_image_leaves_the_store_as_it_was(tmp_path: Path) -> None:
    other = Store(str(tmp_path / "other"))
    members = [member("fine"), symlink("a", "/"), member("a/../../etc/cron.d/x")]
    source = hostile_layout(tmp_path, other, members)
    store = Store(str(tmp_path / "store"))
    store.prepare()
    before = everything_in(store.root)
    with pytest.raises(ImageError, match=r"'a/\.\./\.\./etc/cron\.d/x'"):
        layout.load(store, str(source))
    store.gc()
    assert everything_in(store.root) == before


def test_more_entries_than_are_allowed_are_refused_and_leave_nothing(tmp_path: Path) -> None:
    source = hostile_layout(
        tmp_path, Store(str(tmp_path / "other")), [member(f"e{i}") for i in range(101)]
    )
    store = Store(str(tmp_path / "store"))
    store.prepare()
    before = everything_in(store.root)
    refused = minirun(store, "entries=100", "load", "-i", str(source))
    assert refused.returncode == 125
    assert "layer entry 'e100': more than 100 entries in one layer" in refused.stderr
    assert "MINIRUN_LAYER_LIMITS=entries=200 allows more" in refused.stderr
    store.gc()
    assert everything_in(store.root) == before
    assert minirun(store, "entries=200", "load", "-qi", str(source)).returncode == 0


@pytest.mark.parametrize("text", ["files=3", "entries=many", "entries"])
def test_limits_that_are_none_are_refused(tmp_path: Path, text: str) -> None:
    refused = minirun(Store(str(tmp_path)), text, "load", "-i", str(tmp_path))
    assert refused.returncode == 125
    assert "hint: " in refused.stderr


def test_the_documentation_tells_the_limits() -> None:
    told = (Path(__file__).parents[2] / "docs/images.md").read_text()
    limits = Limits()
    assert f"more than {limits.entries:,} entries" in told
    assert f"more than {limits.size_bytes >> 40} TiB" in told
    assert f"more than {limits.ratio} times its size" in told


def minirun(store: Store, limits: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run the command line with limits for layers."""
    environment = {**os.environ, "MINIRUN_DATA": store.root, "MINIRUN_LAYER_LIMITS": limits}
    argv = [str(MINIRUN), *words]
    return subprocess.run(argv, capture_output=True, text=True, check=False, env=environment)


def test_zeros_that_inflate_a_thousand_times_are_refused(
    target: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Guarded, "FREE_BYTES", 1 << 20)
    bomb = gzip.compress(tar([member("zeros", bytes(8 << 20))]))
    with pytest.raises(ImageError, match="'zeros': layer inflates to more than 500 times its size"):
        unpack_layer(io.BytesIO(bomb), target)


def test_a_file_of_zeros_beside_others_is_no_bomb(
    target: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Guarded, "FREE_BYTES", 1 << 20)
    members = [member("weights", os.urandom(64 << 10)), member("zeros", bytes(8 << 20))]
    assert unpack_layer(io.BytesIO(gzip.compress(tar(members))), target)[1].entries == 2


@pytest.mark.requires("overlay", "cgroups", "busybox")
def test_a_device_in_an_image_opens_nothing(tmp_path: Path) -> None:
    with fresh() as cli:
        root = tmp_path / "root"
        (root / "d").mkdir(parents=True)
        os.mknod(root / "d/disk", stat.S_IFBLK | 0o666, os.makedev(7, 0))
        os.mknod(root / "d/memory", stat.S_IFCHR | 0o666, os.makedev(1, 1))
        os.mknod(root / "d/null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
        cli("run", "--name", "one", "--network", "none", str(cli.rootfs), "true")
        cli("cp", "-a", str(root / "d"), "one:/d")
        cli("commit", "one", "devices")
        run = ("run", "--rm", "--network", "none", "devices", "sh", "-c")
        assert cli(*run, "ls -l /d").out.count("\n") == 4
        for name in ("disk", "memory"):
            done = cli(*run, f"head -c 1 /d/{name}", check=False)
            assert done.code != 0
            assert done.out == ""
            assert "not permitted" in done.err


# ── what nobody has thought of ────────────────────────────────────────────────────────────────

PARTS = st.sampled_from(
    [
        "..",
        ".",
        "",
        "a",
        "b",
        "etc",
        "x" * 255,
        ".wh.a",
        ".wh.b",
        ".wh..wh..opq",
        ".wh...",
        "é\udcff",
    ]
)
PATHS = st.lists(PARTS, min_size=1, max_size=4).map("/".join)
KINDS = st.sampled_from(
    [getattr(tarfile, f"{name}TYPE") for name in "REG DIR SYM LNK CHR BLK FIFO".split()]
)
MODES = st.sampled_from([0o644, 0o755, 0o4755, 0o000, 0o7777])


@st.composite
def members_of_an_enemy(draw: st.DrawFn) -> list[Member]:
    found = []
    for _ in range(draw(st.integers(1, 10))):
        kind = draw(KINDS)
        data = draw(st.binary(max_size=40)) if kind == tarfile.REGTYPE else b""
        link = draw(PATHS) if kind in (tarfile.SYMTYPE, tarfile.LNKTYPE) else ""
        info, data = member(draw(PATHS), data, kind, link, mode=draw(MODES))
        info.uid = draw(st.sampled_from([0, 1000, 2**32 - 2]))
        info.devmajor = info.devminor = draw(st.integers(0, 7))
        found.append((info, data))
    return found


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder that stands for the host."""
    top = tmp_path_factory.mktemp("host")
    for name in ("a", "b", "etc", "proc", "store"):
        (top / name).mkdir()
        (top / name / "canary").write_text("sings")
    return top


def outside(host: Path) -> list[tuple[str, int, int, bytes]]:
    """Return what the host has beside its store."""
    found = []
    for top, folders, files in os.walk(host):
        if top == str(host):
            folders.remove("store")
        for name in (*folders, *files):
            path = os.path.join(top, name)
            seen = os.lstat(path)
            content = Path(path).read_bytes() if name in files else b""
            found.append((path, seen.st_mode, seen.st_uid, content))
    return sorted(found)


def unpack_on(host: Path, raw: bytes) -> int:
    """Unpack with ``host`` for a root; 0 where it ends as it may: well, or with an ImageError."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            _see_only(host)
            path = f"/store/{os.urandom(8).hex()}"
            os.mkdir(path)
            with contextlib.suppress(ImageError):
                unpack(raw, os.open(path, os.O_RDONLY))
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _see_only(host: Path) -> None:
    """Take a folder for the root, with a /proc that ends with this process."""
    codecs.lookup("ascii")  # nothing can be imported in there
    kernel.unshare(Clone.CLONE_NEWNS)
    kernel.mount(None, "/", None, Mount.MS_REC | Mount.MS_PRIVATE, None)
    kernel.mount("proc", str(host / "proc"), "proc", Mount(0), None)
    os.chroot(host)
    os.umask(0)


def assert_harmless(host: Path, raw: bytes) -> None:
    before = outside(host)
    assert unpack_on(host, raw) == 0
    assert outside(host) == before


FUZZ = settings(
    max_examples=150,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@FUZZ
@given(members=members_of_an_enemy())
def test_no_layer_reaches_the_host(host: Path, members: list[Member]) -> None:
    assert_harmless(host, tar(members))


@FUZZ
@given(members=members_of_an_enemy(), data=st.data())
def test_no_damage_to_a_layer_is_more_than_an_error(
    host: Path, members: list[Member], data: st.DataObject
) -> None:
    raw = bytearray(tar(members))
    for _ in range(data.draw(st.integers(1, 6))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    assert_harmless(host, bytes(raw))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)
SOUND: dict[type[Manifest | Index | ImageConfig], dict[str, object]] = {
    Manifest: {
        "schemaVersion": 2,
        "config": {"mediaType": "x", "digest": f"sha256:{'0' * 64}", "size": 1},
        "layers": [{"mediaType": "x", "digest": f"sha256:{'1' * 64}", "size": 1}],
    },
    Index: {"schemaVersion": 2, "manifests": [], "annotations": {"a": "b"}},
    ImageConfig: {
        "architecture": "amd64",
        "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{'0' * 64}"]},
        "config": {
            "Env": ["A=1"],
            "ExposedPorts": {"80/tcp": {}},
            "Healthcheck": {"Test": ["NONE"]},
        },
        "history": [{"created_by": "x"}],
    },
}


@FUZZ
@given(data=st.data())
def test_no_document_is_more_than_an_error(data: st.DataObject) -> None:
    """One value of a sound document is replaced by any other; digests stay digests."""
    kind = data.draw(st.sampled_from(list(SOUND)))
    document = json.loads(json.dumps(SOUND[kind]))
    place: object = document
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))  # type: ignore[arg-type]
        if not keys:
            break
        key = data.draw(st.sampled_from(keys))
        inner = place[key]  # type: ignore[index]
        if not isinstance(inner, dict | list) or data.draw(st.booleans()):
            place[key] = data.draw(JSON)  # type: ignore[index]
            break
        place = inner
    with contextlib.suppress(ImageError):
        found = model.parse(kind, json.dumps(document).encode(), "it")
        if isinstance(found, Manifest):
            assert all(len(model.hex_of(layer.digest)) == 64 for layer in found.layers)


# ---- as many as they like -----------------------------------------------------------------------

ENTRIES = int(os.environ.get("MINIRUN_TEST_ENTRIES", "20000"))
_UNPACK = """
import os, resource, sys
from minirun.image.layers import unpack_layer

before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(unpack_layer(sys.stdin.buffer, int(sys.argv[1]))[1].entries)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.parametrize("name", ["d{0}/e{1}/", "d{0}/.wh.e{1}", "e{1}/.wh..wh..opq"])
def test_memory_does_not_grow_with_the_entries(target: int, name: str) -> None:
    """What if a layer has a million of them? Ask with MINIRUN_TEST_ENTRIES."""
    argv = [sys.executable, "-c", _UNPACK, str(target)]
    with subprocess.Popen(
        argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, pass_fds=[target]
    ) as unpacking:
        assert unpacking.stdin is not None
        assert unpacking.stdout is not None
        writer = TarWriter(unpacking.stdin.write)
        for number in range(ENTRIES):
            path = name.format(number // 1000, number)
            kind = DIRECTORY if path.endswith("/") else REGULAR
            writer.add(Entry(path.rstrip("/"), kind, 0o755))
        writer.close()
        unpacking.stdin.close()
        entries, grown_kib = unpacking.stdout.read().split()
    assert int(entries) == ENTRIES
    assert int(grown_kib) < 4 << 10


def test_global_headers_without_end_are_refused(target: int) -> None:
    def record(number: int) -> bytes:
        body = b"999999 note%06d=" % number
        body = body.ljust(999_998, b"x") + b"\n"
        fields = {"size": b"%011o" % len(body), "type": b"g"}
        return header("g", **fields) + body + bytes(-len(body) % 512)

    with pytest.raises(ImageError, match="global headers are too long"):
        unpack(b"".join(map(record, range(3))), target, Limits())
