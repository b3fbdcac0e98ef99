"""What a container has from outside: criu must be told, at the checkpoint and at the restore.

    descriptors   0, 1 and 2, where they are the caller's files or pipes
    masks         the empty files and directories that cover parts of /proc and /sys
    binds         directories and files of the host, as config.json names them
    network       a namespace that was joined by its path

The first two are found at the checkpoint and kept beside criu's images, in ``outside.json``; the
others are in config.json.

See: criu(8), --external and --inherit-fd; proc_pid_mountinfo(5). Next: ``checkpoint.py``.
"""

from __future__ import annotations

import os

from ..decode import decode, encode
from ..errors import SpecError, UsageError
from ..mount_options import parse
from ..quickjson import dumps, loads
from ..record import EMPTY, Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ..spec import Hooks, Spec

#: The key under which criu knows a network namespace that is not the container's own.
NETWORK = "extRootNetNS"
#: Roots of the empty tmpfs that ``mask-paths`` clones.
_MASKS = {"/dir": "dir", "/file": "file"}
_FILE = "outside.json"
#: Joined by path, these would be the restored container's own.
#: Those that a restore runs, or that are none of its business.
_HOOKS = ("prestart", "createRuntime", "poststop")
_NOT_JOINED = ("pid", "ipc", "uts", "mount", "user", "cgroup", "time")


class Outside(Record):
    """What was found at the checkpoint.

    Args:
        descriptors: criu's names of what 0, 1 and 2 are open on; "" for what is the container's.
        masks: {path: ``dir`` or ``file``}.
    """

    descriptors: tuple[str, ...] = ()
    masks: Mapping[str, str] = EMPTY


class Mounted(Record):
    """One line of mountinfo."""

    id: int
    device: str
    root: str
    point: str
    kind: str


def look(pid: int) -> Outside:
    """Return what a container has from outside."""
    with open(f"/proc/{pid}/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        mounts = [parse_mount(line) for line in file]
    own = {mount.id for mount in mounts}
    return Outside(
        descriptors=tuple(_descriptor(pid, fd, own) for fd in (0, 1, 2)), masks=masks(mounts)
    )


def parse_mount(line: str) -> Mounted:
    r"""Return one line of mountinfo.

    >>> parse_mount(r"7 1 0:46 /file /a\040b ro - tmpfs none rw").point
    '/a b'
    """
    number, _, device, root, point, *rest = line.split()
    plain = point.encode(errors="surrogateescape").decode("unicode_escape").encode("latin-1")
    kind = rest[rest.index("-") + 1]
    return Mounted(int(number), device, root, os.fsdecode(plain), kind)


def masks(mounts: list[Mounted]) -> dict[str, str]:
    """Return the masks: clones of parts of a tmpfs that is nowhere mounted as a whole."""
    whole = {mount.device for mount in mounts if mount.root == "/"}
    return {
        mount.point: _MASKS[mount.root]
        for mount in mounts
        if mount.kind == "tmpfs" and mount.root in _MASKS and mount.device not in whole
    }


def _descriptor(pid: int, fd: int, own: set[int]) -> str:
    """Return how criu calls what a descriptor is open on, where it comes from outside."""
    path = f"/proc/{pid}/fd/{fd}"
    try:
        target = os.readlink(path)
        with open(f"/proc/{pid}/fdinfo/{fd}", encoding="ascii") as file:
            facts = dict(line.split(":", 1) for line in file if ":" in line)
        if target.startswith("pipe:["):
            return target
        mount = int(facts["mnt_id"])
        if mount in own or target.startswith("socket:["):
            return ""
        return f"file[{mount:x}:{os.stat(path).st_ino:x}]"
    except FileNotFoundError:
        return ""  # it was closed


# ── kept beside the images ────────────────────────────────────────────────────────────────────


def save(images: str, found: Outside) -> None:
    """Keep it for the restore."""
    with open(f"{images}/{_FILE}", "w", encoding="utf-8") as file:
        file.write(dumps(encode(found)))


def load(images: str) -> Outside:
    """Return what was kept.

    Raises:
        UsageError: there is no checkpoint of ours.
    """
    try:
        with open(f"{images}/{_FILE}", encoding="utf-8") as file:
            return decode(Outside, loads(file.read()))
    except (FileNotFoundError, NotADirectoryError, ValueError, RecursionError) as error:
        raise UsageError(
            f"--image-path {images}: no checkpoint is there",
            hint="minirun-oci checkpoint --image-path writes one",
        ) from error


# ── in config.json ────────────────────────────────────────────────────────────────────────────


def binds(spec: Spec) -> Iterator[tuple[int, str]]:
    """Yield (index in mounts, path inside) of each bind; its cookie is the path."""
    for index, entry in enumerate(spec.mounts):
        if entry.type == "bind" or parse(entry.options).bind:
            yield index, entry.destination.rstrip("/")


def joined_network(spec: Spec) -> str:
    """Return the path of the network namespace that is joined, or ""."""
    return next((ns.path for ns in spec.linux.namespaces if ns.type == "network"), "")


def refuse(spec: Spec) -> None:
    """Refuse, by name, what would not be the same after a restore.

    Raises:
        SpecError: names the property.
    """
    if spec.process is not None and spec.process.terminal:
        raise _refusal("process.terminal", "a terminal")
    for index, namespace in enumerate(spec.linux.namespaces):
        if namespace.type == "user" or (namespace.type in _NOT_JOINED and namespace.path):
            raise _refusal(f"linux.namespaces[{index}]", f"a {namespace.type} namespace like this")
    private = spec.namespace("cgroup") is not None
    for index, entry in enumerate(spec.mounts):
        if entry.type in ("cgroup", "cgroup2") and not private:
            raise _refusal(f"mounts[{index}]", "a cgroup mount without a cgroup namespace")
        if entry.uid_mappings or {"idmap", "ridmap"} & set(entry.options):
            raise _refusal(f"mounts[{index}]", "an id-mapped mount")
    if spec.linux.seccomp is not None and spec.linux.seccomp.listener_path:
        raise _refusal("linux.seccomp.listenerPath", "a filter with a listener")
    for name in _early_hooks(spec.hooks):
        raise _refusal(f"hooks.{name}", "a hook of the creation")


def _early_hooks(hooks: Hooks | None) -> Iterator[str]:
    """Yield the hooks that a restore has no moment for."""
    if hooks is not None:
        given = encode(hooks)
        yield from (name for name in given if given[name] and name not in _HOOKS)


def _refusal(path: str, what: str) -> SpecError:
    return SpecError(
        f"$.{path}", f"a container with {what} cannot be checkpointed and restored",
        hint="see docs/conformance.md, Checkpoint and restore",
    )  # fmt: skip
