"""What a docker-like container finds mounted: docker's own, the files of /etc, and the user's.

Pure. Next: ``../plan.py``.
"""

from __future__ import annotations

from ..spec import Mount

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .mounts import MountRequest
    from .options import RunOptions
    from .specify import Facts

INIT_PATH = "/sbin/docker-init"

_NO_EXEC = ("nosuid", "noexec", "nodev")
_PTS = ("newinstance", "ptmxmode=0666", "mode=0620", "gid=5")


def mounts(options: RunOptions, facts: Facts) -> tuple[Mount, ...]:
    """Return every mount, parents before children: docker's own, the /etc files, the user's.

    A request at the target of one of docker's own replaces it, so that ``-v /dev/shm:/dev/shm``
    and ``--tmpfs /dev/shm:size=1g`` do what they say.
    """
    found = {mount.destination: mount for mount in default_mounts(options, rootless=facts.rootless)}
    for target, source in facts.etc_files.items():
        found[target] = Mount(target, "bind", source, ("rbind", "rprivate", *_owned(facts)))
    for request in options.mounts:
        found[request.target] = _requested(request, facts)
    for target, source in facts.volumes.items():
        if target not in {request.target for request in options.mounts}:
            found[target] = Mount(target, "bind", source, ("rbind", "rprivate", *_owned(facts)))
    if facts.init:
        found[INIT_PATH] = Mount(INIT_PATH, "bind", facts.init, ("bind", "ro", "nosuid", "nodev"))
    # Sorting is stable: /dev comes before /dev/shm, and equals keep docker's order.
    return tuple(sorted(found.values(), key=lambda mount: _depth(mount.destination)))


def _depth(path: str) -> int:
    return len([part for part in path.split("/") if part])


def default_mounts(options: RunOptions, *, rootless: bool = False) -> tuple[Mount, ...]:
    """Return docker's mounts. A privileged container may write to /sys and its control group.

    What belongs to a namespace of the host can be shown to a user's container, not mounted by it.
    """
    writable = () if options.privileged else ("ro",)
    cgroup = ("nosuid", "noexec", "nodev", "relatime", *writable)
    dev = ("nosuid", "strictatime", "mode=755", "size=65536k")
    made = [
        Mount("/proc", "proc", "proc", _NO_EXEC),
        Mount("/dev", "tmpfs", "tmpfs", dev),
        Mount("/dev/pts", "devpts", "devpts", ("nosuid", "noexec", *_PTS)),
        Mount("/sys", "bind", "/sys", ("rbind", *_NO_EXEC, *writable))
        if rootless and options.network.mode == "host"
        else Mount("/sys", "sysfs", "sysfs", (*_NO_EXEC, *writable)),
        Mount("/sys/fs/cgroup", "cgroup", "cgroup", cgroup),
    ]
    if options.ipc == "host":
        if options.userns in ("host", "private", "") and not rootless:
            # The host's queues, whether or not it has mounted them itself.
            made.append(Mount("/dev/mqueue", "mqueue", "mqueue", _NO_EXEC))
        else:  # whose root may not mount what belongs to the host's namespace
            made.append(Mount("/dev/mqueue", "bind", "/dev/mqueue", ("rbind", *_NO_EXEC)))
        made.append(Mount("/dev/shm", "bind", "/dev/shm", ("rbind", *_NO_EXEC)))
        return tuple(made)
    made.append(Mount("/dev/mqueue", "mqueue", "mqueue", _NO_EXEC))
    if options.ipc != "none":
        size = f"size={options.resources.shm_size_bytes}"
        made.append(Mount("/dev/shm", "tmpfs", "shm", (*_NO_EXEC, "mode=1777", size)))
    return tuple(made)


def _requested(request: MountRequest, facts: Facts) -> Mount:
    """Return the mount for one -v, --mount or --tmpfs."""
    mode = ("ro",) if request.readonly else ()
    if request.type == "tmpfs":
        own = request.tmpfs_options
        # Docker's defaults come first: a later word wins, so exec or suid in the flag still counts.
        return Mount(request.target, "tmpfs", "tmpfs", (*_NO_EXEC, *own, *mode))
    if request.type == "volume":
        source = facts.volumes[request.target]
        words = ("rbind", "rprivate", *_owned(facts), *mode)
        return Mount(request.target, "bind", source, words)
    bind = "bind" if request.recursive == "disabled" else "rbind"
    if request.readonly and request.recursive == "readonly":
        mode = ("rro",)
    propagation = request.propagation or "rprivate"
    return Mount(request.target, "bind", request.source, (bind, propagation, *mode))


def _owned(facts: Facts) -> tuple[str, ...]:
    """Return what makes a volume the container's own in a user namespace too.

    Never for a bind: there the owners are the host's users, and stay so, as with docker.
    """
    return ("idmap",) if facts.uid_mappings else ()
