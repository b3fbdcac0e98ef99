"""``make demo``, the first thing that anybody runs: a model image, built, run and asked."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.integration.cli_lab import fresh

ROOT = Path(__file__).parents[2]


@pytest.mark.requires("root", "overlay", "net_admin", "nftables", "busybox")
def test_demo_ends_with_predictions_and_what_to_try_next() -> None:
    with fresh() as cli:
        done = subprocess.run(
            ["sh", ROOT / "scripts/demo"],
            capture_output=True, text=True, check=False, timeout=600, cwd="/",
            env=os.environ | cli.environment,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        labels = re.findall(r'^\{"label":"(\w+)"', done.stdout, re.MULTILINE)
        assert labels == ["setosa", "versicolor", "virginica"]
        assert cli.left() == []
        following = done.stdout.partition("Try next:")[2]
        assert re.findall(r"^  (\S+ \S+)", following, re.MULTILINE)[-1] == "make test"
        # What it says to try is there, and the first of it needs neither root nor an image.
        assert ".venv/bin/minirun explain images/iris " in following
        assert "execve" in cli("explain", str(ROOT / "images/iris")).out
