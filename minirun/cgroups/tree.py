"""Makes a v2 group where its controllers work.

* A controller works in a group only if every group above hands it down: ``cgroup.subtree_control``.
* A group that hands controllers down may have no processes itself ("no internal processes"). Where
  minirun runs inside a delegated group, in a container for example, it moves what is there one
  group down first, as ``docker:dind`` does.

See: the kernel's cgroup-v2.rst, sections Organizing Processes and Delegation. Next: ``v2.py``.
"""

from __future__ import annotations

import errno
import os

from ..errors import SyscallError, take_back
from . import files

#: Where the processes of a delegated group go, so that it can hand controllers down.
SELF_GROUP = "minirun-self"


def make_group(top: str, directory: str) -> bool:
    """Make a group and those above it down from ``top``, each handing all controllers down.

    Returns:
        False where it existed.
    """
    made = files.make_directory(directory)
    try:
        above = top
        for name in directory.removeprefix(top).strip("/").split("/"):
            _hand_down(above)
            above = f"{above}/{name}"
    except BaseException as error:
        if made:
            take_back(error, lambda: files.remove_directory(directory))
        raise
    return made


def _hand_down(directory: str) -> None:
    """Enable what is missing; where one controller is refused, the others must not suffer.

    A limit that then finds no file says so when it is written.
    """
    control = directory + "/cgroup.subtree_control"
    have = files.read(control).split()
    missing = [c for c in files.read(directory + "/cgroup.controllers").split() if c not in have]
    if not missing:
        return
    try:
        files.write(control, " ".join("+" + controller for controller in missing))
    except SyscallError as error:
        if error.errno == errno.EBUSY:
            _make_room(directory)
        for controller in missing:
            _try_enable(control, controller)


def _try_enable(control: str, controller: str) -> None:
    try:
        files.write(control, "+" + controller)
    except SyscallError as error:
        # EBUSY: somebody else's processes. ENOENT: switched off above. EINVAL: real-time processes
        # keep cpu from being enabled. EACCES: not delegated to us.
        if error.errno not in (errno.EBUSY, errno.ENOENT, errno.EINVAL, errno.EACCES):
            raise


def _make_room(directory: str) -> None:
    """Move a group's processes one down, where we are one of them: then it is ours to shape."""
    inside = files.pids(directory, recursive=False)
    if os.getpid() not in inside:
        return
    files.make_directory(f"{directory}/{SELF_GROUP}")
    for pid in inside:
        try:
            files.write(f"{directory}/{SELF_GROUP}/cgroup.procs", str(pid))
        except SyscallError as error:
            if error.errno != errno.ESRCH:  # it has exited since
                raise
