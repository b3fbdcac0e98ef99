"""The options of one mount, as config.md and fstab(5) spell them.

    >>> parse(("ro", "nosuid", "size=64k")).data
    ('size=64k',)

Each word is an attribute to set or clear, a recursive attribute (``rro``), a propagation, a request
to the runtime (``tmpcopyup``, ``idmap``) or, failing all of these, data for the file system.

Pure. See: config.md, Mounts (Linux mount options); mount(8). Next: ``steps/mounts.py``.
"""

from __future__ import annotations

from .flags import Mount, MountAttr
from .record import Record

A = MountAttr
_NONE = MountAttr(0)

#: option → (attributes set, attributes cleared); the ``r`` form applies them to the whole tree.
_ATTRIBUTES = {
    "ro": (A.MOUNT_ATTR_RDONLY, _NONE),
    "rw": (_NONE, A.MOUNT_ATTR_RDONLY),
    "nosuid": (A.MOUNT_ATTR_NOSUID, _NONE),
    "suid": (_NONE, A.MOUNT_ATTR_NOSUID),
    "nodev": (A.MOUNT_ATTR_NODEV, _NONE),
    "dev": (_NONE, A.MOUNT_ATTR_NODEV),
    "noexec": (A.MOUNT_ATTR_NOEXEC, _NONE),
    "exec": (_NONE, A.MOUNT_ATTR_NOEXEC),
    "nodiratime": (A.MOUNT_ATTR_NODIRATIME, _NONE),
    "diratime": (_NONE, A.MOUNT_ATTR_NODIRATIME),
    "nosymfollow": (A.MOUNT_ATTR_NOSYMFOLLOW, _NONE),
    "symfollow": (_NONE, A.MOUNT_ATTR_NOSYMFOLLOW),
    # The three atime modes share one field, which must be cleared before it is set.
    "relatime": (_NONE, A.MOUNT_ATTR__ATIME),
    "norelatime": (A.MOUNT_ATTR_STRICTATIME, A.MOUNT_ATTR__ATIME),
    "noatime": (A.MOUNT_ATTR_NOATIME, A.MOUNT_ATTR__ATIME),
    "atime": (_NONE, A.MOUNT_ATTR__ATIME),
    "strictatime": (A.MOUNT_ATTR_STRICTATIME, A.MOUNT_ATTR__ATIME),
    "nostrictatime": (_NONE, A.MOUNT_ATTR__ATIME),
}

#: word → the flags of a mount(2) that changes propagation
PROPAGATIONS = {
    "private": Mount.MS_PRIVATE,
    "shared": Mount.MS_SHARED,
    "slave": Mount.MS_SLAVE,
    "unbindable": Mount.MS_UNBINDABLE,
    "rprivate": Mount.MS_PRIVATE | Mount.MS_REC,
    "rshared": Mount.MS_SHARED | Mount.MS_REC,
    "rslave": Mount.MS_SLAVE | Mount.MS_REC,
    "runbindable": Mount.MS_UNBINDABLE | Mount.MS_REC,
}

#: Superblock flags, given to the file system itself rather than to the mount.
_SUPERBLOCK = frozenset(
    ("sync", "async", "dirsync", "lazytime", "nolazytime", "mand", "nomand", "iversion")
)
#: What is so anyway. What the kernel has to say of a mount is told to us, neither loud nor silent.
_OFF = frozenset(("async", "nolazytime", "nomand", "noiversion", "loud", "silent", "defaults"))


class MountOptions(Record):
    """What a list of option words asks for."""

    attr_set: MountAttr = _NONE
    attr_clr: MountAttr = _NONE
    recursive_set: MountAttr = _NONE
    recursive_clr: MountAttr = _NONE
    propagation: tuple[Mount, ...] = ()
    bind: str = ""
    data: tuple[str, ...] = ()
    idmap: str = ""
    tmpcopyup: bool = False


def parse(words: tuple[str, ...]) -> MountOptions:
    """Return what the option words ask for; a later word wins over an earlier one."""
    flat, deep = (_NONE, _NONE), (_NONE, _NONE)
    propagation: list[Mount] = []
    bind, idmap, tmpcopyup = "", "", False
    data: list[str] = []
    for word in words:
        if word in _ATTRIBUTES:
            flat = _combine(flat, _ATTRIBUTES[word])
        elif word[:1] == "r" and word[1:] in _ATTRIBUTES:
            deep = _combine(deep, _ATTRIBUTES[word[1:]])
        elif word in PROPAGATIONS:
            propagation.append(PROPAGATIONS[word])
        elif word in ("bind", "rbind"):
            bind = word
        elif word in ("idmap", "ridmap"):
            idmap = word
        elif word == "tmpcopyup":
            tmpcopyup = True
        elif word not in _OFF:
            data.append(word)
    return MountOptions(*flat, *deep, tuple(propagation), bind, tuple(data), idmap, tmpcopyup)


def known_options() -> tuple[str, ...]:
    """Return every option word that is not file-system data, sorted, for ``features``."""
    recursive = {f"r{word}" for word in _ATTRIBUTES}
    requests = {"bind", "rbind", "idmap", "ridmap", "tmpcopyup"}
    return tuple(sorted({*_ATTRIBUTES, *recursive, *PROPAGATIONS, *_SUPERBLOCK, *_OFF, *requests}))


def _combine(
    held: tuple[MountAttr, MountAttr], change: tuple[MountAttr, MountAttr]
) -> tuple[MountAttr, MountAttr]:
    """Return (set, clear) after one more word."""
    set_bits, clear_bits = change
    return (held[0] & ~clear_bits) | set_bits, (held[1] & ~set_bits) | clear_bits
