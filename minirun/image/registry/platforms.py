"""Which manifest of an index runs on a machine.

    >>> parse("linux/arm64/v8")
    Platform(architecture='arm64', os='linux', variant='')
    >>> parse("arm/v6").variant
    'v6'

An exact match wins. An arm machine also runs what was built for older ones (v7 runs v6 and v5), so
of those the newest is taken. Attestations are listed as ``unknown/unknown`` and are never chosen.

May not import anything with an effect. See: image-spec image-index.md. Next: ``pull.py``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

from ...errors import ImageError
from ..model import Descriptor, Platform

_NORMAL = {
    "x86_64": ("amd64", ""),
    "x86-64": ("amd64", ""),
    "aarch64": ("arm64", ""),
    "armhf": ("arm", "v7"),
    "armel": ("arm", "v6"),
    "armv7l": ("arm", "v7"),
    "armv6l": ("arm", "v6"),
    "i386": ("386", ""),
    "i686": ("386", ""),
}
#: The variant that is meant where none is written.
_IMPLIED = {"arm64": "v8", "arm": "v7", "amd64": "v1"}
_OLDER = {"arm": ("v8", "v7", "v6", "v5"), "amd64": ("v4", "v3", "v2", "v1")}
_WORD = re.compile(r"[A-Za-z0-9_.-]+")
_SYSTEMS = ("linux", "windows", "darwin", "freebsd")


def host() -> Platform:
    """Return the platform of this machine."""
    return _normal("linux", os.uname().machine)


def parse(text: str) -> Platform:
    """Return the platform that a person wrote: ``linux/arm64``, ``arm64`` or ``linux/arm/v6``.

    Raises:
        ImageError: it is none.
    """
    parts = text.lower().split("/")
    if len(parts) > 3 or not all(_WORD.fullmatch(part) for part in parts):
        raise ImageError(f"platform {text!r} is not of the form OS/ARCHITECTURE[/VARIANT]")
    if parts[0] not in _SYSTEMS:
        parts.insert(0, "linux")
    if len(parts) < 2:
        raise ImageError(f"platform {text!r} has no architecture", hint="for example linux/arm64")
    return _normal(*parts[:3])


def spelled(platform: Platform) -> str:
    """Return a platform as a person writes it."""
    parts = (platform.os, platform.architecture, platform.variant)
    return "/".join(part for part in parts if part)


def runs(wanted: Platform, offered: Platform) -> bool:
    """Return True where ``wanted`` can run what was made for ``offered``."""
    return _rank(wanted, offered) >= 0


def choose(manifests: Sequence[Descriptor], wanted: Platform, what: str) -> Descriptor:
    """Return the manifest to take from an index; of several equally good the first.

    Raises:
        ImageError: there is none; the hint names the platforms there are.
    """
    ranked = [(_rank(wanted, m.platform), m) for m in manifests if m.platform is not None]
    fitting = [(rank, manifest) for rank, manifest in ranked if rank >= 0]
    if fitting:
        return min(fitting, key=lambda pair: pair[0])[1]
    if unnamed := [m for m in manifests if m.platform is None]:
        return unnamed[0]
    offered = sorted({spelled(m.platform) for m in manifests if m.platform} - {"unknown/unknown"})
    hint = f"there is one for: {', '.join(offered) or 'nothing'}"
    raise ImageError(f"{what} has no image for {spelled(wanted)}", hint=hint)


def _rank(wanted: Platform, offered: Platform) -> int:
    """Return how far an offer is from the best, or -1 where it does not run."""
    offer = _normal(offered.os, offered.architecture, offered.variant)
    if (offer.os, offer.architecture) != (wanted.os, wanted.architecture):
        return -1
    have, need = _variant(offer), _variant(wanted)
    ladder = _OLDER.get(wanted.architecture, ())
    if have == need:
        return 0
    if have in ladder and need in ladder and ladder.index(have) > ladder.index(need):
        return ladder.index(have) - ladder.index(need)
    return -1


def _variant(platform: Platform) -> str:
    return platform.variant or _IMPLIED.get(platform.architecture, "")


def _normal(system: str, architecture: str, variant: str = "") -> Platform:
    name, implied = _NORMAL.get(architecture, (architecture, ""))
    variant = variant or implied
    return Platform(name, system, "" if variant == _IMPLIED.get(name) else variant)
