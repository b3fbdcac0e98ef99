"""A repository with its mirrors, as a ``Source`` that the store takes images from.

Each mirror is asked first, and is left out once it did not answer: it is there to help. The
registry itself has the last word, and its error is the one that is told.

Next: ``pull.py``.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
from collections.abc import Callable, Iterator, Sequence

from ...errors import ImageError
from ...record import Record, replace
from .. import model
from ..arrival import Interrupted
from ..model import Descriptor
from ..parallel import Stop
from ..reference import Reference
from ..streams import Readable
from . import endpoint as endpoints
from . import settings as settings_file
from .credentials import Credential, Keychain
from .endpoint import Endpoint
from .repository import Document, Referrer, Repository
from .settings import Patience, Settings
from .transport import Transport

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeVar

    T = TypeVar("T")

_MIRROR_ATTEMPTS = 2


class Access(Record):
    """How registries are reached, and as whom.

    Args:
        settings: mirrors and insecure registries.
        find: returns the credentials kept under a name, or None.
        patience: with a registry that does not answer.
    """

    settings: Settings
    find: Callable[[str], Credential | None]
    patience: Patience = Patience()


def access(credential: Credential | None = None) -> Access:
    """Return the access that this host's files describe.

    Args:
        credential: to use instead of those in Docker's config.json.
    """
    find = Keychain().find if credential is None else lambda _: credential
    return Access(settings_file.load(), find)


@contextlib.contextmanager
def opened(how: Access, reference: Reference, stop: Stop | None = None) -> Iterator[Remote]:
    """Yield the repository of a reference, to pull from."""
    mirrors = how.settings.mirrors_of(reference.domain)
    ends = [endpoints.of_mirror(url, how.settings) for url in mirrors]
    ends.append(endpoints.of(reference.domain, how.settings))
    with contextlib.ExitStack() as stack:
        hurried = replace(how.patience, attempts=min(_MIRROR_ATTEMPTS, how.patience.attempts))
        repositories = []
        for i, end in enumerate(ends):
            patience = how.patience if i == len(ends) - 1 else hurried
            transport = stack.enter_context(transport_to(end, how, patience, stop))
            repositories.append(Repository(transport, reference.path))
        yield Remote(repositories)


@contextlib.contextmanager
def transport_to(
    end: Endpoint,
    how: Access,
    patience: Patience | None = None,
    stop: Stop | None = None,
) -> Iterator[Transport]:
    """Yield a transport, whose connections are closed at the end."""
    with contextlib.closing(Transport(end, how.find, patience or how.patience, stop)) as transport:
        yield transport


class Remote:
    """A ``Source`` of blobs and manifests.

    Args:
        repositories: the mirrors', and at last the registry's own.
    """

    resumable = True

    def __init__(self, repositories: Sequence[Repository]) -> None:
        self._repositories = list(repositories)
        self._documents: dict[str, bytes] = {}

    def manifest(self, reference: str) -> Document:
        """Return a manifest or an index by tag or digest."""
        document = self._first(lambda repository: repository.manifest(reference))
        self._documents[document.descriptor.digest] = document.raw
        return document

    def config(self, descriptor: Descriptor) -> bytes:
        """Return a small blob, verified."""
        raw = b""
        with self.open(descriptor.digest) as stream:
            while data := stream.read(model.CONFIG_LIMIT_BYTES):
                raw += data
                if len(raw) > min(descriptor.size, model.CONFIG_LIMIT_BYTES):
                    raise ImageError(f"config {descriptor.digest} is larger than it says")
        if f"sha256:{hashlib.sha256(raw).hexdigest()}" != descriptor.digest:
            raise ImageError(f"config {descriptor.digest} is damaged")
        self._documents[descriptor.digest] = raw
        return raw

    def tags(self) -> list[str]:
        """Return all tags, as the registry itself knows them."""
        return self._repositories[-1].tags()

    def referrers(self, digest: str, artifact_type: str) -> list[Referrer]:
        """Return what refers to a manifest, as the registry itself knows it."""
        return self._repositories[-1].referrers(digest, artifact_type)

    @contextlib.contextmanager
    def open(self, digest: str, offset: int = 0, /) -> Iterator[Readable]:
        """Yield the bytes of a blob, or of a manifest that was fetched before."""
        if digest in self._documents:
            yield io.BytesIO(self._documents[digest][offset:])
            return
        with contextlib.ExitStack() as stack:
            yield self._first(lambda r: stack.enter_context(r.blob(digest, offset)))

    def _first(self, ask: Callable[[Repository], T]) -> T:
        """Return the first good answer; where there is none, raise the registry's own error."""
        *mirrors, own = list(self._repositories)
        for mirror in mirrors:
            try:
                return ask(mirror)
            except Interrupted:
                with contextlib.suppress(ValueError):  # another thread may have been faster
                    self._repositories.remove(mirror)
            except ImageError:
                continue
        return ask(own)
