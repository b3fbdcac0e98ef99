"""Images whose names match, where a registry offers that; and what refers to an image.

Docker Hub and a few others search by the old ``/v1/search``. The distribution-spec has no search,
but most registries list all their repositories, and the list can be looked through.

See: distribution docs/content/spec/api.md, Catalog. Next: ``push.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar
from urllib.parse import urlencode

from ...errors import ImageError
from ...record import Record, replace
from .. import model, reference
from ..reference import DEFAULT_REGISTRY
from . import endpoint as endpoints
from .connection import Request, read_all
from .endpoint import HUB_CREDENTIALS, Endpoint
from .remote import Access, access, opened, transport_to
from .repository import Referrer, Repository
from .transport import Refused, Transport

_HUB_INDEX = Endpoint("index.docker.io", HUB_CREDENTIALS, "https")
_CATALOG_SCOPE = "registry:catalog:*"
_MOST = 100


class Found(Record):
    """A repository, as a search shows it."""

    __json__: ClassVar[Mapping[str, str]] = {
        "star_count": "star_count",
        "is_official": "is_official",
    }
    name: str
    description: str = ""
    star_count: int = 0
    is_official: bool = False


class _Results(Record):
    """What ``/v1/search`` answers."""

    results: tuple[Found, ...] = ()


class _Catalog(Record):
    """A page of repositories."""

    repositories: tuple[str, ...] = ()


def search(
    text: str, *, limit: int = 25, default_registry: str = "", how: Access | None = None
) -> list[Found]:
    """Return repositories whose names match.

    Args:
        text: a word, or ``HOST/WORD`` to search another registry than the default one, which the
            names then begin with: as they have to be pulled.
        limit: the most to return, 1 to 100.
        default_registry: "" takes the one that the host's settings name.
        how: None takes the host's settings and the user's credentials.

    Raises:
        ImageError: the registry does not offer it.
    """
    if not 1 <= limit <= _MOST:
        raise ImageError(f"limit {limit} is not between 1 and {_MOST}")
    how = how or access()
    host, word = _split(text)
    domain = host or default_registry or how.settings.default_registry
    found = _repositories(domain, word, limit, how)
    return [replace(one, name=f"{host}/{one.name}") for one in found] if host else found


def _repositories(domain: str, word: str, limit: int, how: Access) -> list[Found]:
    """Ask the registry's index; where it has none, look through its catalog."""
    end = _HUB_INDEX if domain == DEFAULT_REGISTRY else endpoints.of(domain, how.settings)
    with transport_to(end, how) as transport:
        try:
            return _by_index(transport, word, limit)
        except Refused as error:
            if error.status in (401, 403) or end is _HUB_INDEX:
                raise
        return _by_catalog(transport, word, limit)


def referrers(
    text: str, *, artifact_type: str = "", default_registry: str = "", how: Access | None = None
) -> list[Referrer]:
    """Return what a registry knows about an image: signatures, SBOMs, attestations.

    Args:
        text: name of the image there.
        artifact_type: only those of this type; "" all.
        default_registry: "" takes the one that the host's settings name.
        how: None takes the host's settings and the user's credentials.
    """
    how = how or access()
    target = reference.parse(text, default_registry or how.settings.default_registry)
    with opened(how, target) as remote:
        digest = target.digest or remote.manifest(target.tag).descriptor.digest
        return remote.referrers(digest, artifact_type)


def _split(text: str) -> tuple[str, str]:
    """Separate the registry, if there is one, from the word, as it is done for image names."""
    first, slash, rest = text.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        return first, rest
    return "", text


def _by_index(transport: Transport, word: str, limit: int) -> list[Found]:
    query = urlencode({"q": word, "n": limit})
    with transport.call(Request("GET", f"/v1/search?{query}"), (), "search") as response:
        raw = read_all(response, model.MANIFEST_LIMIT_BYTES, "search")
    return list(model.parse(_Results, raw, "search").results[:limit])


def _by_catalog(transport: Transport, word: str, limit: int) -> list[Found]:
    """Look through the list of all repositories."""
    repository = Repository(transport, "", "", (_CATALOG_SCOPE,))
    repository.scopes = (_CATALOG_SCOPE,)
    found: list[Found] = []
    try:
        for raw, what in repository.pages("/v2/_catalog", "catalog"):
            names = model.parse(_Catalog, raw, what).repositories
            found += [Found(name) for name in names if word.lower() in name]
            if len(found) >= limit:
                break
    except Refused as error:
        host = transport.endpoint.host
        raise ImageError(f"registry {host} offers no search", hint=error.message) from error
    return found[:limit]
