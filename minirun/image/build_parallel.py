"""Stages that do not need each other are built at the same time, each in a process of its own.

    build ─┬─ fork ─▶ stage "wheels"  ─┐  what it does, line by line, and at last what it made
           ├─ fork ─▶ stage "assets"  ─┤
           └─ (both done) fork ─▶ stage that copies from both

Processes and not threads: a stage forks containers, and a process with threads must not fork. What
is said about a stage comes back through a pipe as one JSON array per line; layers are in the store
already. A stage that fails, or Ctrl-C, ends all others, and each takes its container with it.

Next: ``build_stage.py``.
"""

from __future__ import annotations

import json
import os
import select
import selectors
import signal
from collections.abc import Callable
from typing import Any, NoReturn

from .. import kernel
from ..errors import ImageError, MinirunError
from ..flags import PR_SET_PDEATHSIG
from .build_progress import Progress
from .build_run import BuildStepError
from .build_session import Session
from .build_state import State
from .dockerfile import DockerfileError
from .dockerfile_stages import Stage

#: Most of the time stages wait, for the network or the disk; this many at once.
AT_ONCE = 4
_PIECE_BYTES = 1 << 16


def build_stages(session: Session, target: Stage, build: Callable[[Session, Stage], State]) -> None:
    """Build the stages that a target needs, each as soon as what it needs is done.

    Args:
        session: receives them in ``done``.
        target: is built last.
        build: builds one stage; called in a process of its own.

    Raises:
        MinirunError: of the first stage that failed.
    """
    waiting = session.plan.needed(target)
    running: list[_Worker] = []
    with selectors.DefaultSelector() as ready:
        try:
            while waiting or running:
                for stage in [s for s in waiting if session.plan.needs(s) <= session.done.keys()]:
                    if len(running) < AT_ONCE:
                        waiting.remove(stage)
                        running.append(_Worker(session, stage, build))
                        ready.register(running[-1].pipe, selectors.EVENT_READ, running[-1])
                for key, _ in ready.select():
                    worker: _Worker = key.data
                    if worker.listen():
                        ready.unregister(worker.pipe)
                        running.remove(worker)
                        session.done[worker.stage.index] = worker.result()
        finally:
            for worker in running:
                worker.stop()


class _Worker:
    """One stage in its own process, seen from outside."""

    def __init__(
        self, session: Session, stage: Stage, build: Callable[[Session, Stage], State]
    ) -> None:
        self.stage = stage
        self._session = session
        self._progress = session.board.lane()
        self._rest = b""
        self._said: list[Any] = []
        self.pipe, write = os.pipe()
        parent = os.getpid()
        self._pid = os.fork()
        if self._pid == 0:
            _work(session, stage, build, write, parent)
        os.close(write)

    def listen(self) -> bool:
        """Pass on what it says; True once it has said what came of it, or can say no more."""
        data = os.read(self.pipe, _PIECE_BYTES)
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._hear(*json.loads(line))
        return bool(self._said) or not data

    def _hear(self, what: str, *said: Any) -> None:  # noqa: ANN401 # JSON, and our own
        if what in ("built", "error"):
            self._said = [what, *said]
        elif what == "output":
            self._progress.output(said[0].encode("latin-1"))
        elif what == "done":
            self._progress.done(cached=said[0])
        else:
            getattr(self._progress, what)(*said)

    def result(self) -> State:
        """Return the stage once its process has ended; raise what went wrong in it."""
        os.close(self.pipe)
        _, status = os.waitpid(self._pid, 0)
        if self._said[:1] == ["built"]:
            return self._session.new_state().load(self._said[1])
        if self._said:
            raise _error(*self._said[1:])
        code = os.waitstatus_to_exitcode(status)
        if code == 128 + signal.SIGINT:
            raise KeyboardInterrupt
        raise ImageError(f"the process of a stage ended with {code}", hint="build again")

    def stop(self) -> None:
        """End it, together with the command that it runs."""
        os.kill(self._pid, signal.SIGTERM)
        ended = os.pidfd_open(self._pid)
        while ended not in select.select([self.pipe, ended], [], [])[0]:
            if not os.read(self.pipe, _PIECE_BYTES):  # it must not wait for us to listen
                break
        os.waitpid(self._pid, 0)
        os.close(ended)
        os.close(self.pipe)


def _error(kind: str, message: str, hint: str, status: int, output: str) -> MinirunError:
    if kind == "step":
        return BuildStepError(message, hint=hint, status=status, output=output)
    return (DockerfileError if kind == "file" else ImageError)(message, hint=hint)


# ---- inside the process -------------------------------------------------------------------------


def _work(
    session: Session,
    stage: Stage,
    build: Callable[[Session, Stage], State],
    pipe: int,
    parent: int,
) -> NoReturn:
    """Build the stage and say what came of it; never returns."""
    code = 1
    try:
        _end_with(parent)
        session.progress = _Voice(pipe)
        _say(pipe, "built", build(session, stage).dump())
        code = 0
    except BuildStepError as error:
        _say(pipe, "error", "step", error.message, error.hint, error.status, error.output)
    except MinirunError as error:
        kind = "file" if isinstance(error, DockerfileError) else "image"
        _say(pipe, "error", kind, error.message, error.hint, 0, "")
    except KeyboardInterrupt:
        code = 128 + signal.SIGINT
    except BaseException as error:  # noqa: BLE001 # nothing may return into the parent's code
        _say(pipe, "error", "image", f"{stage.name or stage.index}: {error!r}", "", 0, "")
    finally:
        os._exit(code)


def _end_with(parent: int) -> None:
    """Take SIGTERM, and the parent's death, for Ctrl-C: what was begun is then taken back."""

    def interrupt(*_: object) -> NoReturn:
        for number in (signal.SIGINT, signal.SIGTERM):
            # Once is enough. Not SIG_IGN: of one that is on its way Python would complain.
            signal.signal(number, lambda *_: None)
        raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupt)
    kernel.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        raise KeyboardInterrupt


class _Voice(Progress):
    """Tells the process above what a listener would be told."""

    def __init__(self, pipe: int) -> None:
        self._pipe = pipe

    def start(self, title: str) -> None:
        """Pass it on."""
        _say(self._pipe, "start", title)

    def output(self, data: bytes) -> None:
        """Pass it on."""
        _say(self._pipe, "output", data.decode("latin-1"))

    def done(self, *, cached: bool) -> None:
        """Pass it on."""
        _say(self._pipe, "done", cached)

    def failed(self, problem: str) -> None:
        """Pass it on."""
        _say(self._pipe, "failed", problem)

    def warn(self, text: str) -> None:
        """Pass it on."""
        _say(self._pipe, "warn", text)


def _say(pipe: int, *what: object) -> None:
    data = json.dumps(what).encode() + b"\n"
    while data:
        data = data[os.write(pipe, data) :]
