"""Run one command of a build in a container of its own.

The same runtime as for everything else: namespaces, limits, the default seccomp filter and Docker's
default capabilities. Only the root is the builder's: its layers below, its upper folder on top.

See: ``../image/build_executor.py``, the interface. Next: ``stop.py``.
"""

from __future__ import annotations

import os
import signal
from contextlib import contextmanager

from ..capabilities import DEFAULT
from ..container import names, specify, users
from ..container.command import DEFAULT_PATH
from ..container.options import RunOptions
from ..container.specify_mounts import default_mounts
from ..errors import MinirunError
from ..host import in_user_namespace, probe
from ..lifecycle import Container, Request
from ..record import replace
from ..seccomp import default_filter
from ..spec import Capabilities, Linux, Mount, Namespace, Process, Root, Spec
from ..steps.overlay import Overlay

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ..image.build_executor import Bind, RunStep, Tmpfs
    from .home import Home

_NAMESPACES = ("mount", "pid", "ipc", "uts", "cgroup")


class ContainerExecutor:
    """Implements ``image.build_executor.Executor`` with containers.

    Args:
        home: its state root holds the container while the command runs.
    """

    def __init__(self, home: Home) -> None:
        self._home = home

    def run(self, step: RunStep, output: Callable[[bytes], None]) -> int:
        """Run to the end and return the exit status, 128+n for signal n.

        Raises:
            MinirunError: the container could not be started; nothing is left of it.
        """
        container = Container(self._home.root, names.new_id(), probe())
        read, write = os.pipe()
        null = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
        request = Request(
            container.id,
            bundle=str(step.upper.parent),
            overlay=Overlay(tuple(map(str, step.lowers)), str(step.upper), str(step.work)),
            program=default_filter(DEFAULT, f"{self._home.root}/.seccomp"),
            network="bridge" if step.network == "bridge" else "",
            stdio=(null, write, write),
        )
        try:
            try:
                container.create(_spec(step), request, self._connector(container.id, step))
            finally:
                os.close(write)
                os.close(null)
            return _watch(container, read, output)
        finally:
            os.close(read)
            with _undisturbed():
                container.delete(force=True)
                self._disconnect(container.id, step)

    def _connector(
        self, container_id: str, step: RunStep
    ) -> Callable[[int], Callable[[], object]] | None:
        if step.network != "bridge":
            return None
        from ..network import NetworkConfig, attach, detach

        def connect(pid: int) -> Callable[[], object]:
            netns = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
            try:
                attach(NetworkConfig(), container_id, netns, self._home.root)
            finally:
                os.close(netns)
            return lambda: detach(container_id, self._home.root)

        return connect

    def _disconnect(self, container_id: str, step: RunStep) -> None:
        if step.network == "bridge":
            from ..network import detach

            detach(container_id, self._home.root)


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Let Ctrl-C wait: it comes as often while a container is removed as at any other moment."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _watch(container: Container, read: int, output: Callable[[bytes], None]) -> int:
    """Start the command, pass its output on, return its exit status."""
    pid = container.state().pid
    try:
        container.start()
    except MinirunError as error:
        output(f"{error}\n".encode())
        os.waitpid(pid, 0)
        return error.exit_code
    try:
        while chunk := os.read(read, 65536):
            output(chunk)
    except BaseException:
        # Ctrl-C: the command must not outlive the build.
        os.kill(pid, signal.SIGKILL)
        raise
    _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def _spec(step: RunStep) -> Spec:
    """Return the container for one command."""
    identity = _identity(step)
    env = dict(step.env)
    env.setdefault("HOME", identity.home)
    env.setdefault("PATH", DEFAULT_PATH.removeprefix("PATH="))
    held = DEFAULT if identity.user.uid == 0 else ()
    kinds = _NAMESPACES if step.network == "host" else (*_NAMESPACES, "network")
    return Spec(
        specify.OCI_VERSION,
        Root("rootfs"),
        process=Process(
            cwd=step.cwd,
            args=step.argv,
            user=identity.user,
            env=tuple(f"{name}={value}" for name, value in env.items()),
            capabilities=Capabilities(DEFAULT, held, (), held, ()),
        ),
        hostname="build",
        mounts=(*_default_mounts(step), *map(_mount, step.mounts)),
        linux=Linux(
            namespaces=tuple(map(Namespace, kinds)),
            masked_paths=specify.MASKED_PATHS,
            readonly_paths=specify.READONLY_PATHS,
        ),
    )


def _default_mounts(step: RunStep) -> tuple[Mount, ...]:
    defaults = RunOptions()
    options = replace(defaults, network=replace(defaults.network, mode=step.network))
    return default_mounts(options, rootless=in_user_namespace())


def _mount(mount: Bind | Tmpfs) -> Mount:
    from ..image.build_executor import Tmpfs

    if isinstance(mount, Tmpfs):
        size = (f"size={mount.size_bytes}",) if mount.size_bytes else ()
        return Mount(mount.target, "tmpfs", "tmpfs", ("nosuid", "nodev", *size))
    options = ("rbind", "rprivate", *(("ro",) * mount.read_only))
    return Mount(mount.target, "bind", str(mount.source), options)


def _identity(step: RunStep) -> users.Identity:
    """Return who runs it, by the user database of the image as it is at this step."""
    found = []
    for name in ("etc/passwd", "etc/group"):
        content = b""
        for layer in (step.upper, *step.lowers):
            fd = os.open(layer, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            content = content or users.read_database(fd, name)
            os.close(fd)
        found.append(content)
    return users.resolve(step.user, passwd=found[0], group=found[1])
