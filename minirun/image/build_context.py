"""The folders that a build takes files from, and the text of its Dockerfile.

    PATH                            the context; .dockerignore hides parts of it
    - (standard input)              a tar archive of it, or a Dockerfile that needs none
    --build-context name=PATH       a further folder, for COPY --from=name
    --build-context name=docker-image://REF    another image under the name of a base

Next: ``build_sources.py``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO

from ..errors import ImageError
from .build_digests import Digests
from .build_ignore import Ignore
from .build_rootfs import read_text
from .build_sources import Origin
from .streams import decompress, is_compressed
from .tarheader import BLOCK, parse_header
from .tarstream import TarReader
from .unpack import Unpacker

#: How a Dockerfile from standard input is called: in a folder of its own, and in messages.
STDIN = "-"
IMAGE_SCHEME = "docker-image://"
_LAYOUT_SCHEME = "oci-layout://"
_MAX_DOCKERFILE_BYTES = 16 << 20


def read_dockerfile(folder: Path, path: Path) -> str:
    """Return the Dockerfile's text.

    Raises:
        ImageError: no context, no Dockerfile, or not text.
    """
    if not folder.is_dir():
        problem = "is not a folder" if folder.exists() else "does not exist"
        raise ImageError(
            f"build context {folder} {problem}", hint="name the folder of a Dockerfile"
        )
    try:
        with path.open("rb") as file:
            raw = file.read(_MAX_DOCKERFILE_BYTES + 1)
        if len(raw) > _MAX_DOCKERFILE_BYTES:
            raise ImageError(f"{path} is larger than a Dockerfile may be")
        return raw.decode("utf-8")
    except FileNotFoundError:
        hint = "write one, or name another with -f"
        raise ImageError(f"no Dockerfile at {path}", hint=hint) from None
    except IsADirectoryError:
        raise ImageError(f"{path} is a folder, not a Dockerfile") from None
    except UnicodeDecodeError as error:
        raise ImageError(f"{path} is not UTF-8 text", hint="save it as UTF-8") from error


def shown(path: Path) -> str:
    """Return how messages call the Dockerfile: relative where that is shorter."""
    if path.name == STDIN:
        return STDIN
    relative = os.path.relpath(path)
    return relative if len(relative) < len(str(path)) else str(path)


@contextmanager
def opened(folder: Path, dockerfile: Path | None, label: str, digests: Digests) -> Iterator[Origin]:
    """Yield a folder to copy from, without what its ``.dockerignore`` hides.

    Args:
        folder: its top.
        dockerfile: a ``.dockerignore`` of its own, beside it, comes first.
        label: how an error calls the folder.
        digests: hashes its files.
    """
    root = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        text = None
        if dockerfile is not None:
            own = dockerfile.with_name(f"{dockerfile.name}.dockerignore")
            text = own.read_text() if own.is_file() else None
        ignore = Ignore(read_text(root, ".dockerignore") if text is None else text)
        yield Origin(root, label, ignore, digests=digests)
    finally:
        os.close(root)


@contextmanager
def named(contexts: Mapping[str, str], digests: Digests) -> Iterator[dict[str, Origin]]:
    """Yield the folders among the values of ``--build-context``.

    Raises:
        ImageError: it is not there, or of a kind that is not supported.
    """
    with ExitStack() as stack:
        found = {}
        for name, where in contexts.items():
            if where.startswith(IMAGE_SCHEME):
                continue
            if "://" in where or where.startswith("git@"):
                hint = f"a folder, or {IMAGE_SCHEME}NAME"
                raise ImageError(f"--build-context {name}={where} is not supported", hint=hint)
            if not os.path.isdir(where):
                hint = f"a folder, or {IMAGE_SCHEME}NAME"
                raise ImageError(f"--build-context {name}={where} is not a folder", hint=hint)
            label = f"build context {name}"
            found[name] = stack.enter_context(opened(Path(where), None, label, digests))
        yield found


def receive(stream: BinaryIO, folder: Path) -> Path | None:
    """Unpack a context from standard input; return the Dockerfile where it is only that.

    Args:
        stream: a tar archive, compressed or not, or the text of a Dockerfile.
        folder: empty; receives the context, or the Dockerfile.

    Raises:
        ImageError: it is neither, or the archive is damaged or hostile.
    """
    head = b""
    while len(head) < BLOCK and (more := stream.read(BLOCK - len(head))):
        head += more
    whole = _Rejoined(head, stream)
    if not head.strip():
        raise ImageError("standard input is empty", hint="pipe a Dockerfile or a tar archive")
    if is_compressed(head) or _is_tar(head):
        top = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            Unpacker(top, whiteouts=False).apply(TarReader(decompress(whole)))
        finally:
            os.close(top)
        return None
    path = folder / STDIN
    with path.open("xb") as file:
        while data := whole.read(1 << 16):
            file.write(data)
    return path


def _is_tar(head: bytes) -> bool:
    try:
        return len(head) == BLOCK and bool(parse_header(head))
    except ImageError:
        return False


class _Rejoined:
    """A stream whose beginning was read before."""

    def __init__(self, head: bytes, rest: BinaryIO) -> None:
        self._head = head
        self._rest = rest

    def read(self, size: int, /) -> bytes:
        """Read on."""
        if self._head:
            data, self._head = self._head[:size], self._head[size:]
            return data
        return self._rest.read(size)
