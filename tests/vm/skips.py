"""What the machine's JUnit reports say: how many tests ran there, and which run nowhere.

A test that needs cgroup v1 runs on one machine, a test that needs cgroup v2 on the other. What both
leave out is a hole, unless it asks for hardware.
"""

from __future__ import annotations

import collections
from pathlib import Path
from xml.etree import ElementTree

#: Skips that no machine of ours can undo.
HARDWARE = ("missing feature: kvm", "hardware")
_BAD = ("failure", "error")


def summary(reports: list[Path]) -> str:
    """Return one line that counts what happened to the tests; a later report has the last word."""
    cases = [case for report in reports for case in ElementTree.parse(report).iter("testcase")]
    outcomes = {_name(case): _outcome(case) for case in cases}
    counted = collections.Counter(outcomes.values())
    again = (
        f", {len(cases) - len(outcomes)} of them run twice" if len(cases) > len(outcomes) else ""
    )
    return ", ".join(f"{counted[word]} {word}" for word in ("passed", "skipped", "failed")) + again


def never_run(here: Path, there: list[Path]) -> int:
    """Print the tests that no machine has run; return 1 if there is any."""
    skipped = _skipped(here)
    elsewhere = {test for report in there for test in _run(report)}
    holes = [test for test in skipped if test not in elsewhere]
    for test in holes:
        print(f"runs on neither machine: {test}: {skipped[test]}")
    print(f"skipped here: {len(skipped)}, of those run in the machine: {len(skipped) - len(holes)}")
    return 1 if holes else 0


def _outcome(case: ElementTree.Element) -> str:
    """Return what happened."""
    if any(case.find(word) is not None for word in _BAD):
        return "failed"
    return "passed" if case.find("skipped") is None else "skipped"


def _name(case: ElementTree.Element) -> str:
    return f"{case.get('classname')}::{case.get('name')}"


def _skipped(report: Path) -> dict[str, str]:
    """Return {test: why} of what was skipped, hardware left out."""
    found = {}
    for case in ElementTree.parse(report).iter("testcase"):
        skip = case.find("skipped")
        why = "" if skip is None else skip.get("message", "")
        if skip is not None and not any(word in why for word in HARDWARE):
            found[_name(case)] = why
    return found


def _run(report: Path) -> set[str]:
    """Return the tests that were not skipped."""
    cases = ElementTree.parse(report).iter("testcase")
    return {_name(case) for case in cases if _outcome(case) != "skipped"}
