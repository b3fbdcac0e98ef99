"""Blobs and manifests into a repository.

A blob that the registry has in another repository is mounted, not sent. Else one PATCH carries it
whole, as Docker does it: registries differ in which smaller chunks they like. Where the connection
breaks, the registry is asked how far it got, and the next PATCH carries the rest; one that does
not know gets the whole again.

See: distribution-spec spec.md, end-4 to end-7, end-11. Next: ``push.py``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager

import httpx

from ...errors import ImageError
from ..arrival import Interrupted
from ..model import Descriptor
from .connection import Request
from .repository import Repository
from .transport import Refused

_CHUNK = 1 << 20
_STREAM = "application/octet-stream"
_SERVER_ERRORS = 500


class Upload:
    """One blob on its way into a repository.

    Args:
        repository: opened for ``pull,push``.
        descriptor: of the blob.
        fd: of the file that holds it.
        seen: is told the number of bytes sent so far.
    """

    def __init__(
        self, repository: Repository, descriptor: Descriptor, fd: int, seen: Callable[[int], None]
    ) -> None:
        self._repository = repository
        self._descriptor = descriptor
        self._fd = fd
        self._seen = seen
        self._what = f"upload of {descriptor.digest}"

    def run(self, mount_from: Sequence[str] = ()) -> str:
        """Send the blob, or have it mounted.

        Args:
            mount_from: repositories of the same registry that may have it.

        Returns:
            The repository that it was mounted from, or "" where it was sent.
        """
        location = ""
        for other in mount_from:
            location = self._start(f"?mount={self._descriptor.digest}&from={other}")
            if not location:
                return other
        self._send(location or self._start(""))
        return ""

    def _start(self, query: str) -> str:
        """Begin an upload; returns where to send it, or "" where it was mounted."""
        request = Request("POST", f"/v2/{self._repository.path}/blobs/uploads/{query}")
        with self._call(request, 201, 202) as response:
            if response.status_code == httpx.codes.CREATED:
                return ""
            return _location(response)

    def _send(self, location: str) -> None:
        """Send until the registry has all, going on from where it got to."""
        sent, failures = 0, 0
        transport = self._repository.transport
        while sent < self._descriptor.size:
            try:
                location, sent = self._patch(location, sent), self._descriptor.size
            except (Interrupted, Refused) as error:
                failures += 1
                final = isinstance(error, Refused) and error.status < _SERVER_ERRORS
                if final or failures >= transport.patience.attempts:
                    raise
                transport.wait(failures)
                location, reached = self._reached(location)
                failures = 0 if reached > sent else failures
                sent = reached
        joint = "&" if "?" in location else "?"
        request = Request("PUT", f"{location}{joint}digest={self._descriptor.digest}")
        with self._call(request, 201, 204):
            pass

    def _patch(self, location: str, start: int) -> str:
        """Send everything from an offset on in one request; not repeated blindly."""
        size = self._descriptor.size
        headers = {"Content-Type": _STREAM}
        if start:
            headers["Content-Range"] = f"{start}-{size - 1}"
        body = lambda: self._read(start)  # noqa: E731 - a body is made anew for each attempt
        request = Request("PATCH", location, headers, body, size - start)
        transport = self._repository.transport
        with transport.call(
            request, self._repository.scopes, self._what, good=(202, 201, 204), once=True
        ) as response:
            return _location(response)

    def _reached(self, location: str) -> tuple[str, int]:
        """Return where to go on, and from which byte.

        Some registries (distribution 2) forget an upload whose connection broke: then a new one.
        """
        try:
            with self._call(Request("GET", location), 204, 202) as response:
                reached = response.headers.get("range", "").rpartition("-")[2]
                moved = response.headers.get("location")
                location = str(response.url.join(moved)) if moved else location
        except Refused:
            return self._start(""), 0
        start = int(reached) + 1 if reached.isdecimal() and reached != "0" else 0
        if start > self._descriptor.size:
            raise ImageError(f"{self._what}: the registry says it has {start} bytes")
        return location, start

    def _read(self, start: int) -> Iterator[bytes]:
        while data := os.pread(self._fd, _CHUNK, start):
            yield data
            start += len(data)
            self._seen(start)

    def _call(self, request: Request, *good: int) -> AbstractContextManager[httpx.Response]:
        transport = self._repository.transport
        return transport.call(request, self._repository.scopes, self._what, good=good)


def put_manifest(repository: Repository, reference: str, descriptor: Descriptor, raw: bytes) -> str:
    """Store a manifest under a tag or its digest; returns the digest that the registry gives it.

    Raises:
        ImageError: the registry refuses it, or has stored something else.
    """
    what = f"manifest {reference} of {repository.path}"
    headers = {"Content-Type": descriptor.media_type}
    url = f"/v2/{repository.path}/manifests/{reference}"
    request = Request("PUT", url, headers, lambda: [raw], len(raw))
    try:
        with repository.transport.call(request, repository.scopes, what) as response:
            told = str(response.headers.get("docker-content-digest", descriptor.digest))
    except Refused as error:
        if error.status == httpx.codes.METHOD_NOT_ALLOWED:
            hint = "this registry is a mirror, or does not let anybody push"
            raise ImageError(error.message, hint=hint) from error
        raise
    if told.startswith("sha256:") and told != descriptor.digest:
        raise ImageError(f"{what}: the registry stored {told[:80]}, not {descriptor.digest}")
    return descriptor.digest


def _location(response: httpx.Response) -> str:
    """Return where an upload goes on: absolute or not, with a query or without."""
    target = response.headers.get("location", "")
    if not target:
        raise ImageError(f"registry {response.url.host} does not say where to upload to")
    return str(response.url.join(target))
