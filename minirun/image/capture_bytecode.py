"""Compile a staged tree's modules, with the interpreter that will run them.

A cached module is trusted when its header repeats the source's size and date. All dates in a
captured layer are one constant, so that header is the same on every host, costs the reader nothing
beyond the stat it makes anyway, and stops being trusted when somebody edits the source. (A hash
that is never checked would be as fast but would hide such an edit; one that is checked reads every
source at every start.)

The compiler runs in one process, in one order, with one hash seed: the order of a frozen set's
items and the references between equal strings are part of the bytes.

Next: ``capture_system.py``.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable

from ..errors import HostError
from .capture_stage import Stage

_COMPILE = """
import os, py_compile, sys
mode = py_compile.PycInvalidationMode.TIMESTAMP
for folder in sys.argv[2:]:
    for top, folders, files in os.walk(sys.argv[1] + folder):
        folders.sort()
        for name in sorted(files):
            path = os.path.join(top, name)
            if name.endswith(".py") and not os.path.islink(path):
                try:
                    py_compile.compile(path, dfile=path[len(sys.argv[1]):], doraise=True,
                                       quiet=2, invalidation_mode=mode)
                except py_compile.PyCompileError:
                    pass  # a template or a module for another version: not compiled by pip either
"""


def compile_modules(stage: Stage, executable: str, folders: Iterable[str]) -> None:
    """Write ``__pycache__`` below folders of the stage; call after ``Stage.settle``.

    Args:
        stage: the image's files, dated.
        executable: the interpreter on this host.
        folders: where modules are, as paths in the image.
    """
    present = [folder for folder in folders if stage.path(folder).is_dir()]
    # Not the caller's environment: PYTHONPATH, PYTHONOPTIMIZE… would change the result.
    environment = {
        "PATH": os.environ.get("PATH", os.defpath),
        "PYTHONHASHSEED": "0",
        "LANG": "C.UTF-8",
    }
    ran = subprocess.run(
        [executable, "-S", "-s", "-c", _COMPILE, str(stage.root), *present],
        cwd="/",
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if ran.returncode:
        raise HostError(f"{executable} cannot compile modules: {ran.stderr.strip()[-300:]}")
