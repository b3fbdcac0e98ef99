"""Facts about a Python installation, asked of the interpreter itself.

The interpreter that is captured need not be the one that runs this module: it may be the one of
a virtual environment, Debian's ``/usr/bin/python3``, or another version. So the questions are put
to it in a subprocess, in isolated mode, and it answers in JSON. A virtual environment answers with
the installation it was made from: ``sys.base_prefix``.

Next: ``capture.py``.
"""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from ..errors import HostError

_QUESTIONS = """
import importlib.util, json, os, ssl, sys, sysconfig, zoneinfo
base = {"base": sys.base_prefix, "platbase": sys.base_exec_prefix,
        "installed_base": sys.base_prefix, "installed_platbase": sys.base_exec_prefix}
scheme = "deb_system" if "deb_system" in sysconfig.get_scheme_names() else "posix_prefix"
pip = importlib.util.find_spec("pip")
print(json.dumps({
    "executable": os.path.realpath(getattr(sys, "_base_executable", "") or sys.executable),
    "version": sys.version.split()[0],
    "implementation": sys.implementation.name,
    "prefix": sys.base_prefix,
    "stdlib": sysconfig.get_path("stdlib", "posix_prefix", base),
    "platstdlib": sysconfig.get_path("platstdlib", "posix_prefix", base),
    "wheels": sysconfig.get_config_var("WHEEL_PKG_DIR") or "",
    "pip": os.path.dirname(pip.origin) if pip and pip.origin else "",
    "packages": sysconfig.get_path("purelib"),
    "venv": sys.prefix if sys.prefix != sys.base_prefix else "",
    "is_debian": scheme == "deb_system",
    "cafile": ssl.get_default_verify_paths().openssl_cafile,
}))
"""


@dataclass(frozen=True, slots=True)
class Python:
    """One Python installation on this host.

    Args:
        executable: the interpreter's own file.
        version: as in ``3.11.7``.
        implementation: ``cpython`` or another.
        prefix: where it is installed.
        stdlib: its pure modules.
        platstdlib: where ``lib-dynload`` is; often the same.
        wheels: the folder of wheels that ensurepip is told to use, or "".
        pip: the folder of an installed pip, or "".
        packages: where third-party packages are.
        venv: the virtual environment it was asked through, or "".
        is_debian: patched by Debian to use ``dist-packages``.
        cafile: where its OpenSSL looks for certificates.
    """

    executable: str
    version: str
    implementation: str
    prefix: str
    stdlib: str
    platstdlib: str
    wheels: str
    pip: str
    packages: str
    venv: str
    is_debian: bool
    cafile: str

    @property
    def short_version(self) -> str:
        """``3.11`` of ``3.11.7``."""
        return ".".join(self.version.split(".")[:2])

    @property
    def image_prefix(self) -> str:
        """Where it goes in the image.

        A Python finds its library relative to its own file, so it may move to ``/usr/local``. One
        built for ``/usr`` stays: Debian's patches add ``local/`` to what pip installs into.
        """
        return "/usr" if self.prefix == "/usr" else "/usr/local"

    @property
    def image_executable(self) -> str:
        """The interpreter's path in the image."""
        return f"{self.image_prefix}/bin/python{self.short_version}"

    @property
    def image_packages(self) -> str:
        """Where pip installs in the image."""
        folder = "dist-packages" if self.is_debian else "site-packages"
        return f"/usr/local/lib/python{self.short_version}/{folder}"

    def image_path(self, path: str) -> str:
        """Return where a file below the prefix goes."""
        return os.path.join(self.image_prefix, os.path.relpath(path, self.prefix))


def probe(executable: str) -> Python:
    """Ask an interpreter about its installation.

    Raises:
        HostError: it does not start, is not CPython, or is too old to answer.
    """
    hint = "name an interpreter of CPython 3.9 or later that has the ssl module"
    try:
        # -I: neither the current folder nor PYTHON* variables may change the answer.
        asked = subprocess.run(
            [executable, "-I", "-c", _QUESTIONS], capture_output=True, text=True, check=False
        )
    except OSError as error:
        raise HostError(f"{executable}: {error.strerror}", hint=hint) from error
    if asked.returncode:
        last = asked.stderr.strip().rpartition("\n")[2]
        raise HostError(f"{executable} cannot be captured: {last}", hint=hint)
    found = Python(**json.loads(asked.stdout))
    if found.implementation != "cpython":
        raise HostError(f"{executable} is {found.implementation}, not CPython", hint=hint)
    return found


def pip_wheel(python: Python) -> Path | None:
    """Return the wheel of pip that came with the interpreter, or None.

    Python.org's sources carry it in ensurepip; Debian moves it to a package of its own.
    """
    bundled = Path(python.stdlib) / "ensurepip" / "_bundled"
    for folder in (python.wheels, str(bundled), "/usr/share/python-wheels"):
        wheels = sorted(Path(folder).glob("pip-*.whl")) if folder else []
        if wheels:
            return wheels[-1]
    return None
