"""The files of ``minirun/python``: interpreter, standard library, libraries, pip.

    /usr/local/bin/python ─▶ python3 ─▶ python3.11       found there, the interpreter finds
    /usr/local/lib/python3.11/…                          its library beside it
    /usr/local/lib/python3.11/site-packages/pip
    /usr/lib/x86_64-linux-gnu/*.so                       where ld.so looks without a cache
    /lib64/ld-linux-x86-64.so.2                          the kernel starts this one

What only tests, draws windows or builds extensions stays behind.

Next: ``capture.py``, which makes layers of it.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterable
from pathlib import Path

from ..errors import HostError
from . import elf
from .capture_libraries import Library, Linker
from .capture_python import Python, pip_wheel
from .capture_stage import Stage
from .capture_system import add_busybox, add_certificates, add_skeleton, add_time_zones

#: Folders of the standard library that a served model never imports.
_LEFT_OUT = {
    "__pycache__", "test", "tests", "idle_test", "idlelib", "turtledemo", "tkinter", "turtle.py",
    "site-packages", "dist-packages", "EXTERNALLY-MANAGED", "sitecustomize.py",
}  # fmt: skip
#: Extension modules whose libraries are a window system or a directory service.
_NO_EXTENSIONS = ("_tkinter.", "nis.", "_test", "_xxtestfuzz", "_ctypes_test", "xxlimited")
#: Libraries that manylinux wheels may expect on any host (PEP 600), and name lookup.
_EXPECTED = (
    "libstdc++.so.6", "libgcc_s.so.1", "libm.so.6", "libdl.so.2", "libpthread.so.0", "librt.so.1",
    "libutil.so.1", "libresolv.so.2", "libnss_files.so.2", "libnss_dns.so.2", "libz.so.1",
)  # fmt: skip
_TRUSTED = ("/usr/lib/", "/usr/lib64/", "/lib/", "/lib64/")


def stage_base(stage: Stage, python: Python, busybox: str | None = None) -> None:
    """Put the whole base image into an empty stage.

    Raises:
        HostError: something that the image cannot do without is missing on this host.
    """
    add_skeleton(stage)
    _add_interpreter(stage, python)
    _add_standard_library(stage, python)
    _add_libraries(stage, python)
    _add_pip(stage, python)
    add_busybox(stage, busybox)
    vendored = stage.path(f"{python.image_packages}/pip/_vendor/certifi/cacert.pem")
    add_certificates(stage, python.cafile, str(vendored))
    add_time_zones(stage)


def module_folders(python: Python) -> list[str]:
    """Return the folders of the image that hold modules."""
    folders = (python.image_path(python.stdlib), python.image_packages)
    # The second is inside the first unless the interpreter is Debian's.
    return [f for f in dict.fromkeys(folders) if not f.startswith(f"{folders[0]}/")]


def extension_modules(python: Python) -> list[str]:
    """Return the host's files of the standard library's extension modules that go along."""
    folder = os.path.join(python.platstdlib, "lib-dynload")
    names = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
    return [os.path.join(folder, n) for n in names if ".so" in n and not _left_out(n)]


def linker(python: Python) -> Linker:
    """Return a finder of libraries for this interpreter's machine."""
    facts = elf.parse(Path(python.executable).read_bytes())
    return Linker(facts.machine, facts.bits)


def add_library(stage: Stage, library: Library, home: str) -> None:
    """Copy a library to where ld.so looks for it without being told.

    Args:
        stage: the image.
        library: what to copy.
        home: the folder for libraries that the host finds by other means: next to the libc.
    """
    folder = os.path.realpath(os.path.dirname(library.path))
    kept = f"{folder}/".startswith(_TRUSTED)
    stage.copy(library.path, f"{folder if kept else home}/{library.name}")


def library_home(finder: Linker) -> str:
    """Return the folder of the C library."""
    libc = finder.find("libc.so.6")
    if libc is None:
        raise HostError("no libc.so.6 on this host", hint="only glibc hosts can be captured")
    return os.path.realpath(os.path.dirname(libc))


def _left_out(relative: str) -> bool:
    name = os.path.basename(relative)
    return (
        name in _LEFT_OUT
        or name.startswith(("config-", "libpython", *_NO_EXTENSIONS))
        or name.endswith((".a", ".o", ".exe"))
    )


def _add_interpreter(stage: Stage, python: Python) -> None:
    """Copy the interpreter, and give it every name that people call it by."""
    stage.copy(python.executable, python.image_executable)
    at = python.image_executable
    names = ("python", "python3", f"python{python.short_version}")
    for name in names:
        if f"/usr/local/bin/{name}" != at:
            stage.link(f"/usr/local/bin/{name}", at)
    # What shebangs and other people's scripts name.
    stage.link("/usr/bin/python3", at)


def _add_standard_library(stage: Stage, python: Python) -> None:
    for folder in dict.fromkeys((python.stdlib, python.platstdlib)):
        stage.tree(folder, python.image_path(folder), _left_out)
    if python.prefix == python.image_prefix:
        return
    # sysconfig repeats the prefix that the interpreter was built for, as text.
    for path in stage.path(python.image_path(python.stdlib)).glob("_sysconfigdata_*.py"):
        text = path.read_text().replace(python.prefix, python.image_prefix)
        path.write_text(text)


def _add_libraries(stage: Stage, python: Python) -> None:
    finder = linker(python)
    home = library_home(finder)
    expected = [path for name in _EXPECTED if (path := finder.find(name))]
    wanted = [python.executable, *extension_modules(python), *expected]
    libraries = {library.name: library for library in finder.closure(wanted)}
    libraries.update(
        {os.path.basename(path): Library(os.path.basename(path), path) for path in expected}
    )
    interpreter = elf.parse(Path(python.executable).read_bytes()).interpreter
    libraries.pop(os.path.basename(interpreter), None)
    stage.copy(os.path.realpath(interpreter), interpreter)
    for library in libraries.values():
        add_library(stage, library, home)


def _add_pip(stage: Stage, python: Python) -> None:
    """Install pip: from the wheel that came with the interpreter, else as it is on the host."""
    wheel = pip_wheel(python)
    if wheel is not None:
        _unpack(wheel, stage.path(python.image_packages))
    elif python.pip:
        _copy_installed_pip(stage, python)
    else:
        hint = "install python3-pip or python3-venv, or run: python3 -m ensurepip"
        raise HostError(f"{python.executable} has no pip", hint=hint)
    for name in ("pip", "pip3", f"pip{python.short_version}"):
        stage.write(
            f"/usr/local/bin/{name}", _script(python, "pip._internal.cli.main", "main"), 0o755
        )


def _copy_installed_pip(stage: Stage, python: Python) -> None:
    packages = Path(python.pip).parent
    for path in [Path(python.pip), *sorted(packages.glob("pip-*.dist-info"))]:
        inside = f"{python.image_packages}/{path.name}"
        stage.tree(str(path), inside, lambda p: "__pycache__" in p.split("/"))


def _unpack(wheel: Path, folder: Path) -> None:
    """Unpack a wheel of pure modules. A wheel is a zip whose files are where they belong."""
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    for path in folder.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)


def _script(python: Python, module: str, function: str) -> str:
    """Return a console script, as pip would write it."""
    return (
        f"#!{python.image_executable}\n"
        f"import sys\n\nfrom {module} import {function}\n\n"
        f'if __name__ == "__main__":\n    sys.exit({function}())\n'
    )


def elf_files(folder: Path) -> Iterable[str]:
    """Yield the files below a folder that are shared objects."""
    for path in sorted(folder.rglob("*.so*")):
        if path.is_file():
            yield str(path)
