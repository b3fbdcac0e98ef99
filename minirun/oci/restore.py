"""start a container from a checkpoint.

See: criu(8). Next: ``checkpoint.py``, which says why not.
"""

from __future__ import annotations

from .bundle import OPTIONS as BUNDLE_OPTIONS
from .checkpoint import OPTIONS as CHECKPOINT_OPTIONS
from .checkpoint import main
from .words import FLAG

__all__ = ["OPTIONS", "main"]

OPTIONS = {
    **BUNDLE_OPTIONS,
    **CHECKPOINT_OPTIONS,
    "detach": FLAG,
    "no-subreaper": FLAG,
    "tcp-close": FLAG,
}
