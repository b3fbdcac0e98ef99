"""What ADD does beyond COPY: it unpacks archives.

The archive is unpacked by the reader that also unpacks layers, into an empty folder, and copied
from there: so neither a link nor a ``..`` in it can reach the image's other files or the host's.

See: docs.docker.com/reference/dockerfile, ADD. Next: ``build_copy.py``.
"""

from __future__ import annotations

import os
import shutil
import stat
import tempfile

from ..errors import ImageError
from .build_copy import Copier
from .build_sources import Origin
from .streams import CHUNK, decompress
from .tarheader import BLOCK, parse_header
from .tarstream import TarReader
from .unpack import Unpacker


def add(copier: Copier, origin: Origin, source: str, target: str, scratch: str) -> None:
    """Unpack a source where it is an archive, else copy it.

    Args:
        copier: writes into the stage.
        origin: where the source is.
        source: as ``Origin.find`` returned it.
        target: absolute; an archive's content goes into this folder.
        scratch: a folder for the unpacked archive, on the store's file system.
    """
    if not is_archive(origin, source):
        copier.copy(origin, source, target)
        return
    folder = tempfile.mkdtemp(dir=scratch)
    os.chmod(folder, 0o755)
    try:
        top = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            _unpack(origin, source, top)
            copier.copy(Origin(top, source, keep_owners=True), "", target)
        finally:
            os.close(top)
    finally:
        shutil.rmtree(folder)


def is_archive(origin: Origin, source: str) -> bool:
    """Return True for a tar archive, compressed or not, whatever its name."""
    with origin.item(source) as item:
        if not stat.S_ISREG(item.facts.st_mode):
            return False
        with os.fdopen(item.open(), "rb", buffering=0) as file:
            try:
                stream = decompress(file)
                block = b""
                while len(block) < BLOCK and (more := stream.read(BLOCK - len(block))):
                    block += more
                return len(block) == BLOCK and any(block) and bool(parse_header(block))
            except ImageError:
                return False


def _unpack(origin: Origin, source: str, top: int) -> None:
    with origin.item(source) as item, os.fdopen(item.open(), "rb", buffering=0) as file:
        stream = decompress(file)
        Unpacker(top, whiteouts=False).apply(TarReader(stream))
        while stream.read(CHUNK):
            pass  # a damaged end is an error too
