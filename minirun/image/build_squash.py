"""``--squash``: the layers that a build added become one.

The layers are overlay folders, and are put on top of each other by hand: what the upper one
deletes, by a whiteout or an opaque folder, goes away below it, and the mark stays, since the base
may have the same name. Files are linked, not copied.

See: overlayfs.rst, "whiteouts and opaque directories". Next: ``build_result.py``.
"""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Sequence
from pathlib import Path

from ..record import replace
from .build_session import Session
from .build_state import State
from .model import History
from .pack import is_opaque
from .tree import remove_tree
from .unpack_later import overlay_prefix


def squash(session: Session, state: State) -> None:
    """Replace the layers of a stage that are not its base image's by one."""
    base, added = state.layers[: state.base_layers], state.layers[state.base_layers :]
    if len(added) < 2:
        return
    upper = Path(tempfile.mkdtemp(dir=session.writer.scratch))
    upper.chmod(0o755)
    merge([path.resolve() for path in reversed(session.lowers([x.diff_id for x in added]))], upper)
    layer = session.writer.add_layer_from_dir(str(upper), clamp_s=session.epoch, compress=False)
    state.layers = [*base, layer]
    _forget_layers(state, len(added))
    state.history.append(History(created=session.now, comment=f"squashed {len(added)} layers"))


def _forget_layers(state: State, count: int) -> None:
    """Make the entries of the layers that are gone, the last ones, say that they made none."""
    named = [at for at, entry in enumerate(state.history) if not entry.empty_layer]
    for at in named[-count:]:
        state.history[at] = replace(state.history[at], empty_layer=True)


def merge(layers: Sequence[Path], target: Path) -> None:
    """Put overlay folders, lowest first, into one empty folder."""
    for layer in layers:
        source = os.open(layer, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        top = os.open(target, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            _merge(source, top)
        finally:
            os.close(source)
            os.close(top)


def _merge(source: int, target: int) -> None:
    """Put one folder of a layer over the same folder of those below."""
    if is_opaque(source):
        for name in os.listdir(target):
            _remove(target, name)
        os.setxattr(target, f"{overlay_prefix()}opaque", b"y")
    for name in sorted(os.listdir(source)):
        facts = os.stat(name, dir_fd=source, follow_symlinks=False)
        if not stat.S_ISDIR(facts.st_mode):
            _remove(target, name)
            os.link(name, name, src_dir_fd=source, dst_dir_fd=target, follow_symlinks=False)
            continue
        was_hidden = _exists(target, name) and not _is_folder(target, name)
        if was_hidden:
            _remove(target, name)
        if was_hidden or not _exists(target, name):
            os.mkdir(name, 0o700, dir_fd=target)
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        below = os.open(name, flags, dir_fd=source), os.open(name, flags, dir_fd=target)
        try:
            _merge(*below)
            _wear(*below, facts)
            if was_hidden:
                os.setxattr(below[1], f"{overlay_prefix()}opaque", b"y")
        finally:
            for fd in below:
                os.close(fd)


def _wear(source: int, target: int, facts: os.stat_result) -> None:
    """Give a folder the attributes of the upper one."""
    os.fchown(target, facts.st_uid, facts.st_gid)
    os.fchmod(target, stat.S_IMODE(facts.st_mode))
    for key in os.listxattr(source):
        if not key.startswith(("trusted.overlay.", "user.overlay.")):
            os.setxattr(target, key, os.getxattr(source, key))
    os.utime(target, ns=(facts.st_atime_ns, facts.st_mtime_ns))


def _remove(folder: int, name: str) -> None:
    if _is_folder(folder, name):
        remove_tree(folder, name)
    elif _exists(folder, name):
        os.unlink(name, dir_fd=folder)


def _exists(folder: int, name: str) -> bool:
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _is_folder(folder: int, name: str) -> bool:
    try:
        mode = os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode
    except FileNotFoundError:
        return False
    return stat.S_ISDIR(mode)
