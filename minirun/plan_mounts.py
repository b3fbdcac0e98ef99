"""The phrases of ``plan.py`` that speak of files: the root, what is mounted in it, and devices.

Nothing here knows the order; that is the page's business. Pure. Next: ``plan.py``.
"""

from __future__ import annotations

from .errors import SpecError
from .flags import Clone, Mount
from .mount_options import MountOptions, parse
from .plan_parts import root_of, separate
from .record import replace
from .spec import Spec
from .steps import devices, mounts, trees
from .steps.base import Step
from .validate.rules import plain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .host import Host
    from .plan import Setting
    from .spec import Linux
    from .spec import Mount as SpecMount


def idmapped_overlay(linux: Linux, setting: Setting) -> list[Step]:
    """Assemble the root outside the user namespace, where layers may still be id-mapped."""
    from .steps import idmapped

    assert setting.overlay is not None
    mapped = tuple(f"{setting.layers}/{n}" for n in range(len(setting.overlay.lowers)))
    stack = replace(setting.overlay, lowers=mapped)
    owner = root_of(linux.uid_mappings), root_of(linux.gid_mappings)
    return [
        idmapped.UnshareMounts(),
        idmapped.MakeOuterMountsPrivate(),
        idmapped.MapLayers(setting.overlay.lowers, setting.layers),
        idmapped.MountMappedOverlay(stack, setting.rootfs, owner),
    ]


def prepared_binds(spec: Spec, host: Host) -> tuple[trees.HostTree, ...]:
    """Return the binds whose source must be opened before the namespaces are entered.

    In a user namespace the source may be out of reach; a mount that shares or receives events must
    be cloned while its peers are still visible. An ordinary user may clone mounts only inside, as
    the container's root, who is himself.
    """
    if host.uid != 0:
        return ()
    in_userns = Clone.CLONE_NEWUSER in separate(spec.linux)
    found = []
    for index, entry in enumerate(spec.mounts):
        if not _is_bind(entry):
            continue
        options, own = _bind_options(entry), (entry.uid_mappings, entry.gid_mappings)
        if options.idmap and not in_userns and not own[0]:
            problem = "idmap has no mappings: neither the mount nor the container has any"
            raise SpecError(f"$.mounts[{index}]", problem, hint="add uidMappings and gidMappings")
        travels = any(p & (Mount.MS_SHARED | Mount.MS_SLAVE) for p in options.propagation)
        if in_userns or travels or options.idmap or own[0]:
            found.append(trees.HostTree(entry.destination, entry.source, options, *own))
    return tuple(found)


def open_trees(binds: tuple[trees.HostTree, ...], linux: Linux) -> Step:
    """Return the step that takes their sources in hand."""
    from .steps.idmapped import OpenTrees  # few containers have such binds

    joined = next((entry.path for entry in linux.namespaces if entry.type == "user"), "")
    return OpenTrees(binds, joined)


def mount_each(
    spec: Spec, host: Host, setting: Setting, binds: tuple[trees.HostTree, ...]
) -> list[Step]:
    """Return a step for each entry of ``mounts``.

    Args:
        spec: whose mounts.
        host: as probed.
        setting: where the control groups are.
        binds: those that are prepared.
    """
    prepared = {tree.destination for tree in binds}
    return [_mount(entry, spec, host, setting, prepared) for entry in spec.mounts]


def make_devices(spec: Spec, host: Host) -> Step | None:
    """Return the step for /dev: the spec's devices replace standard ones of the same path."""
    if any(_is_bind(entry) and plain(entry.destination) == "/dev" for entry in spec.mounts):
        return None  # the host's own must not be written to
    wanted = {device.path: device for device in devices.DEFAULT_DEVICES}
    wanted.update({device.path: device for device in spec.linux.devices})
    in_userns = host.in_user_namespace or Clone.CLONE_NEWUSER in separate(spec.linux)
    return devices.MakeDevices(tuple(wanted.values()), bind=in_userns)


def _mount(entry: SpecMount, spec: Spec, host: Host, setting: Setting, prepared: set[str]) -> Step:
    if _is_bind(entry):
        options = _bind_options(entry)
        ahead = entry.destination in prepared
        return mounts.MountBind(entry.source, entry.destination, options, ahead)
    options = parse(entry.options)
    if entry.type in ("cgroup", "cgroup2"):
        return _mount_cgroup(entry.destination, options, spec, host, setting)
    return mounts.MountFilesystem(entry.type, entry.source, entry.destination, options)


def _is_bind(entry: SpecMount) -> bool:
    return entry.type == "bind" or bool({"bind", "rbind"} & set(entry.options))


def _bind_options(entry: SpecMount) -> MountOptions:
    options = parse(entry.options)
    return options if options.bind else replace(options, bind="bind")


def _mount_cgroup(
    destination: str, options: MountOptions, spec: Spec, host: Host, setting: Setting
) -> Step:
    """Version 2 is one file system, version 1 a directory of them."""
    if host.cgroup_mode != "v2":
        return mounts.MountCgroup1(destination, options, _groups_by_path(setting, host))
    tree = host.cgroup2.own if host.cgroup2 else "/sys/fs/cgroup"
    own = dict(setting.cgroup_directories).get("", tree)
    namespaced = spec.namespace("cgroup") is not None
    return mounts.MountCgroup2(destination, options, "" if namespaced else own)


def _groups_by_path(setting: Setting, host: Host) -> tuple[tuple[str, str, tuple[str, ...]], ...]:
    """Return (directory, host path, links) of each version 1 hierarchy.

    Controllers that share a hierarchy (``cpu,cpuacct``) share a directory with a link for each.
    """
    by_path: dict[str, list[str]] = {}
    for controller, path in setting.cgroup_directories:
        if host.controllers[controller].version == 2:
            continue  # the empty half of a hybrid host
        by_path.setdefault(path, []).append(controller.removeprefix("name="))
    return tuple(
        (",".join(names), path, tuple(names) if len(names) > 1 else ())
        for path, names in by_path.items()
    )
