"""Where the scheduler keeps what lasts, and what a reboot may take.

    data   MINISCHED_DATA, else scheduler/ below minirun's data     store.db, lock
    run    MINISCHED_RUN, else .scheduler/ below minirun's state    api.sock, gateway/, replicas/

Next: ``serve.py``.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from minirun import default_home


@dataclass(frozen=True, slots=True)
class Places:
    """The two folders of one scheduler."""

    data: Path
    run: Path

    @property
    def socket(self) -> Path:
        """Return where the API listens."""
        return self.run / "api.sock"

    @property
    def gateway(self) -> Path:
        """Return the gateway's own folder."""
        return self.run / "gateway"

    @property
    def replicas(self) -> Path:
        """Return where the sockets and secrets of replicas are."""
        return self.run / "replicas"


def default_places() -> Places:
    """Return the places of this user's scheduler."""
    home = default_home()
    data = os.environ.get("MINISCHED_DATA") or f"{home.data}/scheduler"
    run = os.environ.get("MINISCHED_RUN") or f"{home.root}/.scheduler"
    return Places(Path(data).absolute(), Path(run).absolute())
