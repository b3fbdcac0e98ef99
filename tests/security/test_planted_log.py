"""CVE-2026-53489: the log is a link.

Mechanism: a checkpoint brings files along, and one has the name of the log that the engine will
write: a link to a file of the host. What the container says is appended there, by root.

Defence: ``container/logs.py`` and ``container/follow.py`` open no log through a link (O_NOFOLLOW).
criu does open its own through one, so ``oci/criu.py`` removes what stands in its way.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from minirun.container.follow import Follower
from minirun.container.logs import LogWriter
from minirun.errors import HostError
from minirun.oci import criu

#: Writes its log as criu does: whatever is there is opened, emptied and written to.
FAKE_CRIU = """#!/bin/sh
while [ $# -gt 0 ]; do [ "$1" = --log-file ] && log=$2; shift; done
echo pwned >"$log"; echo pwned >"${log%/*}/stats-restore"
"""


@pytest.fixture
def planted(tmp_path: Path) -> Callable[[str], Path]:
    """Return what plants a link to the canary."""
    (tmp_path / "canary").write_text("the host's own\n")

    def plant(name: str) -> Path:
        link = tmp_path / name
        link.symlink_to("canary")
        return link

    return plant


def canary(link: Path) -> str:
    return (link.parent / "canary").read_text()


@pytest.mark.parametrize("weak", [True, False])
def test_log_is_not_written_through_a_link(
    planted: Callable[[str], Path], weak: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = planted("web-json.log")
    if weak:
        monkeypatch.setattr(os, "O_NOFOLLOW", 0)
        log = LogWriter(str(link))
        log.write("stdout", b"pwned\n")
        log.close()
    else:
        with pytest.raises(HostError, match=r"web-json\.log"):
            LogWriter(str(link))

    assert ("pwned" in canary(link)) == weak


@pytest.mark.parametrize("weak", [True, False])
def test_log_is_not_read_through_a_link(
    planted: Callable[[str], Path], weak: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = planted("web-json.log")
    if weak:
        monkeypatch.setattr(os, "O_NOFOLLOW", 0)

    assert list(Follower(str(link)).lines()) == ([b"the host's own"] if weak else [])


@pytest.mark.parametrize("weak", [True, False])
@pytest.mark.parametrize("name", ["restore.log", "stats-restore"])
def test_criu_does_not_write_through_a_link(
    planted: Callable[[str], Path],
    tmp_path: Path,
    name: str,
    weak: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    link = planted(name)
    program = tmp_path / "criu"
    program.write_text(FAKE_CRIU)
    program.chmod(0o755)
    if weak:
        monkeypatch.setattr(criu, "_make_way", lambda *_: None)

    criu.run(str(program), ["restore"], str(tmp_path / "restore.log"))

    assert (canary(link) == "pwned\n") == weak
    assert link.read_text() == "pwned\n"
