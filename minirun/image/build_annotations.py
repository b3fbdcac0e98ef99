"""``--annotation``: what is said about an image beside its config.

    NAME=VALUE                        in the manifest
    manifest-descriptor:NAME=VALUE    on the manifest's entry in an index, as that of an archive
    manifest[linux/amd64]:NAME=VALUE  for one platform, which has to be this host's

Labels are inherited by what is built on top, and part of the config; annotations are neither.

See: docs.docker.com/build/metadata/annotations. Next: ``build_options.py``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from ..errors import UsageError
from .build_platform import host_architecture
from .model import Annotations

_KINDS = ("manifest", "manifest-descriptor")
_OF_INDEXES = ("index", "index-descriptor")
_KIND = r"(?:manifest|index)(?:-descriptor)?(?:\[[^\]]*\])?"
_FORM = re.compile(rf"(?:({_KIND}(?:,{_KIND})*):)?([^=\s]+)=(.*)", re.DOTALL)


def parse_annotations(texts: Iterable[str]) -> Annotations:
    """Return the annotations that the values of ``--annotation`` ask for.

    >>> parse_annotations(["a=1", "manifest,manifest-descriptor:b=2"]).descriptor
    {'b': '2'}

    Raises:
        UsageError: no name and value; or for an index, which the build of one platform has none of.
        ImageError: for another platform.
    """
    found: dict[str, dict[str, str]] = {kind: {} for kind in _KINDS}
    for text in texts:
        match = _FORM.fullmatch(text)
        if match is None:
            raise UsageError(f"--annotation {text!r}: no name and value", hint="NAME=VALUE")
        for kind in (match[1] or "manifest").split(","):
            found[_checked(kind, text)][match[2]] = match[3]
    return Annotations(*found.values())


def _checked(kind: str, text: str) -> str:
    """Return the kind without its platform, if there is such a thing in this build."""
    name, _, platform = kind.removesuffix("]").partition("[")
    if name in _OF_INDEXES:
        hint = "one platform is built, without an index: manifest, or manifest-descriptor"
        raise UsageError(f"--annotation {text!r}: {name} is not supported", hint=hint)
    host_architecture(platform)
    return name
