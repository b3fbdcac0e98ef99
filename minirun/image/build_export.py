"""``--output``: a result that is files or an archive instead of an image of the store.

    type=local,dest=DIR     the files, owned by the caller       DIR alone means the same
    type=tar,dest=FILE      the files in a tar archive           - alone is that on stdout
    type=oci,dest=FILE      an OCI archive; tar=false a folder
    type=docker,dest=FILE   an archive for ``docker load``; without dest, an image of the store
    type=image              an image of the store: the default
    type=registry           an image of the store, which is pushed as well

Next: ``build_result.py``.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import ImageError, UsageError
from ..record import replace
from . import archive, layout
from .build_copy import Copier, Dress
from .build_result import write_image
from .build_rootfs import merged, open_in
from .build_session import Session
from .build_sources import Origin
from .build_state import State
from .dockerfile_words import WordError, comma_words
from .locks import in_words
from .pack import pack
from .store import Image
from .tarwriter import TarWriter

STDOUT = "-"
IMAGE, REGISTRY = "image", "registry"
_OPTIONS: Mapping[str, frozenset[str]] = {
    "local": frozenset({"dest"}),
    "tar": frozenset({"dest"}),
    "oci": frozenset({"dest", "tar", "name"}),
    "docker": frozenset({"dest", "name"}),
    IMAGE: frozenset({"name", "push"}),
    REGISTRY: frozenset({"name"}),
}


@dataclass(frozen=True, slots=True)
class Output:
    """One ``--output``: what kind, where to, and its other options."""

    kind: str = IMAGE
    dest: str = ""
    options: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_stored(self) -> bool:
        """True where the result is an image of the store."""
        return self.kind in (IMAGE, REGISTRY) or (self.kind == "docker" and not self.dest)

    @property
    def pushes(self) -> bool:
        """True where the image goes to its registry as well."""
        return self.kind == REGISTRY or self.options.get("push") == "true"


def parse_output(text: str) -> Output:
    """Return what the value of ``--output`` means.

    >>> parse_output("type=tar,dest=out.tar").kind, parse_output("-").dest, parse_output("d").kind
    ('tar', '-', 'local')

    Raises:
        UsageError: an unknown type or option, or no destination.
    """
    if text == STDOUT:
        return Output("tar", STDOUT)
    if "=" not in text:
        return Output("local", text)
    try:
        words = dict(word.partition("=")[::2] for word in comma_words(text))
    except WordError as problem:
        raise UsageError(f"--output {text!r}: {problem}") from problem
    kind = words.pop("type", "")
    if kind not in _OPTIONS:
        raise UsageError(f"--output {text}: unknown type {kind!r}", hint=f"one of {_kinds()}")
    for name in words:
        if name not in _OPTIONS[kind]:
            raise UsageError(f"--output {text}: type {kind} has no option {name} here")
    output = Output(kind, words.pop("dest", ""), words)
    if not output.dest and not output.is_stored:
        raise UsageError(f"--output {text}: no destination", hint=f"type={kind},dest=PATH")
    if output.dest == STDOUT and kind == "local":
        raise UsageError("files cannot go to stdout", hint="use type=tar")
    return output


def _kinds() -> str:
    return ", ".join(_OPTIONS)


def export(session: Session, state: State, output: Output) -> None:
    """Write the result of a build to where ``output`` says.

    Raises:
        ImageError: it cannot be written there.
    """
    if output.kind == "local":
        _files(session, state, output.dest)
    elif output.kind == "tar":
        with _written(output.dest) as write:
            _tar(session, state, write)
    else:
        _image(session, state, output)


def _files(session: Session, state: State, dest: str) -> None:
    """Copy the files into a folder, over what is there; they become the caller's."""
    try:
        os.makedirs(dest, exist_ok=True)
        root = os.open(dest, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise ImageError(f"cannot write to {dest}: {in_words(error)[0]}") from error
    try:
        with (
            merged(_lowers(session, state)) as tree,
            Copier(root, Dress((os.getuid(), os.getgid()))) as copier,
        ):
            copier.copy(Origin(tree, "the result", keep_owners=True), "", "/")
    finally:
        os.close(root)


def _tar(session: Session, state: State, write: Callable[[bytes], object]) -> None:
    tar = TarWriter(write, session.epoch)
    with merged(_lowers(session, state)) as root:
        readable = open_in(root, ".", os.O_RDONLY | os.O_DIRECTORY)
        try:
            pack(readable, tar)
        finally:
            os.close(readable)
    tar.close()


def _image(session: Session, state: State, output: Output) -> None:
    """Write an archive of the image, which is in the store only meanwhile."""
    store = session.store
    before = {image.id for image in store.images()}
    image = write_image(session, state, ())
    try:
        given = output.options.get("name", "").split(",") if "name" in output.options else ()
        names = tuple(store.name(name) for name in given or session.options.tags)
        _save(replace(image, names=names), output)
    finally:
        if image.id not in before:
            store.remove(image.id, force=True)


def _save(image: Image, output: Output) -> None:
    if output.kind == "oci" and output.options.get("tar") == "false":
        if os.path.lexists(output.dest):
            raise ImageError(f"{output.dest} exists already", hint="an OCI layout is a new folder")
        layout.save([image], output.dest)
        return
    save = layout.save_archive if output.kind == "oci" else archive.save
    with _written(output.dest) as write:
        save([image], write)


def _lowers(session: Session, state: State) -> tuple[Path, ...]:
    return session.lowers([layer.diff_id for layer in state.layers])


@contextmanager
def _written(dest: str) -> Iterator[Callable[[bytes], object]]:
    """Yield what writes to stdout, or to a file that is there once it is complete."""
    if dest == STDOUT:
        yield sys.stdout.buffer.write
        sys.stdout.buffer.flush()
        return
    part = f"{dest}.{os.getpid()}.part"
    try:
        with open(part, "wb") as file:
            yield file.write
        os.rename(part, dest)
    except OSError as error:
        problem = os.strerror(error.errno or 0).lower()
        hint = "its folder must exist, and have room"
        raise ImageError(f"cannot write {dest}: {problem}", hint=hint) from error
    finally:
        if os.path.exists(part):
            os.unlink(part)
