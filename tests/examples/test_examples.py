"""The ladder: each rung does on this machine what its ``# expect:`` lines promise."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RUNGS = sorted((ROOT / "examples").glob("[0-9][0-9]_*.py"))
HEADINGS = ("Idea:", "Run:", "Look:", "Break it:", "Real world:", "man:")
#: What a rung needs beyond a user namespace.
NEEDS = {
    "01": (),
    "07": ("userns", "overlay"),
    "08": ("root", "cgroups"),
    "11": ("seccomp",),
    "12": ("userns", "overlay", "busybox", "seccomp"),
}
EXPECT = re.compile(r"^ *# expect: (.*)$", re.MULTILINE)


def _marked() -> list[object]:
    """Return each rung with the features that it needs."""
    return [
        pytest.param(
            rung, id=rung.stem, marks=pytest.mark.requires(*NEEDS.get(rung.name[:2], ("userns",)))
        )
        for rung in RUNGS
    ]


def _run(rung: Path, *argv: str) -> subprocess.CompletedProcess[str]:
    # 02 wants to be lent root's part of a namespace, as its docstring says.
    lend = ["unshare", "--user", "--map-root-user"] if rung.name.startswith("02") else []
    return subprocess.run(
        [*lend, sys.executable, str(rung), *argv],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def _pattern(expected: str) -> str:
    """Return an expected line as a regular expression: … stands for what differs by machine."""
    return ".*".join(map(re.escape, expected.split("…")))


@pytest.mark.parametrize("rung", _marked())
def test_rung_prints_what_it_expects(rung: Path) -> None:
    done = _run(rung)
    expected = EXPECT.findall(rung.read_text())
    lines = done.stdout.splitlines()
    assert done.returncode == 0, done.stderr
    assert len(lines) == len(expected), done.stdout + done.stderr
    for line, wanted in zip(lines, expected, strict=True):
        assert re.fullmatch(_pattern(wanted), line)


@pytest.mark.requires("userns", "overlay", "busybox", "seccomp")
def test_container_without_a_step_shows_what_it_was_for() -> None:
    rung = next(rung for rung in RUNGS if rung.name.startswith("12"))
    assert "box" not in _run(rung, "sethostname").stdout.splitlines()


def test_process_of_a_missing_program_ends_with_127() -> None:
    assert "ended with 127" in _run(RUNGS[0], "/no/such/program").stdout


def test_ladder_has_twelve_rungs() -> None:
    assert [rung.name[:2] for rung in RUNGS] == [f"{number:02}" for number in range(1, 13)]


@pytest.mark.parametrize("rung", RUNGS, ids=lambda rung: rung.stem)
def test_rung_is_short_and_teaches(rung: Path) -> None:
    text = rung.read_text()
    assert len(text.splitlines()) <= 70
    assert not [word for word in HEADINGS if f"\n{word}" not in text]


def test_nothing_is_copied_between_rungs() -> None:
    """Three equal lines in a row, imports aside, belong into ``stage.py`` or into minirun."""
    seen: dict[tuple[str, ...], str] = {}
    for rung in RUNGS:
        body = rung.read_text().rpartition("import ")[2].splitlines()
        lines = [line.strip() for line in body if line.strip()]
        for three in zip(lines, lines[1:], lines[2:], strict=False):
            assert seen.setdefault(three, rung.name) == rung.name, three
