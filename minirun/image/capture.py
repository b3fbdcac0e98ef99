"""The Python of this host becomes a base image: ``minirun image capture``.

    interpreter ─▶ probe ─▶ stage the files ─▶ compile ─▶ one date ─▶ minirun/python:3.11

No registry is asked. The environment that trained a model is the one that serves it, down to the
C library, and the same host always gives the same digest. A virtual environment can be taken
along as a layer of its own.

Next: ``capture_tree.py``, which collects the files.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import tempfile
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from ..errors import HostError, ImageError
from . import capture_venv
from .capture_bytecode import compile_modules
from .capture_python import Python, probe
from .capture_stage import STAMP, Stage
from .capture_tree import module_folders, stage_base
from .model import ContainerConfig, History, ImageConfig, RootFs
from .store import Image, Layer, Store
from .writer import Writer

REPOSITORY = "minirun/python"
_NAME = re.compile(r"(?:docker\.io/)?minirun/python(?::([^@]+))?")
_PATH = "/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def capture(
    store: Store, *, python: str = "", venv: str | Path | None = None, tag: str = ""
) -> Image:
    """Make the image of a Python installation.

    Args:
        store: receives the image.
        python: its interpreter; "" is the one that runs this, or the virtual environment's.
        venv: a virtual environment whose packages and programs go along.
        tag: the image's name; "" is ``minirun/python:<major.minor>``, and with a virtual
            environment ``minirun/python:<major.minor>-venv``.

    Raises:
        HostError: the host lacks something that the image needs.
        ImageError: the virtual environment cannot be taken along.
    """
    environment = capture_venv.open_venv(Path(venv)) if venv is not None else None
    found = probe(python or (environment.executable if environment else sys.executable))
    name = tag or f"{REPOSITORY}:{found.short_version}{'-venv' if environment else ''}"
    with store.write() as writer:
        layers = [_layer(writer, found, None)]
        notes = [f"minirun image capture: Python {found.version}"]
        if environment is not None:
            capture_venv.check(environment, found)
            layers.append(_layer(writer, found, environment))
            notes.append("minirun image capture --venv")
        return writer.write_image(_config(found, layers, notes), layers, [name])


def is_captured_name(name: str) -> bool:
    """Return True for the name of an image that only a capture makes.

    >>> is_captured_name("docker.io/minirun/python:3.11"), is_captured_name("python:3.11")
    (True, False)
    """
    return _NAME.fullmatch(name) is not None


def capture_named(store: Store, name: str) -> Image:
    """Make the image that a FROM names, from the Python that runs this.

    Raises:
        ImageError: it names a version that this Python is not.
    """
    match = _NAME.fullmatch(name)
    running = f"{sys.version_info.major}.{sys.version_info.minor}"
    wanted = match.group(1) or "latest" if match else ""
    full = ".".join(map(str, sys.version_info[:3]))
    if wanted not in ("latest", str(sys.version_info.major), running, full):
        hint = f"this host can give {REPOSITORY}:{running} (Python {full})"
        for found in other_pythons(running):
            hint += f", {found.short_version} by: minirun image capture --python {found.executable}"
        raise ImageError(f"no such image: {name}", hint=hint)
    made = _kept(store, f"{REPOSITORY}:{running}", full) or capture(store)
    if wanted != running:
        store.tag(made, name)
    return made


def for_python(store: Store, python: Python) -> Image:
    """Return the base image of a Python installation; made only where there is none yet."""
    name = f"{REPOSITORY}:{python.short_version}"
    return _kept(store, name, python.version) or capture(store, python=python.executable)


def other_pythons(running: str) -> list[Python]:
    """Return the other versions in PATH that can be captured, oldest first."""
    found: dict[str, Python] = {}
    for minor in range(9, 30):
        path = shutil.which(f"python3.{minor}")
        if path and f"3.{minor}" != running:
            with suppress(HostError):  # a version manager's stand-in for a version it lacks
                found[f"3.{minor}"] = probe(path)
    return list(found.values())


def _kept(store: Store, name: str, version: str) -> Image | None:
    """Return the image of an earlier capture of this very version."""
    try:
        found = store.resolve(name)
    except ImageError:
        return None
    return found if f"PYTHON_VERSION={version}" in found.config.config.env else None


def _layer(writer: Writer, python: Python, environment: capture_venv.Environment | None) -> Layer:
    """Return the layer of the base, or of a virtual environment on top of it."""
    root = Path(tempfile.mkdtemp(dir=writer.scratch))
    root.chmod(0o755)
    stage = Stage(root)
    if environment is None:
        stage_base(stage, python)
    else:
        capture_venv.stage_venv(stage, environment, python)
    stage.settle()
    compile_modules(stage, python.executable, module_folders(python))
    stage.settle()
    return writer.add_layer_from_upper(str(root), compress=False)


def _config(python: Python, layers: list[Layer], notes: list[str]) -> ImageConfig:
    """Return the image's configuration; its only date is the one of the files."""
    created = datetime.fromtimestamp(STAMP, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    machine = os.uname().machine
    return ImageConfig(
        architecture=_ARCHITECTURES.get(machine, machine),
        os="linux",
        rootfs=RootFs("layers", tuple(layer.diff_id for layer in layers)),
        config=ContainerConfig(
            env=(f"PATH={_PATH}", "LANG=C.UTF-8", f"PYTHON_VERSION={python.version}"),
            cmd=("python3",),
        ),
        created=created,
        history=tuple(History(created=created, created_by=note) for note in notes),
    )
