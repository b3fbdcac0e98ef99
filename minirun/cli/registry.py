"""``pull push login logout search``: images from and to registries.

Next: ``volume.py``.
"""

from __future__ import annotations

import sys

import click

from ..engine.home import default_home
from ..errors import ImageError, UsageError
from .common import complete_image, format_option
from .output import say, show
from .transfer import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..image.store import Image

_SEARCH_COLUMNS = (
    ("NAME", "Name"),
    ("DESCRIPTION", "Description"),
    ("STARS", "StarCount"),
    ("OFFICIAL", "IsOfficial"),
)
_DESCRIPTION_LENGTH = 45


@click.command()
@click.option("-a", "--all-tags", is_flag=True, help="Every tag of the repository.")
@click.option("--platform", default="", metavar="OS/ARCH", help="For another machine than this.")
@click.option("-q", "--quiet", is_flag=True, help="Print the name only.")
@click.argument("name", metavar="NAME[:TAG|@DIGEST]")
def pull_command(name: str, platform: str, *, all_tags: bool, quiet: bool) -> int:
    """Fetch an image from a registry.

    \b
      minirun pull debian:12
      minirun pull --platform linux/arm64 localhost:5000/team/app
    """  # noqa: D301
    for full in _all_tags(name) if all_tags else (name,):
        _pull(full, platform, quiet=quiet)
    return 0


def _all_tags(name: str) -> list[str]:
    from ..image import reference
    from ..image.registry.pull import tags

    full = default_home().images.name(name)
    if "@" in name or reference.parse(name).tag != reference.DEFAULT_TAG:
        raise UsageError(f"{name} has a tag already", hint="give --all-tags the repository alone")
    repository = reference.parse(full, "").name
    return [f"{repository}:{tag}" for tag in tags(repository)]


def _pull(name: str, platform: str, *, quiet: bool) -> None:
    from ..image.registry.pull import pull

    store = default_home().images
    before = {image.id for image in store.images()}
    with shown(quiet=quiet) as seen:
        image = pull(store, name, platform=platform, seen=seen)
    full = store.name(name)
    if not quiet:
        for pinned in _digests(image, full):
            say(f"Digest: {pinned}")
        new = image.id not in before
        say(f"Status: {'Downloaded newer image' if new else 'Image is up to date'} for {name}")
    say(full)


def _digests(image: Image, full: str) -> list[str]:
    """Return what the registry of a name calls the image."""
    from ..image import reference

    repository = reference.parse(full, "").name
    pairs = (pinned.split("@") for pinned in image.digests)
    return [digest for name, digest in pairs if name == repository]


@click.command()
@click.option("-q", "--quiet", is_flag=True, help="Print the name only.")
@click.option("--sbom", "with_sbom", is_flag=True, help="Also what is installed in it.")
@click.argument("name", metavar="NAME[:TAG]", shell_complete=complete_image)
def push_command(name: str, *, quiet: bool, with_sbom: bool) -> int:
    """Store an image in a registry; its name says in which."""
    from ..image.registry.push import push

    store = default_home().images
    image = store.resolve(name)
    with shown(quiet=quiet) as seen:
        pushed = push(store, image, name, seen=seen)
    if with_sbom:
        from ..image.registry.attach import attach_referrer
        from ..image.sbom import FILE_NAME, MEDIA_TYPE, sbom

        attach_referrer(store.name(name), pushed, sbom(image), MEDIA_TYPE, title=FILE_NAME)
    say(store.name(name) if quiet else f"{name}: digest: {pushed.digest} size: {pushed.size}")
    return 0


@click.command()
@click.option("-u", "--username", default="", help="Asked for where it is missing.")
@click.option("-p", "--password", default="", help="Others on this host can see it.")
@click.option("--password-stdin", is_flag=True, help="Read the password from stdin.")
@click.argument("registry", metavar="[HOST[:PORT]]", default="")
def login_command(registry: str, username: str, password: str, *, password_stdin: bool) -> int:
    """Log in to a registry; docker and podman then are, too.

    \b
      minirun login
      pass show registry | minirun login -u ada --password-stdin registry.lan:5000
    """  # noqa: D301
    from ..image.registry.login import login

    if password_stdin and (password or not username):
        raise UsageError("--password-stdin needs --username, and no --password")
    if password_stdin:
        password = sys.stdin.read().rstrip("\r\n")
    if not (username and password) and not sys.stdin.isatty():
        raise UsageError(
            "no user and password to log in with", hint="use --username and --password-stdin"
        )
    username = username or click.prompt("Username", err=True)
    password = password or click.prompt("Password", hide_input=True, err=True)
    kept = login(registry, username, password)
    say(f"Login succeeded; the credentials are kept by {kept}")
    return 0


@click.command()
@click.argument("registry", metavar="[HOST[:PORT]]", default="")
def logout_command(registry: str) -> int:
    """Forget the credentials of a registry."""
    from ..image.registry.login import logout

    shown = registry or "the default registry"
    if not logout(registry):
        raise ImageError(f"not logged in to {shown}")
    say(f"Removed the credentials of {shown}")
    return 0


@click.command()
@click.option("--limit", default=25, type=int, help="The most to show.")
@click.option("--no-trunc", is_flag=True, help="Whole descriptions.")
@format_option
@click.argument("word", metavar="[HOST/]WORD")
def search_command(word: str, chosen: str, *, limit: int, no_trunc: bool) -> int:
    """Look for images in a registry, where it offers that."""
    from ..image.registry.search import search

    rows = []
    for found in search(word, limit=limit):
        text = found.description
        if not no_trunc and len(text) > _DESCRIPTION_LENGTH:
            text = f"{text[: _DESCRIPTION_LENGTH - 1]}…"
        official = "[OK]" if found.is_official else ""
        rows.append({"Name": found.name, "Description": text, "StarCount": found.star_count,
                     "IsOfficial": official})  # fmt: skip
    show(rows, _SEARCH_COLUMNS, chosen)
    return 0
