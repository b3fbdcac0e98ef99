"""What replicas write, and what is kept of it when they are gone: output, or why one crashed.

    logs/<deployment>/<replica>.jsonl      the last lines of the last replicas

Little is kept, so that a deployment which crashes all day does not fill a disk. What belonged to a
deployment that was deleted goes with the next that is kept, or the next start.

Next: ``inside.py``.
"""

from __future__ import annotations

import json
import logging
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from minirun import Containers

from ..control.ports import LogLine
from .replica import Box, unix_s

KEPT_REPLICAS, KEPT_LINES = 10, 1000
_ID = re.compile(r"[a-z0-9-]+\.\d+")
log = logging.getLogger(__name__)


class Afterlife:
    """The logs of replicas that were removed.

    Args:
        top: the folder; made when it is needed.
        exists: says whether there is a deployment of this name.
    """

    def __init__(self, top: Path, exists: Callable[[str], bool]) -> None:
        self._top = top
        self._exists = exists

    def keep(self, replica_id: str, lines: Iterable[LogLine]) -> None:
        """Keep what a replica wrote at last; where that cannot be, it is said and forgotten."""
        path = self._path(replica_id)
        try:
            texts = [json.dumps(asdict(line)) + "\n" for line in lines]
            if texts and self._exists(path.parent.name):
                path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                path.write_text("".join(texts))
            self.tidy()
        except OSError as error:
            log.warning("the log of %s is not kept: %s", replica_id, error)

    def tidy(self) -> None:
        """Delete what is too old, and what nobody could ask for any more."""
        for folder in self._folders():
            if self._exists(folder.name):
                for path in _oldest_first(folder)[:-KEPT_REPLICAS]:
                    path.unlink(missing_ok=True)
            else:
                shutil.rmtree(folder, ignore_errors=True)

    def replicas(self, deployment: str) -> tuple[str, ...]:
        """Return which replicas of a deployment left something, the oldest first."""
        return tuple(path.stem for path in _oldest_first(self._top / deployment))

    def lines(self, replica_id: str) -> Sequence[LogLine] | None:
        """Return what a replica wrote; None where nothing is known of it."""
        if not _ID.fullmatch(replica_id):
            return None  # it comes from a client, and becomes a path
        with suppress(OSError, ValueError, TypeError):
            texts = self._path(replica_id).read_text().splitlines()
            return [LogLine(**json.loads(text)) for text in texts]
        return None

    def _path(self, replica_id: str) -> Path:
        return self._top / replica_id.rpartition(".")[0] / f"{replica_id}.jsonl"

    def _folders(self) -> list[Path]:
        return list(self._top.iterdir()) if self._top.exists() else []


def _oldest_first(folder: Path) -> list[Path]:
    found = folder.glob("*.jsonl") if folder.exists() else ()
    return sorted(found, key=lambda path: int(path.stem.rpartition(".")[2]))


def lines_of(containers: Containers, box: Box, tail: int | None) -> Iterator[LogLine | None]:
    """Yield what a replica has written and writes; None where there is nothing more now."""

    def running() -> bool:
        return not box.replica.has_ended

    for entry in containers.logs(box.container, running, tail):
        if entry is None:
            yield None
        else:
            yield LogLine(unix_s(entry.time), entry.stream, entry.log.removesuffix("\n"))
