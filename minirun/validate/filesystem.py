"""Root, mounts, devices and masks: what can be told without touching a file.

See: config.md, Root and Mounts; config-linux.md, Devices. Pure. Next: ``../plan.py``.
"""

from __future__ import annotations

from ..mount_options import parse
from .isolation import check_ranges
from .rules import absolute, in_range, items, one_of, plain, refuse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..spec import Device, Mount, Spec

PROPAGATIONS = (
    *("private", "rprivate", "shared", "rshared", "slave", "rslave"),
    *("unbindable", "runbindable"),
)
_BINDS = frozenset(("bind", "rbind"))
_ID_MAPS = frozenset(("idmap", "ridmap"))


def check(spec: Spec) -> None:
    """Refuse a root, mounts, devices or masks that cannot be made as described."""
    if not spec.root.path:
        refuse("$.root.path", "there is no root file system", "usually rootfs")
    for path, mount in items("$.mounts", spec.mounts):
        check_mount(path, mount)
    for path, device in items("$.linux.devices", spec.linux.devices):
        check_device(path, device)
    linux = spec.linux
    if linux.rootfs_propagation:
        one_of("$.linux.rootfsPropagation", linux.rootfs_propagation, PROPAGATIONS)
    for path, masked in items("$.linux.maskedPaths", linux.masked_paths):
        absolute(path, masked)
    for path, readonly in items("$.linux.readonlyPaths", linux.readonly_paths):
        absolute(path, readonly)


def check_mount(path: str, mount: Mount) -> None:
    """Refuse a mount that leaves the root, has no source, or maps ids of what it does not bind."""
    where = f"{path}.destination"
    absolute(where, mount.destination)
    if ".." in mount.destination.split("/"):
        refuse(where, f"{mount.destination!r} holds '..'", "write where it really is")
    destination = plain(mount.destination)
    if destination == "/":
        refuse(where, "the root is $.root", "mount below it")
    options = frozenset(mount.options)
    is_bind = mount.type == "bind" or bool(options & _BINDS)
    if is_bind and not mount.source:
        refuse(f"{path}.source", "a bind mount needs something to bind", "a path of the host")
    _options(path, mount, is_bind=is_bind)
    _covers_kernel_tree(path, mount, destination, is_bind=is_bind)
    _id_mapped(path, mount, options, is_bind=is_bind)


def _options(path: str, mount: Mount, *, is_bind: bool) -> None:
    """Refuse words that could have no effect: a file system that is there already has its own."""
    options = parse(mount.options)
    if "remount" in options.data:
        refuse(f"{path}.options", "nothing can be remounted", "give one mount all its options")
    if options.tmpcopyup and (is_bind or mount.type != "tmpfs"):
        refuse(f"{path}.options", "tmpcopyup fills a tmpfs, and this is none")
    if options.data and (is_bind or mount.type in ("cgroup", "cgroup2")):
        kind = "bind" if is_bind else mount.type
        problem = f"{options.data[0]!r} is no option of a {kind} mount"
        refuse(f"{path}.options", problem, "an option of a file system goes with its first mount")


def _covers_kernel_tree(path: str, mount: Mount, destination: str, *, is_bind: bool) -> None:
    """Refuse a file system that pretends to be /proc or /sys (CVE-2019-16884).

    The runtime writes labels and sysctls there; a fake one would swallow them. A bind is let
    through here and looked at when it is made: only a real procfs or sysfs may be bound.
    """
    expected = {"/proc": "proc", "/sys": "sysfs"}.get(destination)
    if expected and not is_bind and mount.type != expected:
        problem = f"{mount.type!r} may not cover {destination}"
        refuse(f"{path}.type", problem, f"the type must be {expected}, or none for a bind mount")


def _id_mapped(path: str, mount: Mount, options: frozenset[str], *, is_bind: bool) -> None:
    given = (mount.uid_mappings, mount.gid_mappings)
    if bool(given[0]) != bool(given[1]):
        refuse(f"{path}.uidMappings", "uidMappings and gidMappings go together", "give both")
    if not is_bind and (given[0] or options & _ID_MAPS):
        problem = "only a bind mount can map ids"
        refuse(f"{path}.uidMappings", problem, "see mount_setattr(2), ID-mapped mounts")
    check_ranges(f"{path}.uidMappings", given[0])
    check_ranges(f"{path}.gidMappings", given[1])


def check_device(path: str, device: Device) -> None:
    """Refuse a node of an unknown kind, or without its numbers. See: mknod(2)."""
    one_of(f"{path}.type", device.type, ("c", "b", "u", "p"))
    absolute(f"{path}.path", device.path)
    if ".." in device.path.split("/"):
        refuse(f"{path}.path", f"{device.path!r} holds '..'", "write where it really is")
    if device.type == "p":
        return
    in_range(f"{path}.major", device.major, 0, 2**12 - 1)
    in_range(f"{path}.minor", device.minor, 0, 2**20 - 1)
