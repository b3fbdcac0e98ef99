"""One HAProxy process: started, found again by a later controller, replaced, ended.

It outlives whoever started it, and is nobody's child: it goes into the background by itself when it
listens, and writes down its pid. Which configuration it has is in its command line, because the
file is named after its content; so a pid that belongs to somebody else by now is found out, too.

As root it runs as a user that owns nothing. It keeps two capabilities: CAP_NET_BIND_SERVICE for
ports below 1024, and CAP_DAC_OVERRIDE, because a replica's socket belongs to whichever user the
image runs as, and connecting to one needs the permission to write. That is much for a process that
reads what strangers send; it has no others, and cannot gain any.

Next: ``admin.py``.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import select
import shutil
import signal
import subprocess
import time
from functools import cache
from pathlib import Path

from minirun import MinirunError

from .admin import Admin, AdminError
from .binary import Binary
from .files import replace_file

START_S, ADOPT_S, END_S = 10.0, 2.0, 5.0
POLL_S = 0.002
USER = 61_183  # no system gives this number to anybody
_CAPABILITIES = "-all,+dac_override,+net_bind_service"


class Process:
    """An HAProxy under a name, which all its files begin with.

    Args:
        folder: where its files are.
        name: what they are called.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self.name = name
        self.socket = folder / f"{name}.sock"
        self.admin = Admin(self.socket)
        self.pid: int | None = None
        #: What becomes readable when it exits: pidfd_open(2).
        self.pidfd = -1
        self._folder = folder
        self._log = folder / f"{name}.log"
        self._pid_file = folder / f"{name}.pid"

    def is_alive(self) -> bool:
        """Say whether it runs."""
        return self.pidfd >= 0 and not select.select([self.pidfd], [], [], 0)[0]

    def ensure(self, config: str, binary: Binary) -> bool:
        """Take over the one that runs, or start one; True where nothing was started.

        One that runs with another configuration or version is told to finish what it has, while
        a new one takes its place at the same sockets. One that does not answer is killed.

        Raises:
            MinirunError: it cannot be started.
        """
        known = self.find()
        if known is not None and not self._answers(ADOPT_S):
            self.kill()
            known = None
        file = self._config_file(config, binary)
        if known == file:
            return True
        replace_file(file, config)
        self._start(file, binary, after=self.pid)
        return False

    def find(self) -> Path | None:
        """Watch the one that runs; return which configuration file it was started with."""
        self.close()
        with contextlib.suppress(OSError, ValueError):
            pid = int(self._pid_file.read_text())
            # First the handle, then the question who it is: the answer cannot become wrong.
            self.pidfd, self.pid = os.pidfd_open(pid), pid
            argv = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
            config = Path(argv[argv.index("-f") + 1])
            if config.parent == self._folder and config.name.startswith(f"{self.name}."):
                return config
        self.close()
        return None

    def kill(self) -> None:
        """End it at once, with everything that is in flight."""
        self._signal(signal.SIGKILL)
        if self.pidfd >= 0:
            select.select([self.pidfd], [], [], END_S)
        self._pid_file.unlink(missing_ok=True)
        self.close()

    def finish(self) -> None:
        """Tell it to close its listening sockets, and to exit after its last connection."""
        self._signal(signal.SIGUSR1)
        self._pid_file.unlink(missing_ok=True)
        self.close()

    def forget(self) -> None:
        """Remove the files of one that will not be found again."""
        for file in self._folder.glob(f"{self.name}.*"):
            file.unlink(missing_ok=True)

    def hush(self) -> None:
        """Tell it the same, but go on watching it."""
        self._signal(signal.SIGUSR1)

    def end(self, deadline: float) -> None:
        """Let it end until then, a moment of ``time.monotonic``; then kill it."""
        if self.pidfd >= 0:
            select.select([self.pidfd], [], [], max(0.0, deadline - time.monotonic()))
        self.kill()

    def close(self) -> None:
        """Leave it alone from now on."""
        if self.pidfd >= 0:
            os.close(self.pidfd)
        self.pidfd, self.pid = -1, None

    def _start(self, file: Path, binary: Binary, after: int | None) -> None:
        """Start one, and wait until it answers; ``after`` hands its sockets over, and finishes."""
        argv = [*_unprivileged(), os.fspath(binary.path), "-D", "-f", os.fspath(file)]
        argv += ["-p", os.fspath(self._pid_file)]
        if after:
            argv += ["-x", os.fspath(self.socket), "-sf", str(after)]
        failed = _run(argv, self._log)
        if failed or self.find() is None or not self._answers(START_S):
            raise self._failure()
        for old in self._folder.glob(f"{self.name}.*.cfg"):
            if old != file:
                old.unlink()
        with contextlib.suppress(OSError):  # to protect it more than others needs CAP_SYS_RESOURCE
            Path(f"/proc/{self.pid}/oom_score_adj").write_text("-900")

    def _config_file(self, config: str, binary: Binary) -> Path:
        """Return the file for a configuration; another version of the program is another, too."""
        hold = Path(__file__).with_name("hold.lua").read_text()
        digest = hashlib.sha256((config + hold + binary.version).encode()).hexdigest()
        return self._folder / f"{self.name}.{digest[:16]}.cfg"

    def _answers(self, patience_s: float) -> bool:
        """Wait until it answers at its admin socket; an older one may still answer there."""
        deadline = time.monotonic() + patience_s
        while self.is_alive():
            with contextlib.suppress(AdminError):
                if f"Pid: {self.pid}\n" in self.admin.ask("show info"):
                    return True
            if time.monotonic() > deadline:
                return False
            time.sleep(POLL_S)
        return False

    def _signal(self, number: signal.Signals) -> None:
        if self.pidfd >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self.pidfd, number)

    def _failure(self) -> MinirunError:
        said = self._log.read_text(errors="replace").splitlines()
        alerts = [line.partition(" : ")[2].strip() for line in said if "ALERT" in line]
        text = alerts[0] if alerts else "it exited, or did not answer"
        hint = f"read {self._log}"
        if "in use" in text:
            hint = "another program listens there: choose another address or port"
        return MinirunError(f"the gateway's {self.name} did not start: {text}", hint=hint)


def _run(argv: list[str], log: Path) -> bool:
    """Run a program until it exits; True where it failed.

    No Python runs between fork and exec: this process has threads. Its messages go to a file: what
    it says at its start is short, and in the background it says nothing.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    files = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, os.fspath(log), flags, 0o600),
        (os.POSIX_SPAWN_DUP2, 1, 2),
    ]
    defaults = [signal.SIGPIPE, signal.SIGINT]
    pid = os.posix_spawn(
        argv[0], argv, {"PATH": os.defpath}, file_actions=files, setsid=True, setsigdef=defaults
    )
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) != 0


@cache
def _unprivileged() -> tuple[str, ...]:
    """Return the command that gives up root's rights for a program; nothing where it cannot."""
    setpriv = shutil.which("setpriv")
    if os.geteuid() != 0 or setpriv is None:
        return ()
    sets = (f"--{name}={_CAPABILITIES}" for name in ("inh-caps", "ambient-caps", "bounding-set"))
    user = (f"--reuid={USER}", f"--regid={USER}", "--clear-groups", "--no-new-privs")
    command = (setpriv, *user, *sets)
    works = (
        subprocess.run([*command, "/bin/true"], capture_output=True, check=False).returncode == 0
    )
    return command if works else ()
