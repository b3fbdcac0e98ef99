"""The name of an image, taken apart and put together as Docker does it.

    >>> str(parse("ubuntu"))
    'docker.io/library/ubuntu:latest'
    >>> parse("docker.io/library/ubuntu:22.04").familiar
    'ubuntu:22.04'
    >>> parse("localhost:5000/team/app@sha256:" + "0" * 64).domain
    'localhost:5000'

The grammar is that of github.com/distribution/reference. What looks like a host decides: a first
component with a dot, a colon or an upper-case letter, or ``localhost``, is a registry.

May not import anything with an effect. Next: ``model.py``.
"""

from __future__ import annotations

import re

from ..errors import ImageError
from ..record import Record, replace

DEFAULT_REGISTRY = "docker.io"
DEFAULT_TAG = "latest"
MAX_NAME_LENGTH = 255

_LABEL = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?"
_DOMAIN = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9a-fA-F:]+\])(?::[0-9]+)?")
_COMPONENT = re.compile(r"[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_IDENTIFIER = re.compile(r"[0-9a-f]{64}")
_LEGACY_HOST = "index.docker.io"


class Reference(Record):
    """A complete image name.

    Args:
        domain: registry host with its port; "" where names have no registry.
        path: repository, as in ``library/ubuntu``.
        tag: "" where only a digest was given.
        digest: ``sha256:<hex>`` or "".
    """

    domain: str
    path: str
    tag: str = ""
    digest: str = ""

    def __str__(self) -> str:
        """Return the full form, which parses to the same reference again."""
        return f"{self.name}{self._suffix}"

    @property
    def name(self) -> str:
        """The repository with its registry, without tag and digest."""
        return f"{self.domain}/{self.path}" if self.domain else self.path

    @property
    def familiar(self) -> str:
        """The shortest form that means the same to Docker."""
        name = self.name
        if self.domain == DEFAULT_REGISTRY:
            name = self.path.removeprefix("library/") if self.path.count("/") == 1 else self.path
        return f"{name}{self._suffix}"

    @property
    def _suffix(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        return f"{tag}@{self.digest}" if self.digest else tag


def parse(text: str, default_registry: str = DEFAULT_REGISTRY) -> Reference:
    """Return the reference that a name typed by a person stands for.

    Args:
        text: for example ``ubuntu``, ``ghcr.io/a/b:1.2`` or ``app@sha256:…``.
        default_registry: for names without one; "" leaves them without.

    Raises:
        ImageError: part of it is malformed; the message says which part.
    """
    if not text:
        raise ImageError("image name is empty")
    rest, at, digest = text.partition("@")
    if at and not _DIGEST.fullmatch(digest):
        raise _bad(text, "digest", digest, "write sha256: and 64 lower-case hexadecimal digits")
    name, tag = _split_tag(rest)
    if tag is not None and not _TAG.fullmatch(tag):
        raise _bad(text, "tag", tag, "use up to 128 of A-Z a-z 0-9 _ . - and begin with none of .-")
    domain, path = _split_domain(name, default_registry)
    _check_domain(text, domain)
    _check_path(text, path)
    if len(domain) + 1 + len(path) > MAX_NAME_LENGTH:
        raise ImageError(f"image name is longer than {MAX_NAME_LENGTH} characters: {text[:40]}…")
    return Reference(domain, path, tag or ("" if digest else DEFAULT_TAG), digest)


def with_digest(reference: Reference, digest: str) -> Reference:
    """Return the reference that pins the same repository to one manifest."""
    return replace(reference, tag="", digest=digest)


def _split_tag(text: str) -> tuple[str, str | None]:
    """Separate the tag: a colon after the last slash, since one before it begins a port."""
    colon = text.rfind(":")
    return (text, None) if colon <= text.rfind("/") else (text[:colon], text[colon + 1 :])


def _split_domain(name: str, default_registry: str) -> tuple[str, str]:
    first, slash, rest = name.partition("/")
    is_host = "." in first or ":" in first or first == "localhost" or first.lower() != first
    domain, path = (first, rest) if slash and is_host else (default_registry, name)
    if domain == _LEGACY_HOST:
        domain = DEFAULT_REGISTRY
    if domain == DEFAULT_REGISTRY and path and "/" not in path:
        path = f"library/{path}"
    return domain, path


def _check_domain(text: str, domain: str) -> None:
    if domain and not _DOMAIN.fullmatch(domain):
        raise _bad(text, "registry", domain, "write host or host:port")


def _check_path(text: str, path: str) -> None:
    last = path.removeprefix("library/")
    if not last:
        raise ImageError(f"image name {text!r} has no repository")
    if _IDENTIFIER.fullmatch(last):
        raise _bad(text, "repository", last, "64 hexadecimal digits are an image id, not a name")
    for component in path.split("/"):
        if component.lower() != component:
            raise _bad(text, "repository", component, "write it in lower case")
        if not _COMPONENT.fullmatch(component):
            hint = "use a-z 0-9, joined by single . _ or by -"
            raise _bad(text, "repository", component, hint)


def _bad(text: str, part: str, value: str, hint: str) -> ImageError:
    return ImageError(f"image name {text!r}: bad {part} {value!r}", hint=hint)
