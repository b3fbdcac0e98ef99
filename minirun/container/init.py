"""--init: a small program as pid 1 that reaps orphans and passes signals on.

Pid 1 has no default action for signals and inherits every orphan (pid_namespaces(7)); most programs
expect neither. Any of the known inits of this host does, if it is linked statically: it is mounted
into an image whose C library is another one, or none.

Next: ``specify.py``, which mounts it.
"""

from __future__ import annotations

import os

from ..errors import HostError

PT_INTERP = 3
_NAMES = ("docker-init", "tini-static", "tini", "catatonit", "dumb-init")
_FOLDERS = (
    *("/usr/libexec/docker", "/usr/libexec/podman", "/usr/lib/podman"),
    *("/usr/local/bin", "/usr/bin", "/bin", "/usr/local/sbin", "/usr/sbin", "/sbin"),
)


def find() -> str:
    """Return the path of a static init on this host.

    Raises:
        HostError: there is none.
    """
    for name in _NAMES:
        for folder in _FOLDERS:
            path = f"{folder}/{name}"
            if os.access(path, os.X_OK) and is_static(path):
                return path
    hint = "install one of: " + ", ".join(_NAMES) + "; on Debian, apt install tini"
    raise HostError("--init needs a statically linked init on this host", hint=hint)


def is_static(path: str) -> bool:
    """Return whether a 64-bit little-endian ELF program asks for no interpreter. See: elf(5)."""
    try:
        with open(path, "rb") as file:
            head = file.read(64)
            if head[:6] != b"\x7fELF\x02\x01" or len(head) < 64:
                return False
            offset = int.from_bytes(head[32:40], "little")
            size = int.from_bytes(head[54:56], "little")
            count = int.from_bytes(head[56:58], "little")
            file.seek(offset)
            table = file.read(size * count)
    except (OSError, OverflowError):
        return False
    kinds = [int.from_bytes(table[at : at + 4], "little") for at in range(0, len(table), size or 1)]
    return bool(kinds) and PT_INTERP not in kinds
