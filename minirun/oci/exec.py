"""run a command in a container that is there.

See: runc-exec(8). Next: ``../execute.py``.
"""

from __future__ import annotations

import os

from ..decode import decode
from ..errors import MinirunError, UsageError, take_back
from ..execute import ExecRequest, execute, process_like
from ..host import probe
from ..lifecycle import Container
from ..record import replace
from ..spec import Process, User
from .bundle import parse_json
from .foreground import Foreground
from .handover import (
    kept_descriptors,
    remove_pid_file,
    require_console,
    send_console,
    send_pidfd,
    write_pid_file,
)
from .words import FLAG, LIST, VALUE, is_number

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..execute import Running
    from .report import Report
    from .words import Call

OPTIONS = {
    "process": VALUE,
    "console-socket": VALUE,
    "pidfd-socket": VALUE,
    "pid-file": VALUE,
    "detach": FLAG,
    "tty": FLAG,
    "cwd": VALUE,
    "env": LIST,
    "user": VALUE,
    "additional-gids": LIST,
    "cap": LIST,
    "no-new-privs": FLAG,
    "apparmor": VALUE,
    "process-label": VALUE,
    "preserve-fds": VALUE,
    "cgroup": LIST,
    "ignore-paused": FLAG,
}
#: What follows the id is the command's.
SPREAD = False


def main(call: Call, report: Report) -> int:
    """Return the command's exit code, or 0 at once with ``--detach``."""
    kept, environment = kept_descriptors(call)
    detach = call.flag("detach")
    foreground = None if detach else Foreground()
    if not call.words:
        raise UsageError('"exec" requires a container id')
    container = Container(call.root, call.words[0], probe())
    process = _process(call, container)
    process = replace(process, env=(*process.env, *environment))
    require_console(call, terminal=process.terminal, detach=detach)
    request = ExecRequest(
        keep_fds=kept,
        cgroups=tuple(call.many("cgroup")),
        ignore_paused=call.flag("ignore-paused"),
    )
    running = execute(container, process, request, report.observer())
    try:
        _hand_over(call, running, detach=detach)
    except BaseException as error:
        pid_file = call.text("pid-file")
        take_back(error, lambda: remove_pid_file(pid_file), lambda: os.kill(running.pid, 9))
        raise
    return 0 if foreground is None else foreground.follow(running.pid, running.console)


def _hand_over(call: Call, running: Running, *, detach: bool) -> None:
    """The pid file comes last: whoever sees it may rely on everything else."""
    if running.console >= 0 and detach:
        send_console(call.text("console-socket"), running.console)
    if path := call.text("pidfd-socket"):
        send_pidfd(path, running.pid)
    write_pid_file(call.text("pid-file"), running.pid)


def _process(call: Call, container: Container) -> Process:
    """Return the process of ``--process``, or the container's own with another command."""
    if path := call.text("process"):
        if len(call.words) > 1:
            raise UsageError("--process and a command cannot be given together")
        try:
            with open(path, "rb") as file:
                process = decode(Process, parse_json(file.read(), "$.process"), "$.process")
        except FileNotFoundError as error:
            raise MinirunError(f"open {path}: no such file") from error
    else:
        process = _own_process(call, container)
    if not process.args:
        raise UsageError("process args cannot be empty")
    if call.flag("no-new-privs"):
        process = replace(process, no_new_privileges=True)
    return replace(
        process,
        apparmor_profile=call.text("apparmor", process.apparmor_profile),
        selinux_label=call.text("process-label", process.selinux_label),
    )


def _own_process(call: Call, container: Container) -> Process:
    container.state()  # no such container: say that, and not that a file is missing
    spec = container.directory.read_spec()
    user = _user(call, spec.process.user if spec.process else User())
    return process_like(
        spec,
        call.words[1:],
        env=call.many("env"),
        cwd=call.text("cwd"),
        user=user,
        capabilities=[_capability(name) for name in call.many("cap")],
        terminal=call.flag("tty"),
    )


def _user(call: Call, own: User) -> User:
    """Read ``uid[:gid]``: digits only, lest something odd comes to mean root (CVE-2026-30892)."""
    groups = tuple(parse_id(text, "additional-gids") for text in call.many("additional-gids"))
    if not call.text("user"):
        return replace(own, additional_gids=(*own.additional_gids, *groups))
    uid, colon, gid = call.text("user").partition(":")
    return User(
        uid=parse_id(uid, "user"),
        gid=parse_id(gid, "user") if colon else own.gid,
        umask=own.umask,
        additional_gids=groups or own.additional_gids,
    )


def parse_id(text: str, option: str) -> int:
    """Return a user or group id.

    Raises:
        UsageError: it is not a number from 0 to 4294967294, written in plain digits.

    >>> parse_id("1000", "user")
    1000
    """
    if not is_number(text) or int(text) > 2**32 - 2:
        raise UsageError(
            f"--{option}: {text!r} is not an id", hint="numbers only, such as 1000 or 1000:1000"
        )
    return int(text)


def _capability(name: str) -> str:
    upper = name.upper()
    return upper if upper.startswith("CAP_") else f"CAP_{upper}"
