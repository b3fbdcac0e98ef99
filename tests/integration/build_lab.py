"""An executor for tests of the builder: unshare, overlay, chroot, and nothing else.

It isolates mounts and processes so that a test leaves nothing behind; it is no sandbox.
"""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable

from minirun import kernel
from minirun.flags import Clone, Mount
from minirun.image.build_executor import Bind, RunStep
from minirun.image.build_rootfs import merged, open_in, owner_of


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
        while data := os.read(read_end, 65536):
            output(data)
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
    for bind in step.binds:
        _bind(root, bind)
    top = os.open(root, os.O_RDONLY)
    uid, gid = owner_of(top, step.user) if step.user else (0, 0)
    os.chroot(root)
    os.chdir(step.cwd)
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)
    program = shutil.which(step.argv[0], path=step.env.get("PATH", os.defpath))
    if program is None:
        os.write(2, f"{step.argv[0]}: not found\n".encode())
        return 127
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    os.execve(program, list(step.argv), dict(step.env))


def _bind(root: str, bind: Bind) -> None:
    target = root + bind.target
    kernel.mount(str(bind.source), target, None, Mount.MS_BIND, None)
    if bind.read_only:
        flags = Mount.MS_BIND | Mount.MS_REMOUNT | Mount.MS_RDONLY
        kernel.mount(None, target, None, flags, None)


def _status(wait_status: int) -> int:
    code = os.waitstatus_to_exitcode(wait_status)
    return code if code >= 0 else 128 - code


__all__ = ["ChrootExecutor", "merged", "open_in"]
