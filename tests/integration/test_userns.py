"""``--userns auto``: root inside is an ordinary user outside, and nothing is missing inside."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from minirun.container.mounts import MountRequest
from minirun.errors import UsageError
from tests.integration.engine_lab import Engine, hear

pytestmark = pytest.mark.requires("root", "overlay", "userns", "seccomp", "busybox")


def test_root_is_somebody_else_outside(engine: Engine) -> None:
    text = engine.sh("id -u; cat /proc/self/uid_map /proc/self/gid_map", userns="auto").text
    assert text.split() == ["0", *("0", "100000", "65536") * 2]
    record = engine.detached("sleep", "1000", userns="auto")
    status = Path(f"/proc/{engine.state(record).pid}/status").read_text()
    assert "Uid:\t100000\t100000\t100000\t100000" in status


def test_image_belongs_to_root_inside_and_can_be_changed(engine: Engine) -> None:
    script = "stat -c %u:%g /bin/busybox /etc; touch /etc/new /root/x && chown 5:6 /etc/new"
    heard = engine.sh(f"{script} && stat -c %u:%g /etc/new", userns="auto")
    assert heard.text.split() == ["0:0", "0:0", "5:6"]
    assert not (engine.rootfs / "etc/new").exists()


def test_kernel_file_systems_and_devices_are_there(engine: Engine) -> None:
    script = (
        "echo x > /dev/null; head -c 4 /dev/zero | wc -c; ls /sys/fs/cgroup | wc -l; ls /dev/pts"
    )
    text = engine.sh(script, userns="auto").text
    assert text.split()[0] == "4"
    assert int(text.split()[1]) > 0


def test_volume_is_the_container_s_own_and_a_bind_is_not(engine: Engine, tmp_path: Path) -> None:
    """As with docker: a bind shows the host's owners, and they have their say."""
    tmp_path.chmod(0o755)
    (tmp_path / "secret").write_text("x")
    (tmp_path / "secret").chmod(0o600)
    mounts = (
        MountRequest("bind", "/bind", source=str(tmp_path)),
        MountRequest("volume", "/volume"),
    )
    script = "touch /volume/new; stat -c %u /volume/new; cat /bind/secret; touch /bind/new; :"
    record = engine.create("sh", "-c", script, userns="auto", mounts=mounts)
    heard = hear(engine.start(record), started=True)
    assert heard.out == b"0\n"
    assert heard.err.count(b"Permission denied") == 2
    volume = Path(engine.home.volumes.path(engine.read(record).anonymous[0]))
    assert (volume / "new").stat().st_uid == 0
    assert os.listdir(tmp_path) == ["secret"]


def test_terminal_works(engine: Engine) -> None:
    heard = engine.sh("tty; stat -c %u /dev/console", userns="auto", tty=True)
    assert heard.text.split() == ["/dev/pts/0", "0"]


@pytest.mark.parametrize(
    "options",
    [{"mode": "host"}, {"pid": "host"}, {"ipc": "host"}, {"uts": "host"}, {"privileged": True}],
    ids=lambda options: next(iter(options)),
)
def test_sharing_the_host_s_namespaces_is_refused(engine: Engine, options: dict[str, str]) -> None:
    before = set(engine.home.containers.ids())
    with pytest.raises(UsageError, match="user namespaces") as caught:
        engine.create("true", userns="auto", **options)
    assert caught.value.hint
    assert set(engine.home.containers.ids()) == before
