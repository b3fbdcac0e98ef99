"""Manifest, index and image config: the JSON documents of an image, as Records.

Every one of them came from somebody else. ``parse`` refuses what is too large, too deep or of the
wrong shape, and names the JSON path; after it, a digest is safe to use as a file name. Unknown
properties and media types are no error (image-spec: considerations.md, Extensibility).

May not import anything with an effect. Next: ``streams.py``.
"""

from __future__ import annotations

from ..decode import decode, encode
from ..errors import ImageError, SpecError
from ..record import EMPTY, Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, ClassVar, NewType, TypeVar

    Digest = NewType("Digest", str)
    R = TypeVar("R", bound=Record)
    T = TypeVar("T")
else:

    def Digest(text: str) -> str:
        """Return the text: the difference is visible to type checkers only."""
        return text


OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
OCI_LAYER_GZIP = "application/vnd.oci.image.layer.v1.tar+gzip"
OCI_LAYER_ZSTD = "application/vnd.oci.image.layer.v1.tar+zstd"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER_GZIP = "application/vnd.docker.image.rootfs.diff.tar.gzip"
INDEXES = frozenset({OCI_INDEX, DOCKER_LIST})
MANIFESTS = frozenset({OCI_MANIFEST, DOCKER_MANIFEST})

#: The distribution-spec advises registries to accept manifests of at least 4 MiB; none is larger.
MANIFEST_LIMIT_BYTES = 4 << 20
CONFIG_LIMIT_BYTES = 8 << 20

_HEX = frozenset("0123456789abcdef")


class Platform(Record):
    """What an image runs on."""

    architecture: str
    os: str
    variant: str = ""


class Descriptor(Record):
    """A blob by what it is: type, digest and size in bytes."""

    media_type: str
    digest: str
    size: int
    platform: Platform | None = None
    annotations: Mapping[str, str] = EMPTY


class Manifest(Record):
    """One image: a config and its layers, lowest first."""

    schema_version: int
    config: Descriptor
    layers: tuple[Descriptor, ...]
    media_type: str = ""
    annotations: Mapping[str, str] = EMPTY


class Annotations(Record):
    """What is said about an image beside its config.

    Args:
        manifest: in the manifest, so that they are part of its digest and go wherever it goes.
        descriptor: on the entry of an index, which pull, save and load keep.
    """

    manifest: Mapping[str, str] = EMPTY
    descriptor: Mapping[str, str] = EMPTY


NO_ANNOTATIONS = Annotations()


class Index(Record):
    """Several manifests: one per platform, or all images of a layout."""

    schema_version: int
    manifests: tuple[Descriptor, ...]
    media_type: str = ""
    annotations: Mapping[str, str] = EMPTY


class Presence(Record):
    """The empty object: Volumes and ExposedPorts are sets, spelled as ``{"80/tcp": {}}``."""


class Healthcheck(Record):
    """How to ask the container whether it is well; times in nanoseconds, 0 inherits."""

    __json__: ClassVar[Mapping[str, str]] = {
        "test": "Test",
        "interval": "Interval",
        "timeout": "Timeout",
        "start_period": "StartPeriod",
        "start_interval": "StartInterval",
        "retries": "Retries",
    }
    test: tuple[str, ...] = ()
    interval: int = 0
    timeout: int = 0
    start_period: int = 0
    start_interval: int = 0
    retries: int = 0


class ContainerConfig(Record):
    """What a container of the image runs unless told otherwise."""

    __json__: ClassVar[Mapping[str, str]] = {
        "user": "User",
        "exposed_ports": "ExposedPorts",
        "env": "Env",
        "entrypoint": "Entrypoint",
        "cmd": "Cmd",
        "volumes": "Volumes",
        "working_dir": "WorkingDir",
        "labels": "Labels",
        "stop_signal": "StopSignal",
        "healthcheck": "Healthcheck",
        "shell": "Shell",
        "on_build": "OnBuild",
    }
    user: str = ""
    exposed_ports: Mapping[str, Presence] = EMPTY
    env: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    volumes: Mapping[str, Presence] = EMPTY
    working_dir: str = ""
    labels: Mapping[str, str] = EMPTY
    stop_signal: str = ""
    healthcheck: Healthcheck | None = None
    shell: tuple[str, ...] = ()
    on_build: tuple[str, ...] = ()


class RootFs(Record):
    """The digests of the uncompressed layers, lowest first."""

    __json__: ClassVar[Mapping[str, str]] = {"diff_ids": "diff_ids"}
    type: str
    diff_ids: tuple[str, ...] = ()


class History(Record):
    """How one layer came to be, or a step that made none (``empty_layer``)."""

    __json__: ClassVar[Mapping[str, str]] = {
        "created_by": "created_by",
        "empty_layer": "empty_layer",
    }
    created: str = ""
    created_by: str = ""
    author: str = ""
    comment: str = ""
    empty_layer: bool = False


class ImageConfig(Record):
    """The config blob; its digest is the image's id."""

    architecture: str
    os: str
    rootfs: RootFs
    config: ContainerConfig = ContainerConfig()
    created: str = ""
    author: str = ""
    variant: str = ""
    history: tuple[History, ...] = ()


def parse(cls: type[R], raw: bytes, what: str, limit_bytes: int = MANIFEST_LIMIT_BYTES) -> R:
    """Return the document in ``raw``.

    Args:
        cls: Manifest, Index, ImageConfig or Descriptor.
        raw: the JSON text, of unknown origin.
        what: how to call it in an error, as in ``manifest sha256:…``.
        limit_bytes: a longer text is refused unread.

    Raises:
        ImageError: too long, too deep, not JSON, or of the wrong shape; names the JSON path.
    """
    found = _guarded(lambda value: decode(cls, value), raw, what, limit_bytes)
    _check_digests(found, what)
    return found


def parse_array(cls: type[R], raw: bytes, what: str) -> list[R]:
    """Return the documents of a JSON array; see ``parse``."""

    def each(value: object) -> list[R]:
        if not isinstance(value, list):
            raise SpecError("$", "expected an array")
        return [decode(cls, item, f"$[{i}]") for i, item in enumerate(value)]

    return _guarded(each, raw, what, MANIFEST_LIMIT_BYTES)


def _guarded(read: Callable[[Any], T], raw: bytes, what: str, limit_bytes: int) -> T:
    """Parse JSON of unknown origin; every way in which that fails is an ImageError."""
    import json  # and re with it: a start from a plain directory reads no document

    if len(raw) > limit_bytes:
        raise ImageError(f"{what}: {len(raw)} bytes is more than the limit of {limit_bytes}")
    try:
        return read(json.loads(raw))
    except RecursionError as error:
        raise ImageError(f"{what}: nested too deeply") from error
    except SpecError as error:
        raise ImageError(f"{what}: {error.message.removeprefix('config.json: ')}") from error
    except ValueError as error:  # not JSON, not UTF-8, or a number of thousands of digits
        raise ImageError(f"{what}: not JSON: {error}") from error


def dump(record: Record) -> bytes:
    """Return the canonical JSON of a document: keys sorted, no spaces, the same bytes always."""
    import json

    return json.dumps(encode(record), sort_keys=True, separators=(",", ":")).encode()


def hex_of(digest: str, where: str = "digest") -> str:
    """Return the hexadecimal part of a digest, which is then safe as a file name.

    Raises:
        ImageError: not ``sha256:`` and 64 lower-case hexadecimal digits.
    """
    algorithm, _, digits = digest.partition(":")
    if algorithm != "sha256" or len(digits) != 64 or not _HEX.issuperset(digits):
        hint = "only sha256 is supported" if digest.startswith("sha512:") else ""
        raise ImageError(f"{where}: not a sha256 digest: {digest[:80]!r}", hint=hint)
    return digits


def _check_digests(found: Record, what: str) -> None:
    """Refuse any digest that could not be a file name, at its JSON path."""
    if isinstance(found, Manifest):
        _check_descriptor(found.config, f"{what}: $.config")
        for i, layer in enumerate(found.layers):
            _check_descriptor(layer, f"{what}: $.layers[{i}]")
    elif isinstance(found, Index):
        for i, manifest in enumerate(found.manifests):
            _check_descriptor(manifest, f"{what}: $.manifests[{i}]")
    elif isinstance(found, ImageConfig):
        _check_config(found, what)


def _check_config(found: ImageConfig, what: str) -> None:
    if found.rootfs.type != "layers":
        raise ImageError(f"{what}: $.rootfs.type: {found.rootfs.type!r} is not 'layers'")
    for i, diff_id in enumerate(found.rootfs.diff_ids):
        hex_of(diff_id, f"{what}: $.rootfs.diff_ids[{i}]")


def _check_descriptor(descriptor: Descriptor, where: str) -> None:
    hex_of(descriptor.digest, f"{where}.digest")
    if descriptor.size < 0:
        raise ImageError(f"{where}.size: {descriptor.size} is negative")
