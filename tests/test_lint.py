"""The linters, as tests: one command tells the truth about the source."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    "command",
    [
        pytest.param("ruff check .", marks=pytest.mark.requires("ruff")),
        pytest.param("ruff format --check .", marks=pytest.mark.requires("ruff")),
        pytest.param("mypy", marks=pytest.mark.requires("mypy")),
    ],
)
def test_lint(command: str) -> None:
    """What `make lint` runs; in CI, or with MINIRUN_REQUIRE=ruff,mypy, these are never skipped."""
    argv = [sys.executable, "-m", *command.split()]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.fail(f"{command}\n{done.stdout}{done.stderr}", pytrace=False)
