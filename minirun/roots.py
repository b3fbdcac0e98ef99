"""Where the state of containers is kept: one directory for root, one for each other user.

See: file-hierarchy(7), XDG Base Directory Specification. Next: ``state.py``, what is in it.
"""

from __future__ import annotations

import os
import stat

from .errors import StateError

DEFAULT_ROOT = "/run/minirun"


def default_root() -> str:
    """Return the state root: MINIRUN_ROOT, else below /run, or what is a user's own."""
    if root := os.environ.get("MINIRUN_ROOT"):
        return root
    if os.geteuid() == 0 and not (os.environ.get("XDG_RUNTIME_DIR") and _is_user_in_disguise()):
        return DEFAULT_ROOT
    return user_root()


def user_root() -> str:
    """Return a user's directory for what runs: below XDG_RUNTIME_DIR.

    A user who has none, as after ``su``, gets a directory in /tmp that is his alone.

    Raises:
        StateError: that directory is somebody else's, or open to others.
    """
    if runtime_dir := os.environ.get("XDG_RUNTIME_DIR"):
        return f"{runtime_dir}/minirun"
    return _private(f"/tmp/minirun-{os.geteuid()}")


def _is_user_in_disguise() -> bool:
    """Whether we are root of a user namespace only, as below ``podman unshare``."""
    with open("/proc/self/uid_map", encoding="ascii") as file:
        return file.read().split()[1] != "0"


def _private(path: str) -> str:
    """Return the directory, made if it is missing, once it is certain that nobody else has a say.

    Raises:
        StateError: somebody else made it first, or may write to it.
    """
    os.makedirs(path, 0o700, exist_ok=True)
    status = os.lstat(path)
    ours = status.st_uid == os.geteuid() and stat.S_ISDIR(status.st_mode)
    if not ours or stat.S_IMODE(status.st_mode) != 0o700:
        raise StateError(
            f"{path} is not a directory of this user alone (mode 0700)",
            hint="set XDG_RUNTIME_DIR or MINIRUN_ROOT to one that is",
        )
    return path
