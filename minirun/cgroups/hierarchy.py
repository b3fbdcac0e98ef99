"""Where the control groups are: /proc/self/mountinfo and /proc/self/cgroup, read together.

The first tells where each controller's tree is mounted, the second which group of it we are in.

Next: ``../host.py``, which keeps the answer.
"""

from __future__ import annotations

import os

from ..record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


class Hierarchy(Record):
    """Where one controller's groups are.

    Args:
        mount: where its file system is mounted: absolute cgroup paths start here.
        own: this process's own group.
        base: the directory below which this process may make groups: relative paths start here.
        version: 1 or 2.
    """

    mount: str
    own: str
    base: str
    version: int = 2


def read_hierarchies() -> dict[str, Hierarchy]:
    """Return {controller: where}; the v2 tree itself is named by the empty string."""
    own = parse_own(text("/proc/self/cgroup"))
    found: dict[str, Hierarchy] = {}
    for names, root, mount, version in parse_mounts(text("/proc/self/mountinfo").splitlines()):
        for name in names:
            if name not in found and name in own:
                found[name] = _hierarchy(mount, root, own[name], version)
    if "" in found:
        for name in text(found[""].base + "/cgroup.controllers").split():
            found.setdefault(name, found[""])
    return found


def _hierarchy(mount: str, root: str, path: str, version: int) -> Hierarchy:
    """Find where we may make groups: at the top, else beside our own group, else below it."""
    inside = path.removeprefix(root.rstrip("/"))
    # "/.." is what the kernel shows for a group outside our cgroup namespace.
    own = mount if inside in ("", "/") or inside.startswith("/..") else mount + inside
    # v2 forbids processes in inner groups, so beside is better than below.
    candidates = (mount, os.path.dirname(own)) if own != mount else (mount,)
    base = next((c for c in candidates if os.access(c, os.W_OK)), own)
    return Hierarchy(mount=mount, own=own, base=base, version=version)


def parse_own(cgroup: str) -> dict[str, str]:
    r"""Return {controller: path of our group} from /proc/self/cgroup; "" is the v2 tree.

    >>> parse_own("4:cpu,cpuacct:/a\n0::/b")
    {'cpu': '/a', 'cpuacct': '/a', '': '/b'}
    """
    lines = [line.split(":", 2) for line in cgroup.splitlines()]
    return {name: path for _, names, path in lines for name in names.split(",")}


def parse_mounts(mountinfo: Iterable[str]) -> Iterator[tuple[list[str], str, str, int]]:
    """Yield (controllers, root, mount point, version) of each mounted hierarchy.

    See: proc_pid_mountinfo(5). The fields after " - " are type, source and super block options.
    """
    for line in mountinfo:
        mount, _, filesystem = line.partition(" - ")
        if not filesystem.startswith("cgroup"):
            continue
        kind, _, options = filesystem.split(" ", 2)
        _, _, _, root, where, *_ = mount.split(" ")
        if kind == "cgroup2":
            yield [""], _unescape(root), _unescape(where), 2
        elif kind == "cgroup":
            yield options.split(","), _unescape(root), _unescape(where), 1


def _unescape(path: str) -> str:
    """Undo the octal escapes that mountinfo uses for blanks and backslashes."""
    for code, char in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        path = path.replace(code, char)
    return path


def text(path: str) -> str:
    """Return a file's text, or "" where there is none: absence is an answer here."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        chunks = iter(lambda: os.read(fd, 65536), b"")
        return os.fsdecode(b"".join(chunks)).strip()
    except OSError:
        return ""
    finally:
        os.close(fd)
