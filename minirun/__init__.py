"""minirun: bundle in, isolated process out.

Start with ``minirun/README.md``: six files, in the order in which they are best read.
"""

from __future__ import annotations

__version__ = "0.1.0"
