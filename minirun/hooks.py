"""Run the programs that a spec asks for around a container's life.

A hook gets the container's state as JSON on its standard input and must exit with 0 in time. It may
ignore that input, and may leave a daemon behind that keeps its output open: neither may hang or
fail the runtime, so the end of the process is awaited, not the end of its output.

See: config.md, POSIX-platform Hooks. Next: ``steps/hooks.py``.
"""

from __future__ import annotations

import os
import select

from . import kernel
from .errors import MinirunError
from .quickjson import dumps

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Mapping, Sequence
    from typing import Any, NoReturn

    from .spec import Hook
else:
    # The C half has all that is needed; the Python half builds enums for 3 ms.
    import _signal as signal

_KEPT_OUTPUT = 4096


def run_hooks(
    kind: str, hooks: Sequence[Hook], state: Mapping[str, Any], env: Sequence[str] | None = None
) -> None:
    """Run hooks in order; the first failure ends it.

    Args:
        kind: ``createRuntime`` …, for the message.
        hooks: what to run.
        state: the state JSON that each hook reads.
        env: ``K=V`` for hooks that set none of their own; None means this process's environment.

    Raises:
        MinirunError: a hook cannot be executed, exits with another code than 0 or is too slow.
    """
    payload = dumps(state).encode()
    for number, hook in enumerate(hooks):
        try:
            _run(hook, payload, env)
        except (MinirunError, OSError) as error:
            text = error.strerror if isinstance(error, OSError) else str(error)
            raise MinirunError(
                f"error running {kind} hook #{number} {hook.path}: {text}",
                hint="run it by hand with the state JSON on its standard input",
            ) from error


def _run(hook: Hook, payload: bytes, env: Sequence[str] | None) -> None:
    """Start one hook, wait for it, judge it.

    Its standard streams are files in memory, so neither side ever waits for the other to read.
    """
    stdin, output = os.memfd_create("state"), os.memfd_create("output")
    os.pwrite(stdin, payload, 0)
    pid = os.fork()
    if pid == 0:
        _become(hook, env, stdin, output)
    try:
        in_time = _wait(pid, hook.timeout)
        _, status = os.waitpid(pid, 0)
        text = os.pread(output, _KEPT_OUTPUT, 0).decode(errors="replace").strip()
    finally:
        os.close(stdin)
        os.close(output)
    if not in_time:
        raise MinirunError(f"timed out after {hook.timeout} s")
    code = os.waitstatus_to_exitcode(status)
    if code:
        reason = f"exit status {code}" if code > 0 else f"signal {-code}"
        raise MinirunError(f"{reason}: {text}" if text else reason)


def _wait(pid: int, timeout_s: int | None) -> bool:
    """Wait for the end of a process; kill it when its time is over. Returns whether it was."""
    pidfd = os.pidfd_open(pid)
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    in_time = bool(poll.poll(None if timeout_s is None else timeout_s * 1000))
    if not in_time:
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    os.close(pidfd)
    return in_time


def _become(hook: Hook, env: Sequence[str] | None, stdin: int, output: int) -> NoReturn:
    """Turn this child into the hook."""
    code = 126
    try:
        os.dup2(stdin, 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
        kernel.close_range(3, 2**31 - 1, cloexec=False)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        words = hook.env if hook.env is not None else env
        given = dict(os.environ) if words is None else dict(_pair(word) for word in words)
        os.execve(hook.path, hook.args or (hook.path,), given)
    except FileNotFoundError:
        os.write(2, b"no such file or directory")
        code = 127
    except OSError as error:
        os.write(2, os.strerror(error.errno or 0).encode())
    finally:
        os._exit(code)


def _pair(word: str) -> tuple[str, str]:
    name, _, value = word.partition("=")
    return name, value
