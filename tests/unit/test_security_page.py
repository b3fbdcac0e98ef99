"""docs/security.md names every replay, and no file that does not exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/security.md").read_text()
FOLDER = ROOT / "tests/security"
REPLAYS = sorted(set(re.findall(r"`(test_\w+\.py)` \|$", PAGE, re.MULTILINE)))
CVE = re.compile(r"CVE-\d{4}-\d+")


def test_every_file_is_on_the_page_and_no_other() -> None:
    told = set(re.findall(r"`(test_\w+\.py)`", PAGE))
    assert told == {file.name for file in FOLDER.glob("test_*.py")}


def test_paths_on_the_page_exist() -> None:
    paths = re.findall(r"`((?:minirun|tests)/[\w/]+\.py)", PAGE)
    assert [path for path in paths if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("name", REPLAYS)
def test_replay_has_a_weak_half(name: str) -> None:
    """Not proof, which is the replay's own affair: a reminder to write that half."""
    source = (FOLDER / name).read_text()
    assert re.search(r"def test_(weak|trusting)_|parametrize\(\"weak\"", source)


def test_attacks_that_the_replays_name_are_on_the_page() -> None:
    named = {cve for file in FOLDER.glob("test_*.py") for cve in CVE.findall(file.read_text())}
    assert sorted(named - set(CVE.findall(PAGE))) == []
