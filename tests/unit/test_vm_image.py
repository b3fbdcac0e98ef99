"""A command of the image's build takes along what it started and mounted, however it ends."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.vm import image

pytestmark = pytest.mark.requires("root")
#: Mounts something, says so, and leaves a process behind that keeps what it has opened.
LINGER = 'mount -t tmpfs none "$1" && echo mounted && setsid sleep 600'


def test_what_takes_too_long_ends_with_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(image, "STEP_S", 1)
    with pytest.raises(SystemExit, match="building the image: sh took more than 1 s\nhint: "):
        image._command(["sh", "-c", LINGER, "sh", str(tmp_path)])
    assert capfd.readouterr().err == "mounted\n\n"
    assert not tmp_path.is_mount()


def test_a_killed_build_leaves_no_mount_and_no_process(tmp_path: Path) -> None:
    mounted, said = tmp_path / "mounted", tmp_path / "said"
    mounted.mkdir()
    os.mkfifo(said)
    builder = os.fork()
    if builder == 0:
        image._command(["sh", "-c", f'exec >"$2"; {LINGER}', "sh", str(mounted), str(said)])
        os._exit(1)
    with said.open() as heard:
        assert heard.readline() == "mounted\n"
        os.kill(builder, signal.SIGKILL)
        os.waitpid(builder, 0)
        assert heard.read() == ""  # comes when the last process in there is gone
    assert not mounted.is_mount()
