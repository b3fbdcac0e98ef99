"""CVE-2019-5736: the image overwrites the runtime.

Mechanism: between joining the container and execve the runtime is a process inside. A process of
the container opens its ``/proc/PID/exe``, keeps that descriptor, waits until nobody executes the
file any more (ETXTBSY), opens it again through ``/proc/self/fd`` and writes. The next start of any
container runs the attacker's program as the host's root. An entrypoint of ``/proc/self/exe`` leads
to the same file without a race.

Defence: ``seal.py``: create, run and exec run from a sealed memfd, a copy that cannot be written
and that no other process uses. (That the runtime hides, ``HideFromContainer``, is a second one;
it is off in both halves here.) The interpreter under attack is a copy of the test's own.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.security.lab import (
    IDENTITY_MAP,
    Bundle,
    Outcome,
    act,
    create,
    new_container,
    output_file,
)

pytestmark = pytest.mark.requires("root", "busybox", "userns")

PROGRAM = str(Path(__file__).with_name("join_unhidden.py"))
OVERWRITE = """
read pid < /who; exec 9< /proc/$pid/exe; echo > /seen
read word < /go
if (echo pwned > /proc/self/fd/9); then word=overwritten; else word=refused; fi
echo $word > /verdict
"""


def interpreter(folder: Path) -> Path:
    """Return a Python of our own to be attacked: the same bytes in another file."""
    file = folder / "bin/python3"
    file.parent.mkdir(parents=True)
    shutil.copy(Path(sys.executable).resolve(), file)
    (folder / "lib").symlink_to(Path(sys.base_prefix) / "lib")
    return file


def digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def tell(fifo: Path) -> None:
    with fifo.open("w") as out:
        out.write("go\n")


def start(bundle: Bundle) -> str:
    """Start the hostile container, which outlives the process that starts it; return its id."""

    def live() -> Outcome:
        container = new_container(bundle)
        with output_file() as out:
            create(container, bundle, out)
        container.start()
        return Outcome(output=container.id)

    outcome = Outcome(**act(live))
    assert outcome.ran, outcome
    return outcome.output


def stop(bundle: Bundle, container_id: str) -> None:
    def live() -> Outcome:
        container = new_container(bundle, container_id)
        container.delete(force=True)
        return Outcome()

    assert Outcome(**act(live)).ran


@pytest.mark.parametrize("weak", [True, False])
def test_container_cannot_write_to_what_executes_the_runtime(bundle: Bundle, weak: bool) -> None:
    python = interpreter(bundle.path / "prefix")
    before = digest(python)
    for name in ("who", "seen", "go", "verdict"):
        os.mkfifo(bundle.rootfs / name, 0o666)
    bundle.user_namespace(IDENTITY_MAP)
    bundle.without_mount("/sys")
    del bundle.config["process"]["capabilities"]
    bundle.script(OVERWRITE)
    container_id = start(bundle)
    try:
        given = {"path": sys.path, "root": str(bundle.state_root), "id": container_id}
        argv = [str(python), "-I", "-S", PROGRAM, json.dumps({**given, "sealed": not weak})]
        subprocess.run(argv, check=True, timeout=120)
        tell(bundle.rootfs / "go")
        verdict = (bundle.rootfs / "verdict").read_text()
    finally:
        stop(bundle, container_id)

    assert verdict == ("overwritten\n" if weak else "refused\n")
    assert (digest(python) != before) == weak


@pytest.mark.parametrize("how", ["entrypoint", "script"])
def test_entrypoint_that_is_the_runtime_meets_a_sealed_copy(bundle: Bundle, how: str) -> None:
    """The image's way, through the real command: it executes whatever executes us."""
    command = Path(__file__).parents[2] / "scripts/minirun-oci"
    own = Path(sys.executable).resolve()
    before = digest(own)
    (bundle.rootfs / "script").write_text("#!/proc/self/exe\n")
    (bundle.rootfs / "script").chmod(0o755)
    bundle.run("/proc/self/exe" if how == "entrypoint" else "/script")
    (bundle.path / "config.json").write_text(json.dumps(bundle.config))

    done = subprocess.run(
        [command, "--root", bundle.state_root, "run", "--bundle", bundle.path, "sealed"],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip

    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    assert digest(own) == before
