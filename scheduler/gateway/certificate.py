"""The gateway's certificate, which is renewed while the proxy goes on.

The proxy reads the file once, when it starts, and outlives every controller: so a renewed file is
read here, and the proxy is told. What it has is kept where the file cannot be used, as in the
moment in which somebody still writes it.

See: the management guide, "set ssl cert". Next: ``meter.py``.
"""

from __future__ import annotations

import logging
from pathlib import Path

from .admin import Admin, AdminError

LOG = logging.getLogger(__name__)


class Certificate:
    """A file with a certificate, its chain and its key.

    Args:
        path: the file; None where no TLS is spoken.
        admin: the proxy.
    """

    def __init__(self, path: Path | None, admin: Admin) -> None:
        self._path = path
        self._admin = admin
        self._told: tuple[int, int, int] | None = None

    def follow(self) -> None:
        """Tell the proxy what the file says, where it is not what was told before."""
        if self._path is None:
            return
        try:
            found = self._path.stat()
            version = (found.st_ino, found.st_size, found.st_mtime_ns)
            if version != self._told:
                self._told = version
                self._tell(self._path, self._path.read_text())
        except (OSError, ValueError, AdminError) as error:
            LOG.warning("the gateway keeps the certificate it has: %s", error)

    def _tell(self, path: Path, text: str) -> None:
        lines = "\n".join(line for line in text.splitlines() if line.strip())
        said = self._admin.ask(f"set ssl cert {path} <<\n{lines}\n")
        if "ransaction" in said:
            said = self._admin.ask(f"commit ssl cert {path}")
        if "Success" not in said:
            self._admin.ask(f"abort ssl cert {path}")
            raise AdminError(f"{path}: {' '.join(said.split())}")
