"""Descriptors, terminals, and surroundings that are not to be trusted."""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
import termios
from pathlib import Path

import pytest

from tests.integration.oci_lab import MINIRUN, ROOT, Receiver, Runtime, wait_for_end

pytestmark = pytest.mark.requires("root", "busybox", "cgroups")


def test_console_socket_gets_the_terminal(oci: Runtime, tmp_path: Path) -> None:
    oci.config(args=["sh", "-c", "tty; stty size; read line"], terminal=True,
               consoleSize={"height": 11, "width": 77})  # fmt: skip
    receiver = Receiver(tmp_path / "s")
    pidfds = Receiver(tmp_path / "p")
    oci.quiet("create", "--console-socket", receiver.path, "--pidfd-socket", pidfds.path, "web")
    name, master = receiver.receive()
    _, pidfd = pidfds.receive()
    assert name
    oci.quiet("start", "web")
    shown = b""
    while shown.count(b"\n") < 2:
        shown += os.read(master, 4096)
    assert shown.decode().split() == ["/dev/pts/0", "11", "77"]
    signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    wait_for_end(pidfd)
    os.close(master)


def test_preserved_descriptors_arrive_and_no_others(oci: Runtime) -> None:
    oci.config(args=["sh", "-c", "echo $LISTEN_FDS $LISTEN_PID; cat <&3; ls /proc/self/fd"])
    kept, other = os.pipe(), os.open("/", os.O_RDONLY)
    os.write(kept[1], b"kept\n")
    os.close(kept[1])

    def place() -> None:
        os.dup2(kept[0], 3, inheritable=True)
        os.dup2(other, 7, inheritable=True)

    argv = [*oci.argv, "run", "--preserve-fds", "0", "web"]
    done = subprocess.run(
        argv, cwd=oci.bundle, preexec_fn=place, close_fds=False, capture_output=True, text=True,
        env={"LISTEN_FDS": "1"}, check=True,
    )  # fmt: skip
    os.close(kept[0])
    os.close(other)
    # ls itself holds one more: the directory that it lists.
    assert done.stdout.split() == ["1", "1", "kept", "0", "1", "2", "3", "4"]


def test_neither_directory_nor_environment_choose_what_is_imported(oci: Runtime) -> None:
    for name in ("json.py", "os.py", "usercustomize.py", "sitecustomize.py", "_json.py"):
        (oci.bundle / name).write_text("raise SystemExit('hostile')")
    environment = {"PYTHONPATH": str(oci.bundle), "PYTHONSTARTUP": str(oci.bundle / "json.py")}
    for env in ({}, environment, {"PYTHONHOME": str(oci.bundle)}):
        assert oci.run("run", "once", env=env).returncode == 0
    for file in oci.bundle.glob("*.py"):
        file.unlink()


def test_a_path_with_spaces(oci: Runtime, tmp_path: Path) -> None:
    checkout = tmp_path / "a b"
    (checkout / "scripts").mkdir(parents=True)
    shutil.copy(MINIRUN, checkout / "scripts")
    for name in ("minirun", ".venv"):
        (checkout / name).symlink_to(ROOT / name)
    other = Runtime(tmp_path / "s t", oci.bundle, checkout / "scripts" / "minirun-oci")
    assert other.run("run", "once").returncode == 0


def test_the_interpreter_is_sealed(oci: Runtime) -> None:
    """What if the image's program is the runtime itself (CVE-2019-5736)."""
    oci.config(args=["sleep", "1000"])
    oci.create("web")
    exe = f"/proc/{oci.pid('web')}/exe"
    assert os.readlink(exe).startswith("/memfd:minirun")
    with pytest.raises(OSError, match=r"Errno (1|26)\b"):  # EPERM, ETXTBSY
        os.open(exe, os.O_WRONLY)
    oci.config(args=["/proc/self/exe"])
    assert oci.run("run", "attack").returncode != 0


def test_foreground_terminal_is_relayed(oci: Runtime) -> None:
    """Typing, the window's size and its change, Ctrl-C and the exit code, through two terminals."""
    script = "tty; stty size; trap 'stty size' WINCH; trap 'echo int; exit 3' INT; "
    oci.config(args=["sh", "-c", script + "while :; do read line; echo \"<$line>\"; done"],
               terminal=True)  # fmt: skip
    master, slave = os.openpty()
    termios.tcsetwinsize(slave, (20, 70))
    process = subprocess.Popen(
        [*oci.argv, "run", "web"], cwd=oci.bundle, stdin=slave, stdout=slave, stderr=slave,
        start_new_session=True,
    )  # fmt: skip
    os.close(slave)

    def expect(text: bytes) -> None:
        shown = b""
        while text not in shown:
            assert select.select([master], [], [], 60)[0], shown
            shown += os.read(master, 4096)

    try:
        expect(b"/dev/pts/0\r\n20 70\r\n")
        os.write(master, b"typed\r")
        expect(b"<typed>")
        termios.tcsetwinsize(master, (30, 90))
        process.send_signal(signal.SIGWINCH)
        os.write(master, b"\r")
        expect(b"30 90")
        os.write(master, b"\x03")
        expect(b"int")
        assert process.wait(timeout=60) == 3
    finally:
        process.kill()
        process.wait()
        os.close(master)
