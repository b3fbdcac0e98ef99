"""What counts as a test that runs nowhere, judged from two reports."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.vm.skips import never_run, summary

RAN = '<testcase classname="a" name="{name}" time="1"/>'
SKIPPED = (
    '<testcase classname="a" name="{name}"><skipped message="missing feature: {why}"/></testcase>'
)
FAILED = '<testcase classname="a" name="{name}"><failure message="no"/></testcase>'


def report(folder: Path, name: str, *cases: str) -> Path:
    path = folder / f"{name}.xml"
    path.write_text(f"<testsuites><testsuite>{''.join(cases)}</testsuite></testsuites>")
    return path


def test_what_is_skipped_here_and_run_there_is_no_hole(tmp_path: Path) -> None:
    here = report(tmp_path, "here", SKIPPED.format(name="t", why="cgroup2"))
    there = report(tmp_path, "there", RAN.format(name="t"))
    assert never_run(here, [there]) == 0


@pytest.mark.parametrize("there", [(), (SKIPPED.format(name="t", why="cgroup2"),)])
def test_what_runs_nowhere_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], there: tuple[str, ...]
) -> None:
    here = report(tmp_path, "here", SKIPPED.format(name="t", why="cgroup2"))
    assert never_run(here, [report(tmp_path, "there", *there)]) == 1
    assert "runs on neither machine: a::t: missing feature: cgroup2" in capsys.readouterr().out


def test_absent_hardware_is_no_hole(tmp_path: Path) -> None:
    here = report(tmp_path, "here", SKIPPED.format(name="t", why="kvm: no usable /dev/kvm"))
    assert never_run(here, []) == 0


def test_summary_counts_all_reports(tmp_path: Path) -> None:
    one = report(tmp_path, "one", RAN.format(name="t"), FAILED.format(name="u"))
    two = report(tmp_path, "two", SKIPPED.format(name="w", why="x"), RAN.format(name="v"))
    assert summary([one, two]) == "2 passed, 1 skipped, 1 failed"


def test_summary_believes_the_second_time(tmp_path: Path) -> None:
    first = report(tmp_path, "report-1", FAILED.format(name="t"))
    second = report(tmp_path, "report-1-again", RAN.format(name="t"))
    assert summary([first, second]) == "1 passed, 0 skipped, 0 failed, 1 of them run twice"
