"""What an ordinary user cannot have, told before the kernel says EPERM without a reason.

Root in a user namespace is root over what is mapped there and made there. What belongs to the host
(its network devices, its groups, the owners of its file systems) stays out of reach.

See: user_namespaces(7); runc's docs/spec-conformance.md. Pure. Next: ``../plan.py``.
"""

from __future__ import annotations

from ..mount_options import parse
from .rules import items, refuse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..host import Host
    from ..spec import IdMapping, Linux, Mount, Spec


def check(spec: Spec, host: Host) -> None:
    """Refuse what only the host's root could do."""
    if not host.rootless:
        return
    linux = spec.linux
    kinds = {entry.type for entry in linux.namespaces}
    if host.uid != 0 and "user" not in kinds:
        hint = "add user, and mappings: minirun-oci spec --rootless writes them"
        refuse("$.linux.namespaces", "without root a container needs a user namespace", hint)
    if linux.net_devices:
        hint = "leave it out, or run as root"
        refuse("$.linux.netDevices", "moving a device needs the host's CAP_NET_ADMIN", hint)
    if spec.process and spec.process.user.additional_gids and not may_set_groups(linux, host):
        hint = "leave it out, or map a range of /etc/subgid instead of one's own gid alone"
        refuse("$.process.user.additionalGids", "setgroups is denied here", hint)
    for path, mount in items("$.mounts", spec.mounts):
        _mount(path, mount, linux, kinds, host)


def may_set_groups(linux: Linux, host: Host) -> bool:
    """Tell whether the container's root may choose his groups.

    Whoever maps his own gid alone has to give up setgroups(2) before: user_namespaces(7).
    """
    alone = host.uid != 0 and [mapping.size for mapping in linux.gid_mappings] == [1]
    return host.may_set_groups and not alone


def _mount(path: str, mount: Mount, linux: Linux, kinds: set[str], host: Host) -> None:
    options = parse(mount.options)
    if options.idmap or mount.uid_mappings:
        hint = "give the files to the container's ids instead: minirun unshare chown"
        refuse(path, "an id-mapped mount needs root on the host", hint)
    if mount.type == "sysfs" and not options.bind and host.uid != 0 and "network" not in kinds:
        hint = 'bind it: {"type": "none", "source": "/sys", "options": ["rbind", "ro"]}'
        refuse(f"{path}.type", "a sysfs needs a network namespace of its own", hint)
    for word in options.data:
        name, _, number = word.partition("=")
        maps = {"uid": linux.uid_mappings, "gid": linux.gid_mappings}.get(name, ())
        if maps and number.isdecimal() and not _is_mapped(int(number), maps):
            refuse(f"{path}.options", f"{word}: the id is not mapped", "leave it out, or map it")


def _is_mapped(number: int, maps: tuple[IdMapping, ...]) -> bool:
    return any(m.container_id <= number < m.container_id + m.size for m in maps)
