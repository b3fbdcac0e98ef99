"""Make a container from a checkpoint: all as in a create, but for the processes.

    claim the id, write the files, make the group       as ``creation.py`` does
    a child: its own mounts, the group, no keys         so that nothing is left of it on the host
    criu restore                                        the processes, where they were

What is bound from outside is put together on a tmpfs in the child's own mount namespace, each with
the options that it shall have inside: criu gives a bind those of its source.

See: criu(8). Next: ``criu.py``.
"""

from __future__ import annotations

import os

from .. import inroot, kernel
from ..creation import Creation
from ..errors import take_back
from ..flags import AT_FDCWD, PR_SET_NO_NEW_PRIVS, At, Clone, Mount, MountAttr
from ..hooks import run_hooks
from ..mount_options import parse
from ..record import replace
from ..spec import Hooks
from ..steps.base import Context
from ..steps.limits import CreateCgroup
from ..steps.mounts import MountBind
from ..validate import validate
from . import criu, outside
from .midway import Midway

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ..cgroups.driver import Driver
    from ..plan import Setting

#: Names in the container's directory: where sources are put together, and what init is called.
_PLACE, _PID = "restore", "restored"
_SAFE = Mount.MS_NOSUID | Mount.MS_NODEV | Mount.MS_NOEXEC


class Restoration(Creation):
    """One restore under way; made as a create is."""

    def restore(self, program: str, images: str, work: str, words: list[str]) -> int:
        """Make the container.

        Args:
            program: the path of criu.
            images: the directory of the checkpoint.
            work: the directory of the log.
            words: more options for criu.

        Returns:
            The pid of its init, a child of ours.

        Raises:
            MinirunError: nothing is left behind but the log.
        """
        found = outside.load(images)
        os.makedirs(work, 0o700, exist_ok=True)
        validate(self.spec, self.container.host)
        _, setting = self.plan()
        words = ["restore", "--images-dir", images, "--work-dir", work, *words]
        words += ["--pidfile", self.directory.file(_PID), "--restore-detached"]
        words += ["--restore-sibling"]  # of criu: a child of ours, which ``follow`` can wait for
        with self.directory.lock(claim=True):
            self._refuse_existing()
            state = self._first_state(setting)
            context = self._context(state)
            try:
                self._prepare(context, setting)
                self._write_files(state, setting)
                self._meanwhile(state, setting, context, None)()  # config.json, exec's filter
                assert context.cgroup is not None
                enter = self._entering(found, context.cgroup, setting.rootfs)
                midway = Midway(self.directory.path, lambda pid: self._run_hooks(context, pid))
                words += ["--action-script", midway.program]
                criu.run(program, words, f"{work}/restore.log", enter, midway.attend)
                context.init_pid = self._take_pid(midway)
                context.save_state("created")
            except BaseException as error:
                self._take_back(context, error)
                raise
            finally:
                assert context.cgroup is not None
                context.cgroup.claim.release()
        return context.init_pid

    def _prepare(self, context: Context, setting: Setting) -> None:
        """Make the group, and the directory that the child will put its sources together in."""
        os.mkdir(self.directory.file(_PLACE), 0o700)
        if setting.cgroup:
            CreateCgroup(setting.cgroup, self.spec.linux.resources).apply(context)

    def _run_hooks(self, context: Context, pid: int) -> None:
        """Run the hooks that a create runs outside; the container's namespaces are there."""
        context.init_pid = pid
        hooks = self.spec.hooks or Hooks()
        run_hooks("prestart", hooks.prestart, context.state("creating"))
        run_hooks("createRuntime", hooks.create_runtime, context.state("creating"))

    def _take_pid(self, midway: Midway) -> int:
        """Read what criu has told, and remove what was there for it."""
        midway.close()
        with open(self.directory.file(_PID), encoding="ascii") as file:
            pid = int(file.read())
        os.unlink(self.directory.file(_PID))
        os.rmdir(self.directory.file(_PLACE))
        return pid

    def _take_back(self, context: Context, error: BaseException) -> None:
        """Leave nothing: whoever is in the group by now is ours, if the group is."""
        if context.undo:
            assert context.cgroup is not None
            take_back(error, context.cgroup.kill, _reap)
        take_back(error, *reversed(context.undo), self.directory.remove)

    # ── in the child ──────────────────────────────────────────────────────────────────────────

    def _entering(
        self, found: outside.Outside, cgroup: Driver, rootfs: str
    ) -> Callable[[], tuple[str, ...]]:
        """Return what the child does before it becomes criu."""

        def enter() -> tuple[str, ...]:
            sources = self._assemble(found, rootfs)
            cgroup.join()
            kernel.keyctl_join_session_keyring(None)
            if self.spec.process and self.spec.process.no_new_privileges:
                kernel.prctl(PR_SET_NO_NEW_PRIVS, 1)  # criu 3.17 does not restore it
            words = ["--root", f"{self.directory.file(_PLACE)}/root"]
            for path, source in sources.items():
                words += ["--external", f"mnt[{path}]:{source}"]
            for fd, name in enumerate(found.descriptors):
                words += ["--inherit-fd", f"fd[{fd}]:{name}"] if name else []
            return (*words, *self._network(), *_group_roots())

        return enter

    def _assemble(self, found: outside.Outside, rootfs: str) -> dict[str, str]:
        """Return {path inside: source}, after putting the sources together out of sight."""
        place = self.directory.file(_PLACE)
        kernel.unshare(Clone.CLONE_NEWNS)
        kernel.mount(None, "/", None, Mount.MS_PRIVATE | Mount.MS_REC, None)
        kernel.mount("none", place, "tmpfs", _SAFE, "mode=700,nr_blocks=64")
        for name in ("dir", "root"):
            os.mkdir(f"{place}/{name}", 0o555)
        os.close(os.open(f"{place}/file", os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o444))
        sources = {path: f"{place}/{kind}" for path, kind in found.masks.items()}
        context = Context(self.container.id, self.request.bundle, self.directory.path)
        context.rootfs_fd = os.open(place, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        for index, path in outside.binds(self.spec):
            entry = self.spec.mounts[index]
            source = os.path.join(self.request.bundle, entry.source)
            options = parse(entry.options)
            bound = options if options.bind else replace(options, bind="bind")
            MountBind(source, f"/{index}", bound).apply(context)
            sources[path] = f"{place}/{index}"
        # The file system and not this mount alone: what is bound from it must be no place to write.
        kernel.mount(None, place, None, Mount.MS_REMOUNT | Mount.MS_RDONLY | _SAFE, None)
        root = f"{place}/root"
        kernel.mount(rootfs, root, None, Mount.MS_BIND | Mount.MS_REC, None)
        self._make_mountpoints(root, sources)
        if self.spec.root.readonly:
            kernel.mount_setattr(AT_FDCWD, root, At(0), MountAttr.MOUNT_ATTR_RDONLY)
        return sources

    def _make_mountpoints(self, root: str, sources: dict[str, str]) -> None:
        """Make what a create had made in the image: this root may be another copy of it.

        What is below another mount lies in that mount, and criu brings it back.
        """
        places = [entry.destination.rstrip("/") for entry in self.spec.mounts]
        root_fd = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        for path in places:
            if any(path.startswith(f"{other}/") for other in places):
                continue
            if os.path.isdir(sources.get(path, root)):
                os.close(inroot.make_directory(root_fd, path))
            else:
                os.close(inroot.make_file(root_fd, path))
        os.close(root_fd)

    def _network(self) -> tuple[str, ...]:
        """Return criu's words for a network namespace that is there already."""
        path = outside.joined_network(self.spec)
        if not path:
            return ()
        network = os.open(path, os.O_RDONLY)
        os.set_inheritable(network, True)
        return ("--inherit-fd", f"fd[{network}]:{outside.NETWORK}")


def _group_roots() -> tuple[str, ...]:
    """Return the group that we are in as the one that each hierarchy's groups are made below."""
    words: list[str] = []
    with open("/proc/self/cgroup", encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            _, controllers, path = line.rstrip("\n").split(":", 2)
            words += ["--cgroup-root", f"{controllers}:{path}" if controllers else path]
    return tuple(words)


def _reap() -> None:
    """Wait for every child of ours: they have been killed."""
    while True:
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return
