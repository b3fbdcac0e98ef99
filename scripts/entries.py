"""Write .venv/bin/minirun, minirun-oci and minisched anew, as no package installer can.

What pip makes of an entry point starts Python with all that is installed, and Python answers a
Ctrl-C that comes meanwhile with a traceback. These start it with nothing of the caller's (-I) and
no .pth file (-S), in two thirds of the time, and with SIGINT blocked: Ctrl-C waits until ``main``
has said what it means.

    #!/usr/bin/env -S --block-signal=INT '/path/to/.venv/bin/python' -I -S -X utf8

Run by ``scripts/setup`` with the interpreter of .venv. Where env(1) cannot block, or the line is
too long for the kernel, pip's commands stay, which do the same.

See: execve(2), Interpreter scripts; env(1), --block-signal.
"""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ENTRIES = {
    "minirun": "from minirun.cli import main\n\nmain()\n",
    "minirun-oci": "import minirun.oci_boot\n",
    "minisched": "from scheduler.cli import main\n\nmain()\n",
}
BLOCK = "--block-signal=INT"
#: The kernel reads this many bytes of a script to find its interpreter. See: BINPRM_BUF_SIZE.
LONGEST = 255


def main() -> None:
    """Write all of them, or none."""
    quoted = sys.executable.replace("\\", "\\\\").replace("'", "\\'")
    first = f"#!/usr/bin/env -S {BLOCK} '{quoted}' -I -S -X utf8\n"
    if len(os.fsencode(first)) > LONGEST or not _env_blocks():
        return
    places = dict.fromkeys((str(ROOT), *map(sysconfig.get_path, ("purelib", "platlib"))))
    for name, body in ENTRIES.items():
        path = Path(sys.executable).with_name(name)
        new = path.with_name(f".{name}.new")
        new.write_text(f"{first}import sys\n\nsys.path[:0] = {[*places]!r}\n{body}")
        new.chmod(0o755)
        new.replace(path)  # never half a command


def _env_blocks() -> bool:
    """Return whether this machine's env(1) knows how to block a signal."""
    tried = subprocess.run(["/usr/bin/env", BLOCK, "true"], capture_output=True, check=False)
    return tried.returncode == 0


if __name__ == "__main__":
    main()
