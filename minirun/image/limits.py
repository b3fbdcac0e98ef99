"""How much a layer may hold before it is refused, and how a person allows more.

    MINIRUN_LAYER_LIMITS=entries=3000000,size=2T,ratio=2000

The defaults are several times what the largest images for machine learning have (100,000 files in a
layer, 20 GB), and stop what only an attack has: all inodes of the disk in a blob of a megabyte, or
a file of zeros that gzip makes a thousand times smaller. Memory needs no limit: it does not grow.

Next: ``unpack.py``, which counts.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from ..container.sizes import byte_size
from ..errors import UsageError
from ..record import Record, replace

VARIABLE = "MINIRUN_LAYER_LIMITS"
_FIELDS = {"entries": "entries", "size": "size_bytes", "ratio": "ratio"}


class Limits(Record):
    """How much a layer may hold before it is refused.

    Args:
        entries: members of the archive.
        size_bytes: of the inflated archive, and of all files in it.
        ratio: inflated bytes per compressed byte, after the first GiB.
    """

    entries: int = 1_000_000
    size_bytes: int = 1 << 40
    ratio: int = 500


DEFAULT_LIMITS = Limits()


def allow_more(field: str, more: object) -> str:
    """Return how more is allowed, for the error that refuses it.

    >>> allow_more("entries", 2_000_000)
    'if you trust it, MINIRUN_LAYER_LIMITS=entries=2000000 allows more'
    """
    return f"if you trust it, {VARIABLE}={field}={more} allows more"


def host_limits(environ: Mapping[str, str] | None = None) -> Limits:
    """Return the limits of this host.

    >>> host_limits({"MINIRUN_LAYER_LIMITS": "entries=5,size=1k"})
    Limits(entries=5, size_bytes=1024, ratio=500)

    Raises:
        UsageError: the variable says something else.
    """
    text = (os.environ if environ is None else environ).get(VARIABLE, "")
    found = DEFAULT_LIMITS
    for word in filter(None, text.split(",")):
        name, _, value = word.partition("=")
        if name not in _FIELDS:
            known = ", ".join(_FIELDS)
            raise UsageError(f"{VARIABLE}={text}: unknown limit {name!r}", hint=f"one of {known}")
        found = replace(found, **{_FIELDS[name]: byte_size(value)})
    return found
