"""What a person can set about registries: one JSON file, with the names Docker's daemon.json has.

    {"default-registry": "docker.io",
     "registry-mirrors": ["https://mirror.example"],
     "mirrors": {"ghcr.io": ["https://ghcr-mirror.example"]},
     "insecure-registries": ["registry.lan:5000", "10.0.0.0/8"]}

``registry-mirrors`` are Docker Hub's, as in Docker. An empty default registry, or ``none``, makes
every name say where it is from. Next: ``endpoint.py``.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import ClassVar

from ...decode import json_names
from ...errors import ImageError
from ...record import EMPTY, Record, replace
from .. import model
from ..reference import DEFAULT_REGISTRY

DEFAULT_PATH = "/etc/minirun/registries.json"


class Patience(Record):
    """How long to go on trying.

    Args:
        attempts: of one request, until the error counts.
        first_s: before the second attempt; doubles with each further one.
        longest_s: the longest wait, also where the registry asks for more (Retry-After).
        silence_s: how long a connection may say nothing.
    """

    attempts: int = 5
    first_s: float = 0.5
    longest_s: float = 60.0
    silence_s: float = 60.0


class Settings(Record):
    """Where names lead to, and whom to trust."""

    __json__: ClassVar[Mapping[str, str]] = {
        "default_registry": "default-registry",
        "hub_mirrors": "registry-mirrors",
        "insecure": "insecure-registries",
    }
    default_registry: str = DEFAULT_REGISTRY
    hub_mirrors: tuple[str, ...] = ()
    mirrors: Mapping[str, tuple[str, ...]] = EMPTY
    insecure: tuple[str, ...] = ()

    def mirrors_of(self, domain: str) -> tuple[str, ...]:
        """Return the mirrors to ask before the registry itself."""
        hub = self.hub_mirrors if domain == DEFAULT_REGISTRY else ()
        return (*self.mirrors.get(domain, ()), *hub)


def load(path: str = "") -> Settings:
    """Return the settings of this host.

    Args:
        path: "" takes MINIRUN_REGISTRIES, else /etc/minirun/registries.json; only the last of
            these may be missing. MINIRUN_DEFAULT_REGISTRY wins over the file.

    Raises:
        ImageError: the file cannot be read, is of the wrong shape, or sets what there is not.
    """
    named = path or os.environ.get("MINIRUN_REGISTRIES", "")
    found = Settings()
    try:
        with open(named or DEFAULT_PATH, "rb") as file:
            raw = file.read(model.MANIFEST_LIMIT_BYTES + 1)
        found = model.parse(Settings, raw, named or DEFAULT_PATH)
        _check_names(raw, named or DEFAULT_PATH)
    except OSError as error:
        if named or not isinstance(error, FileNotFoundError):
            what = os.strerror(error.errno or 0).lower()
            hint = "MINIRUN_REGISTRIES names it" if named else "make it readable"
            raise ImageError(f"{named or DEFAULT_PATH}: {what}", hint=hint) from error
    default = os.environ.get("MINIRUN_DEFAULT_REGISTRY", found.default_registry)
    return replace(found, default_registry="" if default == "none" else default)


def _check_names(raw: bytes, path: str) -> None:
    """Refuse a misspelt name: what it was to set would silently not be set."""
    import json  # where there is no file, nothing is read

    known = json_names(Settings).values()
    for name in json.loads(raw):
        if name not in known:
            raise ImageError(f"{path}: unknown setting {name!r}", hint=f"one of {', '.join(known)}")
