"""The harness itself: a skip is never silent, and a leak never passes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.features import FEATURES, missing

HARNESS = Path(__file__).parent / "conftest.py"


def run_pytest(folder: Path, source: str, **environment: str) -> str:
    """Run one test file under this harness, in a process of its own; return what it printed."""
    (folder / "conftest.py").write_text(HARNESS.read_text())
    (folder / "test_sample.py").write_text("import os, subprocess, pytest\n" + source)
    inherited = {k: v for k, v in os.environ.items() if k not in {"CI", "MINIRUN_REQUIRE"}}
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-p",
            "no:cacheprovider",
            "-c",
            "/dev/null",
            "--rootdir",
            str(folder),
            "--import-mode=importlib",
            "-rs",
            str(folder),
        ],
        cwd=HARNESS.parents[1],
        env=inherited | {"MINIRUN_LEAK_GRACE_S": "0.2"} | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout + done.stderr


# There always is one: the memory controller is in cgroup v1 or in cgroup v2, never in both.
ABSENT = next(name for name in sorted(FEATURES) if missing(name))
NEEDS_ABSENT = f"@pytest.mark.requires({ABSENT!r})\ndef test_it(): pass\n"


def test_requires_names_the_missing_feature(tmp_path: Path) -> None:
    assert f"missing feature: {ABSENT}: " in run_pytest(tmp_path, NEEDS_ABSENT)


def test_minirun_require_turns_the_skip_into_a_failure(tmp_path: Path) -> None:
    said = run_pytest(tmp_path, NEEDS_ABSENT, MINIRUN_REQUIRE=ABSENT)
    assert f"required feature is missing: {ABSENT}: " in said
    assert "1 error" in said


def test_minirun_require_refuses_an_unknown_feature(tmp_path: Path) -> None:
    said = run_pytest(tmp_path, "def test_it(): pass\n", MINIRUN_REQUIRE="userns,levitation")
    assert "no such feature: levitation" in said


def test_ci_fails_a_skip_that_names_no_feature(tmp_path: Path) -> None:
    skips = "def test_it(): pytest.skip('not today')\n"
    assert "1 skipped" in run_pytest(tmp_path, skips)
    assert "skipped in CI without a missing feature" in run_pytest(tmp_path, skips, CI="true")


@pytest.mark.parametrize(
    ("leak", "named"),
    [
        ("child = subprocess.Popen(['sleep', '2'])", "child "),
        ("open(os.environ['MINIRUN_ROOT'] + '/abc', 'w').close()", "state abc"),
    ],
    ids=["child", "state"],
)
def test_witness_fails_a_test_that_leaks(tmp_path: Path, leak: str, named: str) -> None:
    said = run_pytest(tmp_path, f"def test_it(): {leak}\n")
    assert "this test leaked:" in said
    assert named in said
