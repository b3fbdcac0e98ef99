"""One HAProxy process: started, found again by a later controller, replaced, ended.

It outlives whoever started it: it has its own session, its messages go to a file, and nobody's
death is its own. Who it is, is known twice: its pid with its start time is written down, and
whoever listens at an admin socket is named by the kernel (SO_PEERCRED, unix(7)).

As root it runs as a user that owns nothing. It keeps two capabilities: CAP_NET_BIND_SERVICE for
ports below 1024, and CAP_DAC_OVERRIDE, because a replica's socket belongs to whichever user the
image runs as, and connecting to one needs the permission to write. That is much for a process that
reads what strangers send; it has no others, and cannot gain any.

Next: ``gateway.py``.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import select
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from minirun import MinirunError

from .admin import Admin, AdminError
from .binary import Binary
from .files import replace_file

START_S = 10.0
ADOPT_S = 2.0
END_S = 5.0
POLL_S = 0.002
MOST_LOG_BYTES = 1 << 20
USER = 61_183  # no system gives this number to anybody
_CAPABILITIES = "-all,+dac_override,+net_bind_service"


@dataclass(frozen=True, slots=True)
class Identity:
    """A process that cannot be taken for a later one with the same pid."""

    pid: int
    started: int

    @classmethod
    def of(cls, pid: int) -> Identity | None:
        """Return a living process's identity: its start time is field 22 of proc_pid_stat(5)."""
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return None
        return None if fields[0] in "ZX" else cls(pid, int(fields[19]))


class Process:
    """An HAProxy under a name; its files are ``<name>.*`` in the gateway's folder.

    Args:
        folder: where its files are.
        name: what they are called.
        binary: what is run.
    """

    def __init__(self, folder: Path, name: str, binary: Binary) -> None:
        self.name = name
        self.socket = folder / f"{name}.sock"
        self.admin = Admin(self.socket)
        self.log = folder / f"{name}.log"
        self._config = folder / f"{name}.cfg"
        self._record = folder / f"{name}.json"
        self._binary = binary
        self._identity: Identity | None = None
        self._pidfd = -1

    @property
    def pid(self) -> int | None:
        """Return its pid, None while there is none."""
        return self._identity.pid if self._identity else None

    @property
    def pidfd(self) -> int:
        """Return what becomes readable when it exits."""
        return self._pidfd

    def is_alive(self) -> bool:
        """Say whether it has not exited."""
        return self._pidfd >= 0 and not select.select([self._pidfd], [], [], 0)[0]

    def ensure(self, config: str) -> bool:
        """Take over the one that runs, or start one; True where nothing was started.

        One that runs with another configuration or version is told to finish what it has, while
        a new one takes its place at the same sockets. One that does not answer is killed.

        Raises:
            MinirunError: it cannot be started.
        """
        old, known = self.find()
        if old is None or not self._answers(old):
            self.kill()
            self.start(config)
            return False
        if known != self._digest(config):
            self._leave()
            self.start(config, after=old)
            return False
        return True

    def start(self, config: str, after: Identity | None = None) -> None:
        """Start one, and wait until it answers.

        Args:
            config: its configuration.
            after: who hands its listening sockets over, and then finishes what it has.

        Raises:
            MinirunError: with what it said.
        """
        replace_file(self._config, config)
        if self.log.exists() and self.log.stat().st_size > MOST_LOG_BYTES:
            os.truncate(self.log, 0)
        said = self.log.stat().st_size if self.log.exists() else 0
        argv = [*_unprivileged(), os.fspath(self._binary.path), "-f", os.fspath(self._config)]
        if after:
            argv += ["-x", os.fspath(self.socket), "-sf", str(after.pid)]
        self._watch(_spawn(argv, self.log))
        self._write_record(config)
        with contextlib.suppress(OSError):  # to protect it more than others needs CAP_SYS_RESOURCE
            Path(f"/proc/{self.pid}/oom_score_adj").write_text("-900")
        if not self._comes_up(START_S):
            self.kill()
            raise self._failure(said)

    def kill(self) -> None:
        """End it at once, with everything that is in flight."""
        if self._pidfd >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
            self.reap(END_S)
        self._leave()

    def finish(self) -> None:
        """Tell it to close its listening sockets, and to exit after its last connection."""
        if self._pidfd >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, signal.SIGUSR1)
        self._record.unlink(missing_ok=True)
        self._leave()

    def reap(self, timeout_s: float = 0.0) -> None:
        """Collect it where it was our child and has exited; init collects it otherwise."""
        select.select([self._pidfd], [], [], timeout_s)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self._identity.pid if self._identity else 0, os.WNOHANG)

    def close(self) -> None:
        """Let it run, and forget it."""
        self._leave()

    def find(self) -> tuple[Identity | None, str]:
        """Return who runs, and a digest of what it was started with; watch it."""
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            record = json.loads(self._record.read_text())
            found = Identity.of(record["pid"])
            if found and found.started == record["started"]:
                self._watch(found.pid)
                return found, record["digest"]
        # A controller died between starting it and writing that down.
        pid = self.admin.pid()
        found = Identity.of(pid) if pid else None
        if found:
            self._watch(found.pid)
        return found, ""

    def _watch(self, pid: int) -> None:
        self._leave()
        self._pidfd = os.pidfd_open(pid)
        self._identity = Identity.of(pid) or Identity(pid, 0)

    def _leave(self) -> None:
        if self._pidfd >= 0:
            os.close(self._pidfd)
        self._pidfd, self._identity = -1, None

    def _answers(self, who: Identity) -> bool:
        try:
            return f"Pid: {who.pid}\n" in self.admin.ask("show info")
        except AdminError:
            return self._comes_up(ADOPT_S)  # it may have been started a moment ago

    def _comes_up(self, patience_s: float) -> bool:
        """Wait until it answers at its admin socket; an older one may still answer there."""
        deadline = time.monotonic() + patience_s
        while self.is_alive() and time.monotonic() < deadline:
            with contextlib.suppress(AdminError):
                if f"Pid: {self.pid}\n" in self.admin.ask("show info"):
                    return True
            time.sleep(POLL_S)
        return False

    def _write_record(self, config: str) -> None:
        who = self._identity
        if who:
            about = {"pid": who.pid, "started": who.started, "digest": self._digest(config)}
            replace_file(self._record, json.dumps(about))

    def _digest(self, config: str) -> str:
        lua = Path(__file__).with_name("hold.lua").read_text()
        return hashlib.sha256((config + lua + self._binary.version).encode()).hexdigest()[:16]

    def _failure(self, said: int) -> MinirunError:
        with self.log.open(errors="replace") as log:
            log.seek(said)
            alerts = [
                line.partition(" : ")[2] for line in log.read().splitlines() if "ALERT" in line
            ]
        text = alerts[0].strip() if alerts else "it exited, or did not answer"
        hint = f"read {self.log}"
        if "in use" in text:
            hint = "another program listens there: choose another address or port"
        return MinirunError(f"the proxy {self.name} did not start: {text}", hint=hint)


def _spawn(argv: list[str], log: Path) -> int:
    """Start a program without running Python between fork and exec: this process has threads."""
    to_log = (os.POSIX_SPAWN_OPEN, 1, os.fspath(log), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    files = [(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0), to_log]
    return os.posix_spawn(
        argv[0],
        argv,
        {"PATH": os.defpath},
        file_actions=[*files, (os.POSIX_SPAWN_DUP2, 1, 2)],
        setsid=True,
        setsigmask=[],
        setsigdef=[signal.SIGPIPE, signal.SIGINT],
    )


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
