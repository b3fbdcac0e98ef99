"""What is inside an image, as a list that other programs read: a CycloneDX bill of materials.

    /var/lib/dpkg/status, status.d/   Debian's packages      pkg:deb
    /lib/apk/db/installed             Alpine's               pkg:apk
    **/*.dist-info, *.egg-info        Python's               pkg:pypi

The files are read through a descriptor of the merged layers, so no link of the image leads out of
it. The document depends on the image alone: its serial number is made of the image's id, its time
is the image's.

See: cyclonedx.org/specification; package-url/purl-spec. Next: ``registry/attach.py``.
"""

from __future__ import annotations

import os
import stat
import uuid
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from email.parser import Parser
from pathlib import Path

from ..errors import ImageError
from ..record import Record
from .build_rootfs import merged, open_in
from .store import Image

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cyclonedx.model.component import Component

MEDIA_TYPE = "application/vnd.cyclonedx+json"
FILE_NAME = "sbom.cdx.json"
_FILE_LIMIT_BYTES = 64 << 20
_SKIPPED = frozenset({"proc", "sys", "dev"})
_NAMESPACE = uuid.UUID("7d1f3c1e-52d6-5d0c-9a3e-4b1d6f0b7f11")


class Package(Record):
    """Something installed.

    Args:
        kind: ``deb``, ``apk`` or ``pypi``, as package URLs have it.
        name: as the package manager has it.
        version: likewise.
        license: a name or an SPDX expression, as its metadata has it.
        architecture: "" where it does not matter.
    """

    kind: str
    name: str
    version: str
    license: str = ""
    architecture: str = ""


def packages_of(image: Image) -> list[Package]:
    """Return what is installed in an image, sorted; each once.

    Needs CAP_SYS_ADMIN where the image has more than one layer.
    """
    with merged([Path(path) for path in image.lower_dirs()]) as mount:
        root = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=mount)
        try:
            found = {*_debian(root), *_alpine(root), *_python(root)}
        finally:
            os.close(root)
    return sorted(found, key=lambda one: (one.kind, one.name, one.version))


def sbom(image: Image) -> bytes:
    """Return the bill of materials as CycloneDX 1.6 in JSON."""
    from cyclonedx.model.bom import Bom
    from cyclonedx.model.component import Component, ComponentType
    from cyclonedx.output import make_outputter
    from cyclonedx.schema import OutputFormat, SchemaVersion

    bom = Bom(serial_number=uuid.uuid5(_NAMESPACE, image.id))
    bom.metadata.timestamp = _created(image)
    name = image.familiar_names[0] if image.names else image.id
    bom.metadata.component = Component(
        name=name, type=ComponentType.CONTAINER, version=image.descriptor.digest, bom_ref="image"
    )
    parts = [_component(package) for package in packages_of(image)]
    bom.components.update(parts)
    bom.register_dependency(bom.metadata.component, parts)
    made = make_outputter(bom, OutputFormat.JSON, SchemaVersion.V1_6)
    return made.output_as_string(indent=2).encode()


def _component(package: Package) -> Component:
    from cyclonedx.model.component import Component, ComponentType
    from cyclonedx.model.license import DisjunctiveLicense
    from packageurl import PackageURL

    qualifiers = {"arch": package.architecture} if package.architecture else {}
    namespace = {"deb": "debian", "apk": "alpine"}.get(package.kind)
    purl = PackageURL(package.kind, namespace, package.name, package.version, qualifiers)
    licenses = [DisjunctiveLicense(name=package.license)] if package.license else []
    return Component(
        name=package.name,
        version=package.version,
        type=ComponentType.LIBRARY,
        purl=purl,
        licenses=licenses,
        bom_ref=str(purl),
    )


def _created(image: Image) -> datetime:
    with suppress(ValueError):
        return datetime.fromisoformat(f"{image.config.created[:19]}+00:00")
    return datetime.fromtimestamp(0, UTC)


# ── package managers ──────────────────────────────────────────────────────────────────────────


def _debian(root: int) -> Iterator[Package]:
    """Yield dpkg's packages; images without dpkg itself have a file for each in status.d."""
    texts = [_text(root, "var/lib/dpkg/status")]
    folder = "var/lib/dpkg/status.d"
    texts += [_text(root, f"{folder}/{name}") for name in _names_in(root, folder)]
    for paragraph in "\n\n".join(texts).split("\n\n"):
        fields = _fields(paragraph, ": ")
        if "Package" in fields and fields.get("Status", " installed").endswith(" installed"):
            architecture = fields.get("Architecture", "")
            yield Package("deb", fields["Package"], fields.get("Version", ""), "", architecture)


def _alpine(root: int) -> Iterator[Package]:
    for paragraph in _text(root, "lib/apk/db/installed").split("\n\n"):
        fields = _fields(paragraph, ":")
        if "P" in fields:
            license_ = fields.get("L", "")
            yield Package("apk", fields["P"], fields.get("V", ""), license_, fields.get("A", ""))


def _fields(paragraph: str, separator: str) -> dict[str, str]:
    """Return the fields of a paragraph; lines that go on from the one above do not matter."""
    pairs = (line.partition(separator) for line in paragraph.splitlines() if line[:1].strip())
    return {name: value.strip() for name, found, value in pairs if found}


def _python(root: int) -> Iterator[Package]:
    for path in _metadata_files(root):
        message = Parser().parsestr(_text(root, path), headersonly=True)
        if message["Name"] and message["Version"]:
            told = message["License-Expression"] or message["License"] or ""
            license_ = told if len(told) < 80 and "\n" not in told else ""
            yield Package("pypi", message["Name"], message["Version"], license_)


def _metadata_files(root: int) -> Iterator[str]:
    """Yield the paths of distributions' metadata, wherever in the image they are installed."""
    for top, folders, _, _ in os.fwalk(".", dir_fd=root, follow_symlinks=False):
        if top == ".":
            folders[:] = [name for name in folders if name not in _SKIPPED]
        for name in [name for name in folders if name.endswith((".dist-info", ".egg-info"))]:
            folders.remove(name)
            yield f"{top}/{name}/{'METADATA' if name.endswith('.dist-info') else 'PKG-INFO'}"


def _names_in(root: int, path: str) -> Iterable[str]:
    try:
        fd = open_in(root, path, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return []
    try:
        return sorted(name for name in os.listdir(fd) if not name.endswith(".md5sums"))
    finally:
        os.close(fd)


def _text(root: int, path: str) -> str:
    """Return a file of the image; "" where there is none.

    Raises:
        ImageError: it is larger than any list of packages.
    """
    try:
        fd = open_in(root, path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return ""
    with os.fdopen(fd, "rb") as file:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return ""
        data = file.read(_FILE_LIMIT_BYTES + 1)
    if len(data) > _FILE_LIMIT_BYTES:
        raise ImageError(f"/{path} of the image is larger than {_FILE_LIMIT_BYTES} bytes")
    return data.decode("utf-8", "replace")
