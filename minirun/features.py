"""What this runtime can do, in the shape that engines ask for at their start.

Every list is made from the table that the code itself works with, so it cannot promise what is not
there. It tells of the runtime and not of this machine, as the specification wants it: what a config
asks for in vain here is refused when it is created. The one exception is named there too, the flags
of a filter that this kernel takes.

See: runtime-spec, features.md and features-linux.md. Next: ``oci/features.py``.
"""

from __future__ import annotations

from importlib.util import find_spec

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
    waits = "seccomp_wait_killable" in host.features
    unsupported = set() if waits else {"SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"}
    return {
        "namespaces": sorted(NAMESPACES),
        "capabilities": list(CAPABILITIES),
        "cgroup": {
            "v1": True,
            "v2": True,
            "systemd": find_spec("jeepney") is not None,
            "systemdUser": False,
            "rdma": True,
        },
        "seccomp": {
            "enabled": True,
            "actions": sorted(ACTIONS),
            "operators": sorted(OPERATORS),
            "archs": sorted(ARCHITECTURES),
            "knownFlags": sorted(FLAGS),
            "supportedFlags": sorted(FLAGS.keys() - unsupported),
        },
        "apparmor": {"enabled": True},
        "selinux": {"enabled": False},
        "intelRdt": {"enabled": True, "schemata": True, "monitoring": True},
        "memoryPolicy": {"modes": sorted(MEMORY_MODES), "flags": sorted(MEMORY_FLAGS)},
        "mountExtensions": {"idmap": {"enabled": True}},
        "netDevices": {"enabled": True},
    }
