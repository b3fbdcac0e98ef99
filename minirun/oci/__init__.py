"""The verbs of ``minirun-oci``: runc's command line, one verb per file.

    words.py       the command line → a Call                                             pure
    report.py      errors and debug lines, where and how the caller wants them
    bundle.py      config.json and the options of create and run → a Spec and a Request
    handover.py    pid file, console socket, pidfd socket, preserved descriptors
    foreground.py  wait for a process, pass signals and the terminal on
    criu.py        the program behind checkpoint and restore, and why it failed
    outside.py     what criu must be told of a container, because it is not the container's own
    midway.py      hooks in the middle of a restore
    restoration.py everything of a create but the processes, which criu makes
    <verb>.py      OPTIONS, and ``main(call)`` which returns the exit code

Engines call these several times for each container, so a verb imports what it needs and no more.
Nothing is printed on success but what was asked for: where a container has no terminal, our
standard streams are its own.

May not be imported by anything but ``oci_cli.py``, which reads the table below.
"""

from __future__ import annotations

#: Verb → module of this package.
VERBS = {
    "checkpoint": "checkpoint",
    "create": "create",
    "delete": "delete",
    "events": "events",
    "exec": "exec",
    "features": "features",
    "kill": "kill",
    "list": "list",
    "pause": "pause",
    "ps": "ps",
    "restore": "restore",
    "resume": "resume",
    "run": "run",
    "spec": "spec",
    "start": "start",
    "state": "state",
    "update": "update",
}
