"""say what this runtime can do, as JSON.

See: features.md of the runtime-spec. Next: ``../features.py``.
"""

from __future__ import annotations

import sys

from ..features import features
from ..host import probe
from ..quickjson import pretty

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .report import Report
    from .words import Call

OPTIONS: dict[str, str] = {}


def main(call: Call, report: Report) -> int:
    """Print it; dockerd asks at its start, without any global option."""
    del call, report
    sys.stdout.write(pretty(features(probe())) + "\n")
    return 0
