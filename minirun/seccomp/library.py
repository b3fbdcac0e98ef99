"""libseccomp through pyseccomp, loaded without running anything.

pyseccomp asks ``ctypes.util.find_library`` for its libraries, and that runs ldconfig, then gcc and
ld, from PATH: 20 ms, forks in a process that is about to fork, and programs that a root runtime has
no reason to trust. The name of the library is known, so the question is answered here.

Imported on a cache miss only, in the host-side parent, never inside a container.
Next: ``compile.py``.
"""

from __future__ import annotations

import os

from ..errors import HostError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType

SONAME = "libseccomp.so.2"


def load() -> ModuleType:
    """Return pyseccomp, bound to the system's libseccomp.

    Raises:
        HostError: pyseccomp or libseccomp is not installed.
    """
    import ctypes.util

    asked = ctypes.util.find_library
    ctypes.util.find_library = _answer
    try:
        import pyseccomp
    except ModuleNotFoundError as error:
        raise HostError("pyseccomp is not installed", hint="pip install pyseccomp") from error
    except OSError as error:
        hint = "apt install libseccomp2"
        raise HostError(f"{SONAME} cannot be loaded: {error}", hint=hint) from error
    finally:
        ctypes.util.find_library = asked
    module: ModuleType = pyseccomp
    return module


def _answer(name: str) -> str | None:
    """Return the library's file name; None is the process itself, where libc is already."""
    return SONAME if name == "seccomp" else None


def path() -> str:
    """Return the file that the loaded libseccomp came from; "" where none is loaded."""
    with open("/proc/self/maps", encoding="utf-8", errors="surrogateescape") as maps:
        for line in maps:
            # address perms offset dev inode path
            if "libseccomp.so" in line:
                return line.split(maxsplit=5)[5].rstrip("\n")
    return ""


def stamp(file: str) -> str:
    """Return what changes when another version is installed: size and time of the file."""
    try:
        found = os.stat(file)
    except OSError:
        return ""
    return f"{found.st_size}-{found.st_mtime_ns}"
