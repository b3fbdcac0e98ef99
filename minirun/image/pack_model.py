"""What a model file needs to be read: a pickle names the modules of its classes.

``joblib.load`` of a scikit-learn pipeline imports sklearn without a word of it in the program. So
the file is searched for what the pickle virtual machine would import. It is never unpickled: that
would run it. Files of other kinds (ONNX, safetensors, JSON) name nothing.

See: pickletools. Next: ``pack_program.py``.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import re
import zlib
from collections.abc import Callable
from pathlib import Path

_NAME = rb"[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*"
#: GLOBAL: 'c' module newline name newline. SHORT_BINUNICODE: 0x8c, a length, the text.
_GLOBAL = re.compile(rb"c(" + _NAME + rb")\n" + _NAME + rb"\n")
_SHORT_TEXT = re.compile(rb"\x8c(.)", re.DOTALL)
_FULL_NAME = re.compile(_NAME)
#: A pickle's own structure comes first and is small beside its arrays; more is not searched.
_SEARCHED_BYTES = 256 << 20

_PACKED: tuple[tuple[bytes, Callable[[bytes], bytes]], ...] = (
    (b"\x1f\x8b", gzip.decompress),
    (b"x", zlib.decompress),
    (b"BZh", bz2.decompress),
    (b"\xfd7zXZ", lzma.decompress),
)


def modules_in(path: Path) -> set[str]:
    """Return the dotted names in a pickle that may be modules; not all of them are."""
    with open(path, "rb") as file:
        data = _unpacked(file.read(_SEARCHED_BYTES))
    if not _is_pickle(data):
        return set()
    found = {match[1] for match in _GLOBAL.finditer(data)}
    for match in _SHORT_TEXT.finditer(data):
        text = data[match.end() : match.end() + match[1][0]]
        if _FULL_NAME.fullmatch(text):
            found.add(text)
    return {name.decode() for name in found}


def _unpacked(data: bytes) -> bytes:
    """Return the data inflated, where joblib or somebody else has compressed it."""
    for magic, inflate in _PACKED:
        if data.startswith(magic):
            try:
                return inflate(data)
            except (OSError, EOFError, zlib.error, lzma.LZMAError):
                return data
    return data


def _is_pickle(data: bytes) -> bool:
    """Protocol 2 and later begin so; torch keeps its pickle in a zip, stored as it is."""
    return data.startswith((b"\x80", b"PK\x03\x04"))
