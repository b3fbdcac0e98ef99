"""The commands in .venv/bin, as scripts/entries.py writes them: never a traceback."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WRITER = ROOT / "scripts" / "entries.py"
COMMANDS = ("minirun", "minirun-oci", "minisched")


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the bin of a virtual environment whose path has everything that a shebang dislikes."""
    folder = tmp_path_factory.mktemp("it's") / r"a \c $HOME #1"
    venv.create(folder, symlinks=True)
    subprocess.run([folder / "bin/python", WRITER], check=True)
    return folder / "bin"


def run(*argv: str | Path, pending: bool = False) -> subprocess.CompletedProcess[str]:
    """Run a command; Ctrl-C may have been pressed before its first instruction."""

    def press() -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        os.kill(os.getpid(), signal.SIGINT)

    return subprocess.run(
        argv, capture_output=True, text=True, check=False, timeout=60,
        preexec_fn=press if pending else None,
    )  # fmt: skip


def test_entries_work_at_an_odd_path(odd: Path) -> None:
    assert run(odd / "minirun-oci", "--version").stdout.startswith("minirun-oci version ")


@pytest.mark.parametrize("name", COMMANDS)
def test_entries_start_with_ctrl_c_blocked(odd: Path, tmp_path: Path, name: str) -> None:
    first = (odd / name).read_text().partition("\n")[0]
    shown = tmp_path / "shown"
    shown.write_text(f"{first}\nimport sys\nprint(open('/proc/self/status').read(), sys.flags)\n")
    shown.chmod(0o755)
    said = run(shown).stdout
    (blocked,) = (line.split()[1] for line in said.splitlines() if line.startswith("SigBlk:"))
    assert int(blocked, 16) == 1 << signal.SIGINT - 1
    assert "isolated=1" in said
    assert "no_site=1" in said


@pytest.mark.parametrize("name", COMMANDS)
def test_ctrl_c_before_the_first_line_ends_the_command(name: str) -> None:
    done = run(Path(sys.executable).with_name(name), "--version", pending=True)
    assert done.returncode in (-signal.SIGINT, 130)
    assert "Traceback" not in done.stderr


def test_ctrl_c_before_a_sealed_interpreter_runs_ends_it() -> None:
    """What if it comes between the first start of Python and the second?"""
    done = run(sys.executable, "-IS", ROOT / "minirun/oci_boot.py", "run", "x", pending=True)
    assert (done.returncode, done.stderr) == (130, "minirun-oci: interrupted\n")
