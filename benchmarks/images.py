"""Images on their way: pulled, pushed, loaded, beside docker, with the same registry and on tmpfs.

A disk of unknown speed would be measured otherwise: on tmpfs what counts is how bytes are fetched,
inflated, verified and written as files. The image is of the size that a model's has: 600 MB
compressed, 100,000 files, six layers, with whiteouts, links and attributes. What the files hold are
pieces of this host's libraries and sources, so that they compress as such files do. It is made
once; each round begins without it.
"""

from __future__ import annotations

import contextlib
import functools
import os
import platform
import shutil
import socket
import subprocess
import sysconfig
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from random import Random

from minirun import kernel
from minirun.flags import Mount
from minirun.image.model import ImageConfig, RootFs
from minirun.image.store import Store
from minirun.record import replace

from .engines import Engine, Engines, docker_on, own_command
from .experiment import Experiment, Round, Row, Target
from .lab import Lab
from .timing import BenchError, run, time_ms

LAYERS, FILES_PER_LAYER, FILE_BYTES = 6, 16_700, 17_000
_CORPUS_BYTES = 96 << 20
_PORTS = {"source": 15_101, "target": 15_102}
_STARTS_IN_S = 20.0
_DISK = "size=14g,mode=755"


def experiments(lab: Lab, engines: Engines) -> Iterator[Experiment]:
    """Yield what is measured with the large image."""
    scene = Scene(lab, engines)
    what = f"an image of {LAYERS} layers and {LAYERS * FILES_PER_LAYER:,} files, 600 MB, on tmpfs"
    for row, verb, limit in (
        ("image-pull", "pull and unpack", 0.4),
        ("image-push", "push, to a registry that has nothing of it,", 0.8),
        ("image-load", "load, from an archive of docker save,", 0.5),
    ):
        reach = (Target(limit, "docker"),)
        contenders = {name: scene.round(row, name) for name in ("minirun", "docker")}
        yield Experiment((Row(row, f"{verb} {what}", targets=reach),), contenders, 0.1, 0)
    rows = (
        Row("image-second", "pull a second image that shares five of the six layers"),
        Row(
            "image-second-size",
            "what that adds to the disk: a layer of 300 MB as files; ours keeps its blob, to push",
            "MB",
            (Target(450.0),),
        ),
    )
    contenders = {name: scene.round("image-second", name) for name in ("minirun", "docker")}
    yield Experiment(rows, contenders, 0.1, 0)
    memory = Row("image-pull-memory", "the most memory that a pull has", "MB", (Target(150.0),))
    yield Experiment((memory,), {"minirun": scene.round(memory.id, "minirun")}, 0.05, 0)


class Scene:
    """A tmpfs with a registry, a docker daemon and a store of ours, made when first needed."""

    def __init__(self, lab: Lab, engines: Engines) -> None:
        self._lab = lab
        self._has_docker = "docker" in engines.peers
        self._until_the_end = contextlib.ExitStack()  # never closed: all of it ends with the lab

    def round(self, row: str, name: str) -> Round:
        """Return what measures one row with one contender."""
        acts: Mapping[str, Callable[[Engine], Mapping[str, float]]] = {
            "image-pull": self._pull,
            "image-push": self._push,
            "image-load": self._load,
            "image-second": self._second,
            "image-pull-memory": self._memory,
        }
        return lambda: acts[row](self._engine(name))

    # ── the acts ──────────────────────────────────────────────────────────────────────────────

    def _pull(self, engine: Engine) -> Mapping[str, float]:
        self._clear(engine)
        return {"image-pull": time_ms(engine.argv("pull", "-q", self._name("app")))}

    def _push(self, engine: Engine) -> Mapping[str, float]:
        if not self._has(engine):
            self._pull(engine)
        name = f"127.0.0.1:{_PORTS['target']}/app:1"
        run(engine.argv("tag", self._name("app"), name))
        with _registry(self._top / "target", _PORTS["target"]):
            taken = time_ms(engine.argv("push", "-q", name))
        run(engine.argv("rmi", name))
        shutil.rmtree(self._top / "target")
        return {"image-push": taken}

    def _load(self, engine: Engine) -> Mapping[str, float]:
        archive = self._archive
        self._clear(engine)
        return {"image-load": time_ms(engine.argv("load", "-q", "-i", archive))}

    def _second(self, engine: Engine) -> Mapping[str, float]:
        self._pull(engine)
        before = _used_mb(self._top)
        taken = time_ms(engine.argv("pull", "-q", self._name("second")))
        added = _used_mb(self._top) - before
        run(engine.argv("rmi", self._name("second")))
        return {"image-second": taken, "image-second-size": added}

    def _memory(self, engine: Engine) -> Mapping[str, float]:
        self._clear(engine)
        process = subprocess.Popen(
            engine.argv("pull", "-q", self._name("app")), stdout=subprocess.DEVNULL
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise BenchError("the pull failed")
        return {"image-pull-memory": usage.ru_maxrss / 1000}

    # ── what they need ────────────────────────────────────────────────────────────────────────

    @functools.cached_property
    def _top(self) -> Path:
        """Mount the tmpfs, start the registry, make the images and put them there."""
        top = self._lab.folder("images")
        kernel.mount("tmpfs", str(top), "tmpfs", Mount(0), _DISK)
        _start_registry(top / "source", _PORTS["source"])
        making = top / "making"
        _make_images_apart(making, [self._name("app"), self._name("second")])
        maker = _minirun_at(making)
        for name in ("app", "second"):
            run(maker.argv("push", "-q", self._name(name)), timeout_s=600)
        shutil.rmtree(making)
        return top

    @functools.cached_property
    def _engines(self) -> dict[str, Engine]:
        found = {"minirun": _minirun_at(self._top / "minirun")}
        if self._has_docker:
            lab = Lab(self._top)
            lab.cgroup = self._lab.cgroup
            found["docker"] = docker_on(lab, self._until_the_end)
        return found

    @functools.cached_property
    def _archive(self) -> str:
        """Return the image as docker saves it, and as all can load it."""
        path = str(self._top / "image.tar")
        engine = self._engines["docker" if self._has_docker else "minirun"]
        if not self._has(engine):
            self._pull(engine)
        run(engine.argv("save", "-o", path, self._name("app")), timeout_s=600)
        return path

    def _engine(self, name: str) -> Engine:
        if name not in self._engines:
            raise BenchError("no docker here")
        return self._engines[name]

    def _name(self, repository: str) -> str:
        return f"127.0.0.1:{_PORTS['source']}/{repository}:1"

    def _has(self, engine: Engine) -> bool:
        return bool(run(engine.argv("images", "-q", self._name("app").rpartition(":")[0])).strip())

    def _clear(self, engine: Engine) -> None:
        """Leave an engine without images."""
        run(engine.argv("image", "prune", "-af"), timeout_s=300)


def _minirun_at(folder: Path) -> Engine:
    """Return our command, with all that it keeps below a folder."""
    data, root = folder / "data", folder / "run"
    return Engine("minirun", (own_command("minirun"), "--data", str(data), "--root", str(root)))


@contextlib.contextmanager
def _registry(folder: Path, port: int) -> Iterator[None]:
    """Run a registry while the block lasts."""
    process = _start_registry(folder, port)
    try:
        yield
    finally:
        process.kill()
        process.wait()


def _start_registry(folder: Path, port: int) -> subprocess.Popen[bytes]:
    """Start Debian's registry; one that nobody ends, ends with the lab."""
    program = shutil.which("docker-registry")
    if program is None:
        raise BenchError("no docker-registry in PATH", hint="apt-get install docker-registry")
    folder.mkdir(parents=True)
    (folder / "config.yml").write_text(
        "version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\n"
        f"storage: {{filesystem: {{rootdirectory: {folder}/data}}}}\n"
        f'http: {{addr: "127.0.0.1:{port}", secret: s}}\n'
    )
    process = subprocess.Popen(
        [program, "serve", str(folder / "config.yml")],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + _STARTS_IN_S
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return process
        time.sleep(0.05)
    raise BenchError("docker-registry did not start")


def _make_images_apart(folder: Path, names: list[str]) -> None:
    """Make them in a process of their own: what a child had before exec counts as its most memory.

    See: getrusage(2), ru_maxrss.
    """
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            _make_images(folder, names)
            code = 0
        finally:
            os._exit(code)
    if os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]):
        raise BenchError("the images could not be made")


def _make_images(folder: Path, names: list[str]) -> None:
    """Make two images of which all but the last layer are the same."""
    store = Store(str(folder / "data"))
    corpus, random = _corpus(), Random(1)
    with store.write() as writer:
        layers = []
        for number in range(LAYERS + 1):
            upper = Path(writer.scratch) / f"upper{number}"
            _fill(upper, number, lambda: _piece(corpus, random))
            layers.append(writer.add_layer_from_upper(str(upper)))
        plain = ImageConfig("amd64", "linux", RootFs("layers"))
        writer.write_image(plain, layers[:LAYERS], names[:1])
        shared = [*layers[: LAYERS - 1], layers[LAYERS]]
        writer.write_image(replace(plain, author="another"), shared, names[1:])


def _corpus() -> bytes:
    """Return what Python's and the system's files hold, one after the other."""
    found = bytearray()
    for folder in (sysconfig.get_paths()["stdlib"], f"/usr/lib/{platform.machine()}-linux-gnu"):
        end = len(found) + _CORPUS_BYTES // 2
        for file in sorted(Path(folder).rglob("*")):
            if len(found) >= end:
                break
            if file.suffix in (".py", ".so") and file.is_file():
                found += file.read_bytes()[: end - len(found)]
    return bytes(found)


def _piece(corpus: bytes, random: Random) -> bytes:
    """Return a file's content: small ones are many, as in any library."""
    size = min(int(random.expovariate(1 / FILE_BYTES)), len(corpus) // 2)
    start = random.randrange(len(corpus) - size)
    return corpus[start : start + size]


def _fill(upper: Path, number: int, piece: Callable[[], bytes]) -> None:
    """Write a layer's files; some links, attributes and whiteouts."""
    upper.mkdir(mode=0o755)
    for index in range(FILES_PER_LAYER):
        folder = upper / f"layer{number}/{index // 100}"
        if index % 100 == 0:
            folder.mkdir(parents=True)
        (folder / f"file{index}.py").write_bytes(piece())
    (upper / f"layer{number}/link").symlink_to("0")
    os.link(upper / f"layer{number}/0/file0.py", upper / f"layer{number}/hard")
    os.setxattr(upper / f"layer{number}/0/file1.py", "user.note", b"kept")
    if number:
        below = upper / f"layer{number - 1}/1"
        below.mkdir(parents=True)
        os.mknod(below / "file100.py", 0o020000)


def _used_mb(top: Path) -> float:
    """Return what a file system holds."""
    found = os.statvfs(top)
    return (found.f_blocks - found.f_bfree) * found.f_frsize / 1e6
