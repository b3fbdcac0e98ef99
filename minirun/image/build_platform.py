"""Which machine an image is built for: always this one, since nothing here emulates processors.

Next: ``build.py``.
"""

from __future__ import annotations

import os

from ..errors import ImageError

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_ALIASES = {"x86_64": "amd64", "x86-64": "amd64", "aarch64": "arm64", "armhf": "arm"}


def host_architecture(platform: str = "") -> str:
    """Return this host's architecture, as images name it.

    Args:
        platform: what was asked for, as in ``linux/arm64``; "" is whatever the host is.

    Raises:
        ImageError: it is another one.
    """
    machine = os.uname().machine
    mine = _ARCHITECTURES.get(machine, machine)
    system, _, wanted = platform.lower().rpartition("/") if platform else ("", "", mine)
    wanted = wanted.partition("/")[0]
    if "/" in system:  # linux/arm64/v8: the variant comes last
        system, _, wanted = system.partition("/")
    if system not in ("", "linux") or _ALIASES.get(wanted, wanted) != mine:
        hint = f"this host builds and runs linux/{mine}"
        raise ImageError(f"platform {platform} is foreign to this host", hint=hint)
    return mine


def platform_args() -> dict[str, str]:
    """Return the platform ARGs; build and target are the same host."""
    architecture = host_architecture()
    values = {
        "PLATFORM": f"linux/{architecture}",
        "OS": "linux",
        "ARCH": architecture,
        "VARIANT": "",
    }
    return {f"{side}{name}": v for side in ("BUILD", "TARGET") for name, v in values.items()}
