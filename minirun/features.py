"""What this runtime can do, in the shape that engines ask for at their start.

Every list is made from the table that the code itself works with, so it cannot promise what is not
there. What depends on the kernel depends on ``host``.

See: runtime-spec, features.md and features-linux.md. Next: ``oci/features.py``.
"""

from __future__ import annotations

from . import __version__
from .capabilities import CAPABILITIES
from .mount_options import known_options
from .plan_parts import NAMESPACES
from .seccomp.words import ACTIONS, ARCHITECTURES, FLAGS, OPERATORS
from .steps.priorities import MEMORY_FLAGS, MEMORY_MODES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .host import Host

HOOKS = (
    "prestart",
    "createRuntime",
    "createContainer",
    "startContainer",
    "poststart",
    "poststop",
)


def features(host: Host) -> dict[str, Any]:
    """Return the features structure of runtime-spec 1.3.

    Args:
        host: as probed.
    """
    return {
        "ociVersionMin": "1.0.0",
        "ociVersionMax": "1.3.0",
        "hooks": list(HOOKS),
        "mountOptions": list(known_options()),
        "linux": _linux(host),
        "annotations": {
            "org.opencontainers.runc.version": __version__,
            "org.opencontainers.runc.checkpoint.enabled": "true",  # where criu is installed
        },
        "potentiallyUnsafeConfigAnnotations": [],
    }


def _linux(host: Host) -> dict[str, Any]:
    kernel_names = {"mount": "mnt", "network": "net"}
    known = [kind for kind in NAMESPACES if kernel_names.get(kind, kind) in host.namespaces]
    versions = {where.version for where in host.controllers.values()}
    return {
        "namespaces": sorted(known),
        "capabilities": list(CAPABILITIES)[: host.last_cap + 1],
        "cgroup": {
            "v1": 1 in versions,
            "v2": host.cgroup2 is not None,
            "systemd": host.cgroup_mode == "v2",
            "systemdUser": False,
            "rdma": "rdma" in host.controllers,
        },
        "seccomp": {
            "enabled": True,
            "actions": sorted(ACTIONS),
            "operators": sorted(OPERATORS),
            "archs": sorted(ARCHITECTURES),
            "knownFlags": sorted(FLAGS),
            "supportedFlags": sorted(FLAGS),
        },
        "apparmor": {"enabled": True},
        "selinux": {"enabled": False},
        "intelRdt": {"enabled": True, "schemata": True, "monitoring": True},
        "memoryPolicy": {"modes": sorted(MEMORY_MODES), "flags": sorted(MEMORY_FLAGS)},
        "mountExtensions": {"idmap": {"enabled": "idmapped_mounts" in host.features}},
        "netDevices": {"enabled": True},
    }
