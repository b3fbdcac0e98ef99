"""``image verify``, ``sign`` and ``sbom``: what is known about an image beyond its bytes.

Next: ``image_group.py``.
"""

from __future__ import annotations

import os

import click

from ..engine.home import default_home
from ..errors import ImageError
from .archives import archive_output
from .common import complete_image
from .complaints import complain
from .output import say

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..image.store import Image, Store


@click.command()
@click.option("--key", default="", metavar="FILE", help="Also ask for a signature of this key.")
@click.argument("names", nargs=-1, required=True, metavar="IMAGE…", shell_complete=complete_image)
def verify_image(names: tuple[str, ...], key: str) -> int:
    """Hash every blob and every file of images again, and say what is not as it should be.

    \b
      minirun image verify iris
      minirun image verify --key team.pub registry.lan/team/iris:1
    """  # noqa: D301
    from ..image.verify import verify

    store, code = default_home().images, 0
    for name in names:
        image = store.resolve(name)
        problems = [f"{found.part}: {found.what}" for found in verify(store, image)]
        if key and not _claims(image, key):
            problems.append(f"no signature of {key}")
        for problem in problems:
            complain(f"{name}: {problem}")
        if problems:
            code = 1
        else:
            signed = ", signed as " + ", ".join(_claims(image, key)) if key else ""
            say(f"{name}: every byte is as its digests say{signed}")
    return code


def _claims(image: Image, key: str) -> list[str]:
    """Return the names that a key has signed an image as."""
    from ..image.signature import claim_of, kept, public_key_file

    keys = [public_key_file(key)]
    digest = image.descriptor.digest
    digests = {digest, *(pinned.partition("@")[2] for pinned in image.digests)}
    claims = (claim_of(one, keys) for one in kept(image.root, digest))
    return sorted({claim.reference for claim in claims if claim and claim.digest in digests})


@click.command()
@click.option("--key", required=True, metavar="FILE", help="Private key: PEM, P-256 or Ed25519.")
@click.option("--local", is_flag=True, help="Keep it here; do not send it to the registry.")
@click.argument("name", metavar="NAME[:TAG]", shell_complete=complete_image)
def sign_image(name: str, key: str, *, local: bool) -> int:
    """Vouch for an image: sign its digest under this name, as cosign and podman read it.

    The signature goes to the registry that the image was pushed to or pulled from. An encrypted
    key is opened by MINIRUN_KEY_PASSWORD.

    \b
      openssl genpkey -algorithm ed25519 -out team.key
      openssl pkey -in team.key -pubout -out team.pub
      minirun image sign --key team.key registry.lan/team/iris:1
    """  # noqa: D301
    from ..image.signature import keep, private_key, sign

    store = default_home().images
    image, full = store.resolve(name), store.name(name)
    if "@" in full or full not in image.names:
        raise ImageError(f"{name} is no name with a tag", hint="sign by name: host/path:tag")
    digest = image.descriptor.digest
    opened = private_key(key, os.environ.get("MINIRUN_KEY_PASSWORD", ""))
    made = sign(full, digest, opened)
    keep(store.root, digest, [made])
    say(f"signed {digest} as {full}")
    if not local:
        _send(store, image, full)
    return 0


def _send(store: Store, image: Image, full: str) -> None:
    """Put the signatures of an image beside it, where its name leads to."""
    from ..image.registry.attach import attach_signatures
    from ..image.signature import kept

    digest = image.descriptor.digest
    tag = attach_signatures(full, digest, kept(store.root, digest))
    say(f"sent to {full.rpartition(':')[0]}:{tag}")


@click.command()
@click.option("-o", "--output", metavar="FILE", help="Write to a file instead of stdout.")
@click.argument("name", metavar="IMAGE", shell_complete=complete_image)
def sbom_image(name: str, output: str | None) -> int:
    """Write what is installed in an image as a CycloneDX bill of materials.

    Debian's and Alpine's packages and Python's distributions are listed.
    """
    from ..image.sbom import sbom

    content = sbom(default_home().images.resolve(name))
    if output is None:
        say(content.decode())
        return 0
    with archive_output(output, "sbom") as write:
        write(content + b"\n")
    return 0
