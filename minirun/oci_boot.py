"""The first lines that run: seal where a container comes near, then be ``minirun-oci``.

Started by path as ``python -I -S …/minirun/oci_boot.py``. Python compiles a program that is
started by path anew each time, so this file is short.

Next: ``seal.py``, then ``oci_cli.py``.
"""

import sys

# -I leaves out the program's folder, the working directory and PYTHONPATH: name our own. -S leaves
# out what pip installed beside the interpreter: only libseccomp's binding comes from there.
sys.path.insert(0, __file__.rsplit("/", 2)[0] or "/")
sys.path.append(
    f"{sys.executable.rsplit('/', 2)[0]}/lib/python3.{sys.version_info.minor}/site-packages"
)

if not {"create", "run", "exec", "restore"}.isdisjoint(sys.argv):
    from minirun.seal import execute_sealed, is_sealed

    if not is_sealed():
        execute_sealed(sys.argv)

from minirun.oci_cli import run

run()
