"""An ordinary user who exists for one test: a uid, ranges of ids, a home, and nothing else.

The machine's own /etc is not touched. A holder process has a mount namespace in which /etc/passwd,
/etc/subuid and /etc/subgid are copies that know the user; every command of the user joins it.
Interpreter and checkout may lie in a directory that is closed to others, such as /root: the holder
covers that with an empty one in which just these two are seen.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from minirun import kernel
from minirun.flags import Clone, Mount, Umount
from tests.integration.oci_lab import MINIRUN, ROOT, make_bundle

UID = 61357
FIRST, COUNT = 700000, 65536
NAME = "minirun-guest"
_COMMAND = str(ROOT / ".venv" / "bin" / "minirun")


class User:
    """Runs commands as an ordinary user.

    Args:
        home: a directory that becomes his.
        ranges: lines of /etc/subuid and /etc/subgid for him; "" grants none.
        over: {path on the host: the text that he finds there instead}.
    """

    def __init__(
        self, home: Path, ranges: str = f"{FIRST}:{COUNT}", over: dict[str, str] | None = None
    ) -> None:
        self.home = home
        self.environment = {
            "HOME": str(home),
            "XDG_RUNTIME_DIR": str(home / "runtime"),
            "PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
            "USER": NAME,
            "MINIRUN_NO_COLOR": "1",
        }
        for folder in (home, home / "runtime"):
            folder.mkdir(mode=0o700, exist_ok=True)
            os.chown(folder, UID, UID)
        self._holder = subprocess.Popen(
            [sys.executable, "-m", "tests.integration.rootless_lab"],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self._holder.stdin is not None
        assert self._holder.stdout is not None
        granted = f"{NAME}:{ranges}\n" if ranges else ""
        self._holder.stdin.write(json.dumps({"ranges": granted, "over": over or {}}) + "\n")
        self._holder.stdin.flush()
        assert self._holder.stdout.readline() == "ready\n"

    def run(
        self,
        *words: str | Path,
        group: Path | None = None,
        **options: Any,  # noqa: ANN401 - passed through to subprocess
    ) -> subprocess.CompletedProcess[str]:
        """Run a command, in a control group or where we are, and return how it ended."""
        options = {"env": self.environment, "timeout": 60, "capture_output": True, **options}
        join = ("sh", "-c", 'echo $$ > "$0/cgroup.procs" && exec "$@"', str(group))
        argv = [
            *(join if group else ()),
            *("nsenter", f"--target={self._holder.pid}", "--mount", f"--wdns={self.home}"),
            *("setpriv", f"--reuid={UID}", f"--regid={UID}", "--clear-groups"),
            *map(str, words),
        ]
        return subprocess.run(argv, text=True, check=False, **options)

    def minirun(self, *words: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:  # noqa: ANN401 - as above
        """Run ``minirun``."""
        return self.run(_COMMAND, *words, **options)

    def keeper(self) -> int:
        """Return the pid of whoever keeps the user's namespace."""
        note = self.home / "runtime" / "minirun" / ".keeper"
        return int(json.loads(note.read_text())["pid"])

    def close(self) -> None:
        """End the keeper and the holder; the user's containers are the test's business."""
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            os.kill(self.keeper(), signal.SIGKILL)
        self._holder.communicate()


class Bundle:
    """A bundle of this user, and ``minirun-oci`` run by him."""

    def __init__(self, user: User) -> None:
        self.user = user
        self.path = make_bundle(user.home / "bundle")
        self.give(self.path)

    def give(self, top: Path) -> None:
        """Make a tree the user's own."""
        subprocess.run(["chown", "-Rh", f"{UID}:{UID}", str(top)], check=True)

    def oci(self, *words: str, **options: Any) -> subprocess.CompletedProcess[str]:  # noqa: ANN401 - passed through to subprocess
        """Run one command of the runtime in the bundle."""
        shell = 'cd bundle && exec "$0" "$@"'
        return self.user.run("sh", "-c", shell, MINIRUN, *words, **options)

    def config(self, *args: str, linux: dict[str, Any] | None = None, **process: Any) -> None:  # noqa: ANN401 - any property of config.json
        """Write the default config.json of an ordinary user, with some properties changed."""
        path = self.path / "config.json"
        path.unlink(missing_ok=True)
        done = self.oci("spec", "--rootless")
        assert done.returncode == 0, done.stderr
        held = json.loads(path.read_text())
        held["process"] |= {"terminal": False, "args": args, **process}
        held["linux"] |= linux or {}
        path.write_text(json.dumps(held))

    def delete_all(self) -> None:
        """Leave nothing behind."""
        for name in self.oci("list", "--quiet").stdout.split():
            self.oci("delete", "--force", name)


def make_home() -> Path:
    """Return a directory that others may pass through; pytest's own are closed to them."""
    home = Path(tempfile.mkdtemp(prefix="minirun-user-"))
    home.chmod(0o711)
    return home / "home"


def remove_home(home: Path) -> None:
    """Remove it, whoever owns what is in it."""
    shutil.rmtree(home.parent)


# ── the holder ────────────────────────────────────────────────────────────────────────────────


def main() -> None:
    """Show the user's files in a mount namespace of our own, until our input ends."""
    asked = json.loads(sys.stdin.readline())
    kernel.unshare(Clone.CLONE_NEWNS)
    kernel.mount(None, "/", None, Mount.MS_PRIVATE | Mount.MS_REC, None)
    folder = Path(tempfile.mkdtemp(prefix="minirun-etc-"))
    kernel.mount("none", str(folder), "tmpfs", Mount(0), "mode=755")
    entries = {
        "/etc/passwd": f"{Path('/etc/passwd').read_text()}{NAME}:x:{UID}:{UID}::/:/bin/sh\n",
        "/etc/group": f"{Path('/etc/group').read_text()}{NAME}:x:{UID}:\n",
        "/etc/subuid": asked["ranges"],
        "/etc/subgid": asked["ranges"],
        **asked["over"],
    }
    for number, (target, text) in enumerate(entries.items()):
        copy = folder / str(number)
        copy.write_text(text)
        kernel.mount(str(copy), target, None, Mount.MS_BIND, None)
    _open_tun(folder)
    _open_up((Path(sys.base_prefix), ROOT), folder)
    print("ready", flush=True)
    sys.stdin.read()
    kernel.umount2(str(folder), Umount.MNT_DETACH)
    folder.rmdir()


def _open_tun(folder: Path) -> None:
    """Let everybody open /dev/net/tun, as udev does on a common host."""
    node = folder / "tun"
    os.mknod(node, stat.S_IFCHR | 0o666, os.makedev(10, 200))
    node.chmod(0o666)
    if Path("/dev/net/tun").exists():
        kernel.mount(str(node), "/dev/net/tun", None, Mount.MS_BIND, None)


def _open_up(needed: tuple[Path, ...], folder: Path) -> None:
    """Cover each closed directory on the way with one in which only what is needed is seen."""
    for closed in {top for path in needed if (top := _first_closed(path))}:
        inside = [path for path in needed if path.is_relative_to(closed)]
        for number, path in enumerate(inside):
            place = folder / f"kept{number}"
            place.mkdir()
            kernel.mount(str(path), str(place), None, Mount.MS_BIND | Mount.MS_REC, None)
        kernel.mount("none", str(closed), "tmpfs", Mount(0), "mode=755")
        for number, path in enumerate(inside):
            path.mkdir(parents=True)
            kernel.mount(str(folder / f"kept{number}"), str(path), None, Mount.MS_MOVE, None)


def _first_closed(path: Path) -> Path | None:
    for parent in reversed(path.parents):
        if not parent.stat().st_mode & 0o001:
            return parent
    return None


if __name__ == "__main__":
    main()
