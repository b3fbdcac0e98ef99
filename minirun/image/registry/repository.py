"""One repository of a registry: the requests of the distribution-spec that read.

A manifest is verified here. A blob is not: it is a stream that survives broken connections, and
whoever reads it hashes it (``arrival.py``).

See: distribution-spec spec.md, end-2, end-3, end-8, end-12. Next: ``upload.py``, those that write.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator, Mapping
from urllib.parse import quote, urlencode

import httpx

from ...errors import ImageError
from ...record import EMPTY, Record
from .. import model
from ..model import Descriptor
from ..streams import Readable
from .connection import Request, read_all
from .transport import Refused, Transport

ACCEPTED = (
    model.OCI_INDEX,
    model.DOCKER_LIST,
    model.OCI_MANIFEST,
    model.DOCKER_MANIFEST,
)
_SCHEMA_1 = "application/vnd.docker.distribution.manifest.v1"
_MAX_PAGES = 1000
_PAGE = 1000
#: A connection that brings this much before it breaks was worth it: patience starts anew.
_PROGRESS_BYTES = 1 << 20


class Document(Record):
    """A manifest or an index, whose bytes have the digest of its descriptor."""

    descriptor: Descriptor
    raw: bytes


class Referrer(Record):
    """Something that is about an image: a signature, an SBOM."""

    media_type: str
    digest: str
    size: int
    artifact_type: str = ""
    annotations: Mapping[str, str] = EMPTY


class _Referrers(Record):
    """An index of referrers."""

    manifests: tuple[Referrer, ...]


class _Tags(Record):
    """A page of tags; null stands for none."""

    tags: tuple[str, ...] = ()


class _Kind(Record):
    """What a document says about itself."""

    schema_version: int = 0
    media_type: str = ""


class Repository:
    """A repository at one registry. Threads may share it.

    Args:
        transport: to the registry.
        path: as in ``library/ubuntu``.
        actions: what we want to do: ``pull`` or ``pull,push``.
        also: further scopes, for mounting blobs of other repositories.
    """

    def __init__(
        self, transport: Transport, path: str, actions: str = "pull", also: tuple[str, ...] = ()
    ) -> None:
        self.transport = transport
        self.path = path
        self.scopes = (f"repository:{path}:{actions}", *also)

    @property
    def name(self) -> str:
        """For errors: the repository with its registry."""
        return f"{self.transport.endpoint.host}/{self.path}"

    def manifest(self, reference: str) -> Document:
        """Return a manifest or an index.

        Args:
            reference: a tag, or a digest.

        Raises:
            ImageError: there is none, or it is not what was asked for.
        """
        what = f"manifest {reference} of {self.path}"
        request = Request("GET", self._at("manifests", reference), {"Accept": ", ".join(ACCEPTED)})
        with self.transport.call(request, self.scopes, what) as response:
            raw = read_all(response, model.MANIFEST_LIMIT_BYTES, what)
        digest = f"sha256:{hashlib.sha256(raw).hexdigest()}"
        told = response.headers.get("docker-content-digest", digest)
        asked = reference if ":" in reference else digest
        for expected in (asked, told):
            if expected.startswith("sha256:") and expected != digest:
                raise ImageError(
                    f"{what} is damaged: it hashes to {digest}, not to {expected[:80]}",
                    hint="something on the way changes what the registry sends",
                )
        media_type = _media_type(raw, response.headers.get("content-type", ""), what)
        return Document(Descriptor(media_type, digest, len(raw)), raw)

    def has_manifest(self, reference: str) -> Descriptor | None:
        """Return what a reference leads to without fetching it, or None."""
        request = Request("HEAD", self._at("manifests", reference), {"Accept": ", ".join(ACCEPTED)})
        with self.transport.call(request, self.scopes, reference, good=(200, 404)) as response:
            digest = response.headers.get("docker-content-digest", "")
            size = response.headers.get("content-length", "0")
            if response.status_code == httpx.codes.NOT_FOUND or not digest:
                return None
        media_type = response.headers.get("content-type", "")
        return Descriptor(media_type, digest, int(size) if size.isdecimal() else 0)

    def has_blob(self, digest: str) -> bool:
        """Return True where the repository has a blob."""
        request = Request("HEAD", self._at("blobs", digest))
        with self.transport.call(request, self.scopes, digest, good=(200, 404)) as response:
            return response.status_code == httpx.codes.OK

    @contextlib.contextmanager
    def blob(self, digest: str, offset: int = 0) -> Iterator[Readable]:
        """Yield the bytes of a blob from an offset on; they are not verified.

        Raises:
            ImageError: the registry does not have it.
        """
        with contextlib.closing(_Blob(self, self._at("blobs", digest), digest, offset)) as stream:
            stream.connect()
            yield stream

    def tags(self) -> list[str]:
        """Return all tags."""
        found: list[str] = []
        for raw, what in self.pages(f"/v2/{self.path}/tags/list", "tags"):
            found += model.parse(_Tags, raw, what).tags
        return found

    def referrers(self, digest: str, artifact_type: str = "") -> list[Referrer]:
        """Return what refers to a manifest.

        A registry without the referrers API has, by agreement, the same index under the tag
        ``sha256-<hex>``, kept by those who push.
        """
        model.hex_of(digest)
        query = f"?{urlencode({'artifactType': artifact_type})}" if artifact_type else ""
        found: list[Referrer] = []
        try:
            for raw, what in self.pages(f"/v2/{self.path}/referrers/{digest}{query}", "referrers"):
                found += model.parse(_Referrers, raw, what).manifests
        except Refused as error:
            if error.status not in (400, 404, 405):
                raise
            found = self._tagged_referrers(digest)
        return [r for r in found if not artifact_type or r.artifact_type == artifact_type]

    def pages(self, path: str, what: str) -> Iterator[tuple[bytes, str]]:
        """Yield the pages of a list, and what to call them in an error."""
        for _ in range(_MAX_PAGES):
            joint = "&" if "?" in path else "?"
            url = path if "n=" in path else f"{path}{joint}n={_PAGE}"
            with self.transport.call(Request("GET", url), self.scopes, what) as response:
                yield read_all(response, model.MANIFEST_LIMIT_BYTES, what), what
                following = response.links.get("next", {}).get("url", "")
            if not following:
                return
            path = str(response.url.join(following))
        raise ImageError(f"{self.name}: {what}: more than {_MAX_PAGES} pages")

    def _tagged_referrers(self, digest: str) -> list[Referrer]:
        try:
            document = self.manifest(digest.replace(":", "-", 1))
        except Refused as error:
            if error.status == httpx.codes.NOT_FOUND:
                return []
            raise
        return list(model.parse(_Referrers, document.raw, "referrers").manifests)

    def _at(self, kind: str, reference: str) -> str:
        return f"/v2/{self.path}/{kind}/{quote(reference, safe=':')}"


class _Blob:
    """The bytes of a blob, over as many connections as it takes."""

    def __init__(self, repository: Repository, url: str, digest: str, offset: int) -> None:
        self._repository = repository
        self._url = url
        self._what = f"blob {digest} of {repository.path}"
        self._position = offset
        self._worth = offset + _PROGRESS_BYTES
        self._failures = 0
        self._open = contextlib.ExitStack()
        self._parts: Iterator[bytes] | None = None
        self._rest = b""

    def close(self) -> None:
        """Close the connection."""
        self._open.close()

    def read(self, size: int, /) -> bytes:
        """Read on, connecting again where the connection broke."""
        while not self._rest:
            try:
                if self._parts is None:
                    self.connect()
                self._rest = next(self._parts or iter(()), b"")
            except httpx.TransportError as error:
                self._lost(error)
            else:
                self._position += len(self._rest)
                if not self._rest:
                    return b""
        data, self._rest = self._rest[:size], self._rest[size:]
        return data

    def connect(self) -> None:
        """Ask for the bytes from the position on."""
        headers = {"Range": f"bytes={self._position}-"} if self._position else {}
        request = Request("GET", self._url, headers)
        call = self._repository.transport.call(
            request, self._repository.scopes, self._what, good=(200, 206)
        )
        response = self._open.enter_context(call)
        parts = response.iter_raw()
        if response.status_code != httpx.codes.PARTIAL_CONTENT:
            self._parts = _without(parts, self._position)
            return
        told = response.headers.get("content-range", "")
        if not told.startswith(f"bytes {self._position}-"):
            raise ImageError(f"{self._what}: asked from {self._position}, given {told[:60]!r}")
        self._parts = parts

    def _lost(self, error: httpx.TransportError) -> None:
        """Wait before the next connection, or give up."""
        self._open.close()
        self._parts = None
        if self._position >= self._worth:
            self._failures = 0
            self._worth = self._position + _PROGRESS_BYTES
        self._failures += 1
        transport = self._repository.transport
        if self._failures >= transport.patience.attempts:
            with transport.in_words():
                raise error
        transport.wait(self._failures)


def _without(parts: Iterator[bytes], count: int) -> Iterator[bytes]:
    """Skip the first bytes: this registry does not know Range."""
    for part in parts:
        if count < len(part):
            yield part[count:]
        count = max(0, count - len(part))


def _media_type(raw: bytes, header: str, what: str) -> str:
    """Return the type of a document, on which its own words and the registry's must agree.

    One that is a manifest to some readers and an index to others could be signed as the one and
    used as the other (CVE-2021-41190).
    """
    kind = model.parse(_Kind, raw, what)
    keys = json.loads(raw).keys()
    told = header.partition(";")[0].strip()
    if told.startswith(_SCHEMA_1) or kind.schema_version == 1:
        raise ImageError(
            f"{what} is of schema 1, which is obsolete", hint="push the image with a newer tool"
        )
    named = kind.media_type or (told if told in ACCEPTED else "")
    found = named or (model.OCI_INDEX if "manifests" in keys else model.OCI_MANIFEST)
    differ = kind.media_type and told in ACCEPTED and kind.media_type != told
    wrong = ("layers" if found in model.INDEXES else "manifests") in keys
    if differ or wrong:
        raise ImageError(f"{what} claims to be two things at once: {told} and {found}")
    return found
