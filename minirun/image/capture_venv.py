"""A virtual environment as a layer: its packages and its programs, without its place on the host.

A virtual environment is tied to two places of its host: the interpreter that ``pyvenv.cfg`` names,
and itself, in the first line of each program. In the image the packages go to where the captured
interpreter looks anyway, and the programs name that interpreter. What cannot be moved is refused:
a package that is only a pointer to a source folder (``pip install -e``), or one that borrows the
host's own packages.

Next: ``capture_tree.py``.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from ..errors import ImageError
from .capture_python import Python, probe
from .capture_stage import Stage
from .capture_tree import add_library, elf_files, library_home, linker

#: What belongs to the environment itself, or is in the base already.
_OWN = {"pip", "_virtualenv"}
_OWN_PROGRAMS = re.compile(r"(python|pip)[\d.]*|activate.*|Activate\.ps1")


@dataclass(frozen=True, slots=True)
class Environment:
    """A virtual environment on this host.

    Args:
        path: its folder.
        executable: its interpreter.
        packages: its site-packages.
    """

    path: Path
    executable: str
    packages: Path


def open_venv(path: Path) -> Environment:
    """Return the virtual environment in a folder.

    Raises:
        ImageError: it is none, or it borrows packages from outside.
    """
    settings = path / "pyvenv.cfg"
    executable = path / "bin" / "python"
    if not settings.is_file() or not executable.exists():
        hint = "make one with: python3 -m venv PATH"
        raise ImageError(f"{path} is not a virtual environment", hint=hint)
    pairs = [line.partition("=") for line in settings.read_text().lower().splitlines()]
    values = {name.strip(): value.strip() for name, _, value in pairs}
    if values.get("include-system-site-packages") == "true":
        hint = "make it again without --system-site-packages"
        raise ImageError(f"{path} borrows the host's packages", hint=hint)
    return Environment(path, str(executable), Path(probe(str(executable)).packages))


def check(environment: Environment, python: Python) -> None:
    """Refuse a virtual environment that cannot be moved, or that is for another Python.

    Raises:
        ImageError: names the package or the version at fault.
    """
    own = probe(environment.executable)
    if own.version != python.version:
        problem = f"{environment.path} is for Python {own.version}, not {python.version}"
        raise ImageError(problem, hint=f"capture with --python {own.executable}")
    for pointer in sorted(environment.packages.glob("*.pth")):
        for line in pointer.read_text(errors="replace").splitlines():
            text = line.strip()
            outside = os.path.isabs(text) and not text.startswith(str(environment.path))
            if outside or "__editable__" in text:
                hint = "install it without -e, then capture again"
                raise ImageError(
                    f"{pointer.name} points to a folder of this host: {text[:80]}", hint=hint
                )


def stage_venv(stage: Stage, environment: Environment, python: Python) -> None:
    """Put packages, programs and the libraries they need into an empty stage."""
    stage.tree(str(environment.packages), python.image_packages, _is_own)
    _add_programs(stage, environment, python)
    _add_libraries(stage, environment, python)


def _is_own(relative: str) -> bool:
    first = relative.partition("/")[0]
    distribution = first.partition("-")[0].partition(".")[0]
    return distribution in _OWN or relative.rpartition("/")[2] == "__pycache__"


def _add_programs(stage: Stage, environment: Environment, python: Python) -> None:
    """Copy the programs; the first line of a script names the image's interpreter."""
    for path in sorted((environment.path / "bin").iterdir()):
        if _OWN_PROGRAMS.fullmatch(path.name) or not path.is_file():
            continue
        content = path.read_bytes()
        first, newline, rest = content.partition(b"\n")
        if first.startswith(b"#!") and os.fsencode(environment.path) in first:
            content = f"#!{python.image_executable}".encode() + newline + rest
        stage.write(f"/usr/local/bin/{path.name}", content, 0o755)


def _add_libraries(stage: Stage, environment: Environment, python: Python) -> None:
    """Copy host libraries that extension modules need and no wheel carries.

    A library that is nowhere is left to the package: many load their extensions only if they can.
    """
    finder = linker(python)
    home = library_home(finder)
    inside = os.path.realpath(environment.path)
    own = list(elf_files(environment.packages))
    names = {os.path.basename(path) for path in own}
    for library in finder.closure(own, missing_is_fine=True):
        if library.name not in names and not os.path.realpath(library.path).startswith(inside):
            add_library(stage, library, home)
