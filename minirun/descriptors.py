"""What a forked process keeps of its parent's descriptors: what is named, and nothing else.

Next: ``runner.py``, ``shim/supervise.py`` and ``shim/standby.py``, which fork.
"""

from __future__ import annotations

import itertools

from . import kernel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

_LAST = 2**31 - 1


def close_all_but(kept: Iterable[int]) -> None:
    """Close every descriptor that is not named, open or not. See: close_range(2).

    A list of what to close would miss what somebody opens next year: a lock, an end of a pipe.
    """
    for low, high in itertools.pairwise((-1, *sorted({*kept} - {-1}), _LAST)):
        if low + 1 < high:
            kernel.close_range(low + 1, high - 1, cloexec=False)
