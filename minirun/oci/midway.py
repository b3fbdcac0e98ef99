"""Hooks in the middle of a restore: criu waits for them between the namespaces and the processes.

    criu ─▶ script ─ pid ─▶ "ask" ─▶ prestart, createRuntime ─▶ "answer" ─▶ script ─▶ criu goes on

An engine's hooks want a container that has its namespaces and runs nothing yet: dockerd connects
the network in one. criu knows no hooks, but calls one program at each stage and goes on when that
has ended. Ours is a short script that wakes us and waits for our word.

See: criu(8), --action-script. Next: ``restoration.py``.
"""

from __future__ import annotations

import os
import select
from shlex import quote

from ..errors import MinirunError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_SCRIPT = """#!/bin/sh
[ "$CRTOOLS_SCRIPT_ACTION" = setup-namespaces ] || exit 0
cd {folder} && echo "$CRTOOLS_INIT_PID" >criu-ask &&
  read -r answer <criu-answer && [ "$answer" = go ]
"""


class Midway:
    """The place where criu asks and we answer.

    Args:
        folder: a directory of ours alone.
        act: what to do when it asks, with the pid of the process that becomes init.
    """

    def __init__(self, folder: str, act: Callable[[int], None]) -> None:
        self._act = act
        self._paths = [f"{folder}/criu-{name}" for name in ("ask", "answer")]
        for path in self._paths:
            os.mkfifo(path, 0o600)
        # Open on both sides: nobody waits for us to open, and our end is the end of his waiting.
        self._ask, self._answer = (os.open(p, os.O_RDWR | os.O_CLOEXEC) for p in self._paths)
        # A file in memory: the folder is below /run as a rule, from where nothing may be executed.
        self._script = os.memfd_create("criu-script")
        os.write(self._script, _SCRIPT.format(folder=quote(folder)).encode())
        self.program = f"/proc/{os.getpid()}/fd/{self._script}"

    def attend(self, criu: int) -> None:
        """Answer until criu ends.

        Raises:
            MinirunError: what was to be done failed; criu has been told, and gives up.
        """
        pidfd = os.pidfd_open(criu)
        try:
            while self._ask in select.select([self._ask, pidfd], [], [])[0]:
                self._answer_once(int(os.read(self._ask, 64)))
        finally:
            os.close(pidfd)

    def _answer_once(self, pid: int) -> None:
        try:
            self._act(pid)
        except MinirunError:
            os.write(self._answer, b"no\n")
            raise
        os.write(self._answer, b"go\n")

    def close(self) -> None:
        """Leave nothing."""
        for fd in (self._ask, self._answer, self._script):
            os.close(fd)
        for path in self._paths:
            os.unlink(path)
