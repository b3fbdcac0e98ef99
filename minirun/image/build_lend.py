"""What ``RUN --mount`` asks for, made and taken away again.

    bind    the context: a copy, without what .dockerignore hides; a stage or image: its layers
    cache   a folder of the store, see build_caches.py
    tmpfs   left to the executor
    secret  a file in memory, never on a disk
    ssh     a socket of its own, see build_agent.py

Layers and secrets are mounted aside, in the mount namespace of the stage's own process: nobody
else sees them, and they end with it, even after kill -9.

Next: ``build_caches.py``.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from .. import kernel
from ..errors import HostError, ImageError, SyscallError
from ..flags import AT_FDCWD, Clone, Mount, MoveMount, Umount
from .build_agent import agent_socket
from .build_caches import Caches
from .build_copy import Copier, Dress
from .build_executor import Bind, Tmpfs
from .build_rootfs import merged, open_in
from .build_secrets import Secret
from .build_sources import Origin
from .dockerfile_mounts import RunMount

_SECRET = Mount.MS_NOSUID | Mount.MS_NODEV | Mount.MS_NOEXEC
_AGENT_TARGET = "/run/buildkit/ssh_agent.{}"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a bind takes files from: the context, or the layers of a stage or image."""

    origin: Origin | None = None
    lowers: tuple[Path, ...] = ()


class Lender:
    """Makes the mounts of one step.

    Args:
        scratch: a folder on the store's file system, removed afterwards by its owner.
        caches: of the store.
        secrets: by id.
        agents: sockets of ssh agents by id.
        place: returns where the files of a bind are.
        stack: takes everything back.
    """

    def __init__(
        self,
        scratch: str,
        caches: Caches,
        secrets: Mapping[str, Secret],
        agents: Mapping[str, str],
        place: Callable[[str], Place],
        stack: ExitStack,
    ) -> None:
        self._scratch = scratch
        self._caches = caches
        self._secrets = secrets
        self._agents = agents
        self._place = place
        self._stack = stack
        self._memory = ""
        self._agent_count = 0
        self.env: dict[str, str] = {}

    def lend(self, mounts: Sequence[RunMount]) -> tuple[Bind | Tmpfs, ...]:
        """Make the mounts; what was not given and is not required is left out.

        Raises:
            ImageError: a secret or agent that is required was not given, no such source.
        """
        makers: dict[str, Callable[[RunMount], Bind | Tmpfs | None]] = {
            "bind": self._bind,
            "cache": self._cache,
            "tmpfs": lambda mount: Tmpfs(mount.target, mount.size_bytes),
            "secret": self._secret,
            "ssh": self._ssh,
        }
        made = [makers[mount.kind](mount) for mount in mounts]
        return tuple(one for one in made if one is not None)

    # ---- files -----------------------------------------------------------------------------------

    def _bind(self, mount: RunMount) -> Bind:
        place = self._place(mount.origin)
        if place.origin is not None:
            source = self._copied(place.origin, mount.source)
        else:
            source = self._layers(place.lowers, mount)
        return Bind(source, mount.target, read_only=not mount.writable)

    def _folder(self) -> Path:
        folder = Path(tempfile.mkdtemp(dir=self._scratch))
        folder.chmod(0o755)  # what is below is seen by the step's user
        return folder

    def _copied(self, origin: Origin, source: str) -> Path:
        """Copy what a build may see of its context: root's, and without what is ignored."""
        path = origin.exact(source)
        folder = self._folder()
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            with origin.item(path) as item:
                is_folder = item.is_folder
            with Copier(fd, Dress()) as copier:
                copier.copy(origin, path, "/" if is_folder else "/file")
        finally:
            os.close(fd)
        return folder if is_folder else folder / "file"

    def _layers(self, lowers: Sequence[Path], mount: RunMount) -> Path:
        """Put layers together aside, and return where the source is among them."""
        top = self._folder()
        above: list[Path | None] = [None, None]
        if mount.writable or len(lowers) > 1:
            if mount.writable:
                above = [self._folder(), self._folder()]
            with merged(lowers, *above) as tree:
                self._attach(tree, top)
        else:
            top = lowers[0]
        root = os.open(top, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fd = open_in(root, mount.source, os.O_PATH)
        except OSError as error:
            raise ImageError(f"{mount.source!r} is not in {mount.origin}") from error
        finally:
            os.close(root)
        try:
            return Path(os.readlink(f"/proc/self/fd/{fd}"))
        finally:
            os.close(fd)

    def _attach(self, tree: int, folder: Path) -> None:
        """Attach a detached mount, for this process and its children only."""
        _have_own_mounts()
        flags = MoveMount.MOVE_MOUNT_F_EMPTY_PATH
        kernel.move_mount(tree, "", AT_FDCWD, str(folder), flags)
        self._stack.callback(kernel.umount2, str(folder), Umount.MNT_DETACH)

    def _cache(self, mount: RunMount) -> Bind:
        held = self._caches.hold(mount.id, mount.sharing, lambda new: self._fill(new, mount))
        folder = self._stack.enter_context(held)
        return Bind(folder, mount.target, read_only=not mount.writable)

    def _fill(self, folder: Path, mount: RunMount) -> None:
        """Give a new cache its first content, owner and mode."""
        if mount.origin or mount.source:
            place = self._place(mount.origin)
            fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                with ExitStack() as stack, Copier(fd, Dress()) as copier:
                    origin = place.origin
                    if origin is None:
                        root = stack.enter_context(merged(place.lowers))
                        origin = Origin(root, mount.origin, keep_owners=True)
                    copier.copy(origin, origin.exact(mount.source), "/")
            finally:
                os.close(fd)
        os.chown(folder, mount.uid, mount.gid)
        folder.chmod(mount.mode)

    # ---- secrets ---------------------------------------------------------------------------------

    def _secret(self, mount: RunMount) -> Bind | None:
        secret = self._secrets.get(mount.id)
        if secret is None:
            _complain_if_required(mount, f"secret {mount.id}", f"--secret id={mount.id},src=FILE")
            return None
        if mount.env:
            self.env[mount.env] = os.fsdecode(secret.content)
        if not mount.target:
            return None
        path = os.path.join(self._in_memory(), os.urandom(8).hex())
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "wb") as file:
            file.write(secret.content)
            os.fchown(fd, mount.uid, mount.gid)
            os.fchmod(fd, mount.mode)
        return Bind(Path(path), mount.target)

    def _ssh(self, mount: RunMount) -> Bind | None:
        agent = self._agents.get(mount.id)
        if agent is None:
            _complain_if_required(mount, f"ssh agent {mount.id}", f"--ssh {mount.id}")
            return None
        target = mount.target or _AGENT_TARGET.format(self._agent_count)
        path = os.path.join(self._in_memory(), f"agent.{self._agent_count}")
        self._agent_count += 1
        self._stack.enter_context(
            agent_socket(path, agent, mode=mount.mode, uid=mount.uid, gid=mount.gid)
        )
        self.env.setdefault("SSH_AUTH_SOCK", target)
        return Bind(Path(path), target)

    def _in_memory(self) -> str:
        """Return a folder of root's own that is in memory and nowhere else."""
        if not self._memory:
            _have_own_mounts()
            self._memory = str(self._folder())
            kernel.mount("tmpfs", self._memory, "tmpfs", _SECRET, "mode=0700,size=16m")
            self._stack.callback(kernel.umount2, self._memory, Umount.MNT_DETACH)
        return self._memory


def _complain_if_required(mount: RunMount, what: str, flag: str) -> None:
    if mount.required:
        raise ImageError(f"{what} is required, and was not given", hint=f"build with {flag}")


_OWNERS: set[int] = set()


def _have_own_mounts() -> None:
    """Leave the host's mount namespace, once per process: a stage is built in one of its own."""
    if os.getpid() in _OWNERS:
        return
    try:
        kernel.unshare(Clone.CLONE_NEWNS)
        kernel.mount(None, "/", None, Mount.MS_REC | Mount.MS_PRIVATE, None)
    except SyscallError as error:
        raise HostError(f"cannot mount aside: {error}", hint="building needs root") from error
    _OWNERS.add(os.getpid())
