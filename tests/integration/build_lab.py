"""A workshop for tests of the builder: a store, a small base image, and an executor.

The executor is unshare, overlay and chroot, and nothing else: it isolates mounts and processes so
that a test leaves nothing behind; it is no sandbox.
"""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import textwrap
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from minirun import kernel
from minirun.flags import PR_SET_PDEATHSIG, Clone, Mount
from minirun.image.build import Options, build, host_architecture
from minirun.image.build_executor import Bind, RunStep, Tmpfs
from minirun.image.build_progress import Plain
from minirun.image.build_rootfs import merged, open_in, owner_of
from minirun.image.capture_stage import Stage
from minirun.image.capture_system import add_busybox, add_skeleton
from minirun.image.model import ImageConfig, RootFs
from minirun.image.store import Image, Store


class ChrootExecutor:
    """Runs a step below chroot, in mount and pid namespaces of its own."""

    def __init__(self) -> None:
        self.steps: list[RunStep] = []

    def run(self, step: RunStep, output: Callable[[bytes], None]) -> int:
        """See ``Executor.run``."""
        self.steps.append(step)
        read_end, write_end = os.pipe()
        pid = os.fork()
        if pid == 0:
            _leave(lambda: _outer(step, write_end))
        os.close(write_end)
        try:
            while data := os.read(read_end, 65536):
                output(data)
        except BaseException:
            os.kill(pid, signal.SIGKILL)
            raise
        finally:
            os.close(read_end)
        return _status(os.waitpid(pid, 0)[1])


def _leave(work: Callable[[], int]) -> None:
    """Run in a forked child, which must never return into the test."""
    try:
        os._exit(work())
    except BaseException as error:  # noqa: BLE001 # reported through the pipe, which is fd 2
        os.write(2, f"executor: {error!r}\n".encode())
        os._exit(125)


def _outer(step: RunStep, pipe: int) -> int:
    os.dup2(pipe, 1)
    os.dup2(pipe, 2)
    namespaces = Clone.CLONE_NEWNS | Clone.CLONE_NEWPID
    if step.network == "none":
        namespaces |= Clone.CLONE_NEWNET
    kernel.unshare(namespaces)
    pid = os.fork()
    if pid == 0:
        _leave(lambda: _inner(step))
    return _status(os.waitpid(pid, 0)[1])


def _inner(step: RunStep) -> int:
    kernel.mount(None, "/", None, Mount.MS_REC | Mount.MS_PRIVATE, None)
    root = "/mnt"
    options = "redirect_dir=off,metacopy=off,index=off"
    lowers = ":".join(str(lower) for lower in step.lowers)
    options += f",lowerdir={lowers},upperdir={step.upper},workdir={step.work}"
    kernel.mount("overlay", root, "overlay", Mount(0), options)
    kernel.mount("proc", f"{root}/proc", "proc", Mount(0), None)
    kernel.mount("/dev", f"{root}/dev", None, Mount.MS_BIND | Mount.MS_REC, None)
    for mount in step.mounts:
        _mount(root, mount)
    top = os.open(root, os.O_RDONLY)
    uid, gid = owner_of(top, step.user) if step.user else (0, 0)
    os.chroot(root)
    os.chdir(step.cwd)
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)
    kernel.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    program = shutil.which(step.argv[0], path=step.env.get("PATH", os.defpath))
    if program is None:
        os.write(2, f"{step.argv[0]}: not found\n".encode())
        return 127
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    os.execve(program, list(step.argv), dict(step.env))


def _mount(root: str, bind: Bind | Tmpfs) -> None:
    target = root + bind.target
    if isinstance(bind, Tmpfs):
        options = f"size={bind.size_bytes}" if bind.size_bytes else None
        kernel.mount("tmpfs", target, "tmpfs", Mount(0), options)
        return
    kernel.mount(str(bind.source), target, None, Mount.MS_BIND, None)
    if bind.read_only:
        flags = Mount.MS_BIND | Mount.MS_REMOUNT | Mount.MS_RDONLY
        kernel.mount(None, target, None, flags, None)


def _status(wait_status: int) -> int:
    code = os.waitstatus_to_exitcode(wait_status)
    return code if code >= 0 else 128 - code


class Workshop:
    """Builds Dockerfiles in a store of its own, and looks into the images."""

    def __init__(self, top: Path) -> None:
        self.store = Store(str(top / "store"), "")  # no registry: nothing leads to the internet
        self.executor = ChrootExecutor()
        self.context = top / "context"
        self.context.mkdir()
        self.lines: list[str] = []

    def make_base(self, name: str = "base") -> Image:
        """Store an image of busybox alone: small, and its commands are known."""
        with self.store.write() as writer:
            root = Path(tempfile.mkdtemp(dir=writer.scratch))
            root.chmod(0o755)
            stage = Stage(root)
            add_skeleton(stage)
            add_busybox(stage)
            stage.settle()
            layer = writer.add_layer_from_upper(str(root), compress=False)
            config = ImageConfig(
                architecture=host_architecture(), os="linux", rootfs=RootFs("layers")
            )
            return writer.write_image(config, [layer], [name])

    def write(self, files: Mapping[str, str]) -> None:
        """Put files into the context."""
        for name, text in files.items():
            path = self.context / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    def build(self, text: str, **options: Any) -> Image:  # noqa: ANN401 # fields of Options
        """Build a Dockerfile; lines that are indented alike lose their indentation."""
        (self.context / "Dockerfile").write_text(textwrap.dedent(text))
        self.lines.clear()
        return build(
            self.context,
            store=self.store,
            executor=self.executor,
            options=Options(**options),
            progress=Plain(self.lines.append),
        )

    @property
    def cached(self) -> int:
        """How many steps of the last build came from the cache."""
        return sum(line.endswith("CACHED\n") for line in self.lines)

    @contextmanager
    def root(self, image: Image) -> Iterator[int]:
        """Yield a descriptor of the image's merged root."""
        with merged([Path(lower) for lower in image.lower_dirs()]) as root:
            yield root

    def read(self, image: Image, path: str) -> str:
        """Return a file's text, followed inside the image."""
        with self.root(image) as root:
            fd = open_in(root, path, os.O_RDONLY)
            with os.fdopen(fd) as file:
                return file.read()

    def stat(self, image: Image, path: str) -> os.stat_result:
        """Return what a path is; a link is not followed."""
        with self.root(image) as root:
            above, _, name = path.rpartition("/")
            parent = open_in(root, above, os.O_PATH)
            try:
                return os.stat(name, dir_fd=parent, follow_symlinks=False)
            finally:
                os.close(parent)

    def top_layer(self, image: Image) -> list[str]:
        """Return the paths in the newest layer."""
        top = Path(image.lower_dirs()[0])
        return sorted(str(path.relative_to(top)) for path in top.rglob("*"))
