"""A program, its model and its environment become an image: ``minirun pack``.

    base    the environment's Python, see capture.py           shared by all images of it
    deps    the distributions that the imports need            until one of them changes
    model   the files given with --model                       until it is trained again
    code    the program's own files                            kilobytes at each change

Each layer has a key, a digest of all that goes into it, and is made only where no earlier pack has
made the same. Files have one date and two modes, so the same inputs give the same image.

Next: ``pack_dockerfile.py``.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from ..record import Record, replace
from .build_cache import Cache, Result, key_of
from .capture import for_python
from .capture_bytecode import compile_modules
from .capture_python import Python
from .capture_stage import STAMP, Stage
from .capture_tree import add_library, library_home, linker
from .model import History
from .pack_distributions import Packages
from .pack_plan import HOME, Packing, config_of
from .store import Image, Layer, Store
from .writer import Writer

#: Goes into every key: a change of what a layer is made like must not find older ones.
_RECIPE = 1


class Step(Record):
    """A layer that was made or found: what it is for, the bytes of its blob, found or made."""

    title: str
    size_bytes: int
    cached: bool


def pack(
    store: Store,
    packing: Packing,
    names: Iterable[str] = (),
    seen: Callable[[Step], None] = lambda _: None,
) -> Image:
    """Make the image.

    Args:
        store: receives it.
        packing: what goes along.
        names: of the image.
        seen: is told of each layer.
    """
    base = for_python(store, packing.python)
    with store.write() as writer:
        writer.claim(base)
        seen(Step(f"python {packing.python.version}", _size(base.layers), cached=True))
        cache = Cache(store.root, writer)
        layers, notes = list(base.layers), []
        for title, key, fill in _parts(packing):
            found = cache.find(key_of("pack", _RECIPE, base.id, key))
            layer = found.layer if found else None
            if layer is None:
                layer = _make(writer, packing.python, fill)
                cache.keep(key_of("pack", _RECIPE, base.id, key), Result(layer, _date()))
            seen(Step(title, layer.descriptor.size, cached=found is not None))
            layers.append(layer)
            notes.append(History(_date(), f"minirun pack: {title}"))
        document = replace(
            base.config,
            config=config_of(packing, base.config.config.env),
            history=(*base.config.history, *notes),
        )
        return writer.write_image(document, layers, names)


def _parts(packing: Packing) -> Iterator[tuple[str, object, Callable[[Stage], None]]]:
    """Yield (title, what the key is made of, what fills the stage) of each layer, lowest first."""
    packages = Packages(packing.environment.packages, packing.python.version)
    names = [name for name, _ in packing.distributions]
    if names:
        records = [[n, packages.version(n), packages.files(n)] for n in names]
        yield f"{len(names)} distributions", records, lambda s: _add_packages(s, packing, packages)
    if packing.models:
        yield (
            f"model {', '.join(packing.models.values())}",
            [[inside, _digest_of(Path(path))] for path, inside in packing.models.items()],
            lambda s: _add_models(s, packing.models),
        )
    folder = packing.program.folder
    yield (
        f"{len(packing.files)} files of the program",
        [[file, _digest_of(folder / file)] for file in packing.files],
        lambda s: _add_files(s, folder, packing.files),
    )


def _make(writer: Writer, python: Python, fill: Callable[[Stage], None]) -> Layer:
    root = Path(tempfile.mkdtemp(dir=writer.scratch))
    root.chmod(0o755)
    stage = Stage(root)
    fill(stage)
    stage.settle()
    compile_modules(stage, python.executable, (python.image_packages, HOME))
    stage.settle()
    return writer.add_layer_from_upper(str(root), compress=False)


def _add_packages(stage: Stage, packing: Packing, packages: Packages) -> None:
    """Copy distributions, and the libraries of the host that no wheel carries."""
    copied = []
    for name, _ in packing.distributions:
        for file in packages.files(name):
            source = packages.folder / file
            if _is_needed(file) and source.is_file():
                stage.copy(str(source), f"{packing.python.image_packages}/{file}")
                copied.append(str(source))
    objects = [path for path in copied if ".so" in os.path.basename(path)]
    carried = {os.path.basename(path) for path in objects}
    finder = linker(packing.python)
    inside = os.path.realpath(packing.environment.path)
    for library in finder.closure(objects, missing_is_fine=True):
        own = os.path.realpath(library.path).startswith(inside)
        if library.name not in carried and not own:
            add_library(stage, library, library_home(finder))


def _is_needed(file: str) -> bool:
    """Leave out the tests of a package and what the interpreter writes itself."""
    parts = file.split("/")
    return "tests" not in parts[:-1] and "__pycache__" not in parts


def _add_models(stage: Stage, models: dict[str, str]) -> None:
    for path, inside in models.items():
        if os.path.isdir(path):
            stage.tree(path, f"{HOME}/{inside}", lambda _: False)
        else:
            stage.copy(path, f"{HOME}/{inside}")


def _add_files(stage: Stage, folder: Path, files: Iterable[str]) -> None:
    for file in files:
        stage.copy(str(folder / file), f"{HOME}/{file}")


def _digest_of(path: Path) -> str:
    """Return a digest of a file, or of all files of a folder with their names."""
    digest = hashlib.sha256()
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        if file.is_file():
            digest.update(f"{file.relative_to(path)}\0{file.stat().st_mode & 0o100}\0".encode())
            with open(file, "rb") as stream:
                while data := stream.read(1 << 20):
                    digest.update(data)
    return digest.hexdigest()


def _size(layers: Iterable[Layer]) -> int:
    return sum(layer.descriptor.size for layer in layers)


def _date() -> str:
    """Return the one date of a packed image; its files have the same."""
    return datetime.fromtimestamp(STAMP, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
