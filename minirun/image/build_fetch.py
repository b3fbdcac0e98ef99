"""``ADD https://…``: a file from the web, as part of the cache key by its content.

With ``--checksum`` the content is known before it is fetched, so a step that was done before needs
no network at all. A file from the web is not unpacked unless ``--unpack`` says so.

Next: ``build_add.py``. See: docs.docker.com/reference/dockerfile, ADD.
"""

from __future__ import annotations

import hashlib
import os
import posixpath
import re
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from ..errors import ImageError

_WEB = re.compile(r"https?://", re.IGNORECASE)
_GIT = re.compile(r"(git|ssh)://|git@|https?://[^#?]*\.git(#|$)|(www\.)?github\.com/")
_OTHER = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)
_CHECKSUM = re.compile(r"sha(256:[0-9a-f]{64}|384:[0-9a-f]{96}|512:[0-9a-f]{128})")
_TIMEOUT_S = 60.0
_MAX_REDIRECTS = 10
#: The file as it is: a checksum is of what is stored, not of how it travelled.
_PLAIN = {"Accept-Encoding": "identity"}


@dataclass(frozen=True, slots=True)
class Fetched:
    """A file from the web.

    Args:
        path: of the file on this host.
        modified_s: when the server says it was changed, 0 where it does not.
        digest: of its content.
    """

    path: str
    modified_s: int
    digest: str


def is_remote(source: str) -> bool:
    """Return True for a source that has to be fetched.

    Raises:
        ImageError: it is remote in a way that is not supported: a git repository, ftp.
    """
    if _GIT.match(source):
        hint = "clone it into the context, or in a RUN step"
        raise ImageError(f"ADD of a git repository is not supported: {source}", hint=hint)
    if _WEB.match(source):
        return True
    if _OTHER.match(source):
        raise ImageError(f"ADD cannot fetch {source}", hint="use http:// or https://")
    return False


def check_checksum(text: str) -> str:
    """Return a ``--checksum`` that has the right form."""
    if not _CHECKSUM.fullmatch(text):
        hint = "write sha256: and 64 lower-case hexadecimal digits"
        raise ImageError(f"--checksum={text} is no checksum", hint=hint)
    return text


def name_of(url: str) -> str:
    """Return what a file from the web is called below a folder, "" where its address says nothing.

    >>> name_of("https://example.com/a/b%20c.tgz?x=1")
    'b c.tgz'
    """
    name = unquote(posixpath.basename(urlsplit(url).path))
    return "" if name in (".", "..") or "/" in name or "\0" in name else name


def fetch(url: str, folder: str, checksum: str = "") -> Fetched:
    """Return a file from the web, below a folder of ours.

    Args:
        url: http or https; redirects are followed.
        folder: where to.
        checksum: what it must hash to; "" accepts anything.

    Raises:
        ImageError: it cannot be had, or is not the one that was asked for.
    """
    import httpx

    from .registry.connection import said

    algorithm = checksum.partition(":")[0] or "sha256"
    path = os.path.join(folder, os.urandom(8).hex())
    try:
        with (
            httpx.Client(
                follow_redirects=True, max_redirects=_MAX_REDIRECTS, timeout=_TIMEOUT_S
            ) as client,
            client.stream("GET", url, headers=_PLAIN) as response,
        ):
            response.raise_for_status()
            hashing = hashlib.new(algorithm)
            with open(path, "xb") as file:
                for piece in response.iter_raw():
                    hashing.update(piece)
                    file.write(piece)
            modified_s = _modified_s(response.headers.get("Last-Modified", ""))
    except httpx.HTTPStatusError as error:
        code = error.response.status_code
        raise ImageError(f"{url}: the server answered {code}") from error
    except httpx.HTTPError as error:
        raise ImageError(f"{url}: {said(error)}", hint="is it reachable from here?") from error
    digest = f"{algorithm}:{hashing.hexdigest()}"
    if checksum and digest != checksum:
        hint = "the file has changed, or is not the one that was meant"
        raise ImageError(f"{url}: its checksum is {digest}, not {checksum}", hint=hint)
    return Fetched(path, modified_s, digest)


def _modified_s(text: str) -> int:
    from email.utils import parsedate_to_datetime  # slow to import, seldom needed

    try:
        return max(int(parsedate_to_datetime(text).timestamp()), 0) if text else 0
    except ValueError:
        return 0
