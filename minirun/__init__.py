"""minirun: bundle in, isolated process out.

Start with ``minirun/README.md``: six files, in the order in which they are best read.
"""

from __future__ import annotations

from .errors import MinirunError, ScheduleError

__version__ = "0.1.0"

#: What the scheduler, which sees nothing else of this package, may import.
__all__ = ["MinirunError", "ScheduleError", "__version__"]
