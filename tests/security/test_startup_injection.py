"""P2: who calls the runtime chooses its working directory and environment, not its code.

Mechanism: engines run ``minirun-oci`` in the bundle, with whatever environment they have, or none.
Python looks for modules in the working directory and in PYTHONPATH, and runs ``usercustomize`` and
``sitecustomize`` from site-packages: a bundle with a ``json.py`` would be the runtime.

Defence: ``scripts/minirun-oci`` names the interpreter by an absolute path and isolates it (-I -S),
and so does the sealed copy (``seal.py``, ISOLATED). The replay runs the same interpreter with and
without that.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
COMMAND = str(ROOT / "scripts/minirun-oci")
TRAPS = ("json", "decimal", "sitecustomize", "usercustomize", "minirun/__init__", "_json", "fcntl")


@pytest.fixture
def trapped(tmp_path: Path) -> Path:
    """Return a directory full of modules that leave a mark when they are imported."""
    for name in TRAPS:
        file = tmp_path / f"{name}.py"
        file.parent.mkdir(exist_ok=True)
        file.write_text(f"open({str(tmp_path / 'pwned')!r}, 'w').write(__name__)\n")
    return tmp_path


def environment(trapped: Path) -> dict[str, str]:
    return {
        "PYTHONPATH": str(trapped),
        "PYTHONSTARTUP": str(trapped / "json.py"),
        "PYTHONHOME": "",
        "PYTHONUSERBASE": str(trapped),
        "PYTHONINSPECT": "1",
        "PYTHONBREAKPOINT": "json.pwn",
        "LC_ALL": "xx_XX.ISO-8859-1",
        "HOME": str(trapped),
        "PATH": str(trapped),
    }


def run(argv: list[str], cwd: Path, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        argv, cwd=cwd, env=env, check=False, capture_output=True, text=True, timeout=120
    )


def test_weak_interpreter_runs_the_callers_code(trapped: Path) -> None:
    argv = [sys.executable, "-m", "minirun.oci_cli", "--version"]
    run(argv, trapped, environment(trapped))

    assert (trapped / "pwned").exists()


@pytest.mark.parametrize("verb", ["--version", "features", "state", "list"])
@pytest.mark.parametrize("hostile", [True, False])
def test_runtime_runs_its_own_code_alone(trapped: Path, verb: str, hostile: bool) -> None:
    """With every variable that Python knows, and with none: podman gives no PATH and no HOME."""
    env = environment(trapped) if hostile else {}
    argv = [COMMAND, *(["--root", str(trapped / "run")] if verb != "--version" else []), verb]
    argv += ["missing"] if verb == "state" else []

    done = run(argv, trapped, env)

    assert not (trapped / "pwned").exists()
    assert "Traceback" not in done.stderr
    assert done.returncode == (verb == "state"), done


@pytest.mark.requires("root", "busybox")
def test_create_in_a_trapped_bundle_runs_its_own_code_alone(trapped: Path) -> None:
    """The whole way to a bad config, in the bundle as conmon does it."""
    (trapped / "config.json").write_text("{]")
    argv = [COMMAND, "--root", str(trapped / "run"), "create", "trapped"]

    done = run(argv, trapped, environment(trapped))

    assert not (trapped / "pwned").exists()
    assert done.returncode == 1
    assert "invalid JSON" in done.stderr
    assert not os.path.exists(trapped / "run/trapped")
